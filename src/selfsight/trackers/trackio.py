"""trackio, Hugging Face's local tracker: a database on this machine, for `trackio show`.

It sends nothing anywhere unless its own variables say so (TRACKIO_SPACE_ID, TRACKIO_SERVER_URL). A run is continued by
its name, so that name carries an id: two runs of one name in different folders must not become one.
"""

import os
from collections.abc import Mapping
from typing import Final

import trackio

from selfsight.trackers.protocol import TrackedRun

TAKES_BACK: Final = False


class Trackio:
    """A run of trackio's, continued under its name."""

    def __init__(self, run: TrackedRun) -> None:
        project = os.environ.get("TRACKIO_PROJECT") or "selfsight"
        self._run = trackio.init(
            project=project,
            name=f"{run.name}-{run.id}",
            config=dict(run.settings),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.where = f"trackio show --project {project}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of the run."""
        self._run.log(dict(figures), step=step)

    def summarise(self, step: int, figures: Mapping[str, float]) -> None:
        """A row, too: trackio has no other place for it."""
        self.log(step, figures)

    def flush(self) -> None:
        """trackio writes by itself."""

    def close(self, *, finished: bool) -> None:
        """Waits until all is written."""
        self._run.finish()


def open_tracker(run: TrackedRun, first: int) -> Trackio:
    """Begins or continues the run, by its name."""
    return Trackio(run)
