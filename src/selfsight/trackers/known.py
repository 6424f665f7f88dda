"""Which trackers there are, and whether they are installed; nothing of theirs is imported here."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from selfsight.errors import SelfsightError
from selfsight.install import extra_hint

# Names in `report_to`, which are those of the packages that are imported, with the first version that was tried.
TRACKERS: Final[dict[str, str]] = {"tensorboard": "2.21", "wandb": "0.31", "trackio": "0.43"}


STATE_FOLDER: Final = "trackers"  # of a run: what each has been sent, and its log
FAILED: Final = "!"  # begins the last word of a sender that failed


def tracker_names(report_to: Sequence[str]) -> tuple[str, ...]:
    """The trackers among the places of `report_to`, each once."""
    return tuple(dict.fromkeys(name for name in report_to if name in TRACKERS))


def missing_trackers(report_to: Sequence[str]) -> tuple[str, ...]:
    """Those that are not installed."""
    return tuple(name for name in tracker_names(report_to) if find_spec(name) is None)


def require_trackers(report_to: Sequence[str]) -> None:
    """SelfsightError when a tracker is asked for that is not installed: before anything is spent."""
    missing = missing_trackers(report_to)
    if missing:
        raise SelfsightError(
            f"report_to asks for {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            hint=f"{extra_hint('trackers')}, or leave it out: metrics.jsonl has every figure anyway",
        )
