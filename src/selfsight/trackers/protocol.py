"""What a tracker is to us: a place for named numbers by step, nothing more.

A module per tracker has `open_tracker(run, first) -> Tracker` and says whether it `TAKES_BACK`: whether steps from
`first` on that an earlier process has sent are forgotten by it. Where they are, a resumed run sends them as it makes
them anew; where they cannot be, what was sent once is not sent again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker sees it. `id` is the tracker's own run, the same after every resume; `settings` name no
    folder of the machine.
    """

    name: str
    folder: Path
    id: str
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """A tracker's run, open. Every method may raise or hang: it is called in a process of its own."""

    @property
    def where(self) -> str:
        """Where a person finds it: an address or a folder."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step; steps never go down, and one may come twice."""

    def summarise(self, step: int, figures: Mapping[str, float]) -> None:
        """What the run showed, at its end."""

    def flush(self) -> None:
        """Hands over what was logged, as far as the tracker can be made to."""

    def close(self, *, finished: bool) -> None:
        """Ends the tracker's run; `finished` is False for one that was stopped and may go on."""
