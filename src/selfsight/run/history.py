"""history.json: what a run's result does not show by itself: settings that changed on the way, and what was lost.

config.yaml has the settings of now. A setting that was changed when the run was resumed holds from one step on only,
and whoever reads the run must be told from which. What was lost (lines of metrics.jsonl, a table, the display) did not
change the weights, but the run's record is not whole any more.

The file exists only in runs in which there is something to say.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from selfsight.errors import SelfsightError
from selfsight.run.atomic import canonical_json, pretty_json, read_json, write_atomic
from selfsight.run.hashing import hash_bytes

HISTORY: Final = "history.json"
_NOT_TOLD: Final = ("output_dir", "run_name")  # where the run lies: of no use to a reader, and a path of this machine


@dataclass(frozen=True)
class Change:
    """The setting `key` (dotted) was `before`, and is `now` from `step` of `stage` on."""

    stage: str
    step: int
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        was, now = (json.dumps(value) for value in (self.before, self.now))
        return f"{self.key}: {was} until {self.stage}, step {self.step}; {now} from there on"


@dataclass(frozen=True)
class Loss:
    """`file` was found damaged (`what` says how) when the run went on at `step` of `stage`."""

    stage: str
    step: int
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what} (found at {self.stage}, step {self.step})"


@dataclass(frozen=True)
class History:
    """Changes of settings and losses, oldest first."""

    settings: tuple[Change, ...] = ()
    losses: tuple[Loss, ...] = field(default=())

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """For history.json and summary.json."""
        return {
            "settings_changes": [asdict(change) for change in self.settings],
            "losses": [asdict(loss) for loss in self.losses],
        }

    def write(self, run: Path) -> None:
        """Replaces history.json; writes none where there is nothing to say and never was."""
        if self != History() or (run / HISTORY).exists():
            content = self.as_json()
            write_atomic(run / HISTORY, pretty_json({**content, "check": hash_bytes(canonical_json(content))}))

    def resumed(
        self, before: Mapping[str, Any], now: Mapping[str, Any], *, stage: str, step: int, order: Mapping[str, int]
    ) -> "History":
        """This history when the run goes on at `step` of `stage`, with the settings `now` instead of `before`.

        A change that was written down but never came to hold (the process was killed before config.yaml was replaced)
        is dropped. One from behind this place holds from this place: the steps in between are done again.

        Args:
            before: Settings in config.yaml, as JSON-ready groups.
            now: Settings from here on.
            stage: Name of the stage.
            step: Step of the stage.
            order: Stage name to its index, to compare places.
        """
        was, will = flat(before), flat(now)
        last = {change.key: change for change in self.settings}
        here = (order[stage], step)
        kept = []
        for change in self.settings:
            if change is last[change.key] and change.now != was.get(change.key):
                continue
            place = (order.get(change.stage, len(order)), change.step)
            kept.append(change if place <= here else replace(change, stage=stage, step=step))
        new = [
            Change(stage, step, key, was.get(key), will.get(key))
            for key in sorted({**was, **will})
            if was.get(key) != will.get(key) and key not in _NOT_TOLD
        ]
        return History(tuple(_merged([*kept, *new])), self.losses)

    def with_loss(self, loss: Loss) -> "History":
        """This history and a loss, unless it is known: each time the run goes on, the same one is found."""
        known = any((one.file, one.what) == (loss.file, loss.what) for one in self.losses)
        return self if known else replace(self, losses=(*self.losses, loss))


def read_history(run: Path) -> History:
    """The history of a run; an empty one where it has none. SelfsightError names a damaged file."""
    path = run / HISTORY
    if not path.exists():
        return History()
    found = cast("dict[str, Any]", read_json(path))
    try:
        content = {name: value for name, value in found.items() if name != "check"}
        if hash_bytes(canonical_json(content)) != found["check"]:
            raise ValueError("it is not what the run wrote")
        changes = [Change(**one) for one in found["settings_changes"]]
        losses = [Loss(**one) for one in found["losses"]]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise SelfsightError(
            f"{path}: is damaged ({error})", hint="restore it; without it nobody knows which settings held when"
        ) from error
    return History(tuple(changes), tuple(losses))


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _merged(changes: list[Change]) -> list[Change]:
    """Several changes of one key at one place are one, and none if they cancel out."""
    merged: list[Change] = []
    for change in changes:
        same = next((k for k, one in enumerate(merged)
                     if (one.stage, one.step, one.key) == (change.stage, change.step, change.key)), None)  # fmt: skip
        if same is None:
            merged.append(change)
        else:
            merged[same] = replace(merged[same], now=change.now)
    return [change for change in merged if change.before != change.now]
