"""Weights & Biases. Its own variables hold: WANDB_MODE, WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY, WANDB_NAME, ...

wandb drops a step that is not above the last one, so a resumed run sends only what it has not sent. Switched off is
what wandb would add by itself: the machine's load and description, the program's text, git, packages, and the output.
"""

import os
from collections.abc import Mapping
from typing import Final

import wandb

from selfsight.trackers.protocol import TrackedRun

TAKES_BACK: Final = False


class Wandb:
    """A run of wandb's, continued under its id."""

    def __init__(self, run: TrackedRun) -> None:
        quiet = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "selfsight",
            name=os.environ.get("WANDB_NAME") or run.name,
            id=run.id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            config=dict(run.settings),
            allow_val_change=True,
            settings=quiet,
        )
        self.where = self._run.url or f"offline in {self._run.dir}, for `wandb sync`"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of the history."""
        self._run.log(dict(figures), step=step)

    def summarise(self, step: int, figures: Mapping[str, float]) -> None:
        """Into wandb's summary of the run."""
        self._run.summary.update(dict(figures))

    def flush(self) -> None:
        """wandb sends by itself."""

    def close(self, *, finished: bool) -> None:
        """Waits until all is sent; a run that was stopped is marked as failed until it goes on."""
        self._run.finish(exit_code=0 if finished else 1)


def open_tracker(run: TrackedRun, first: int) -> Wandb:
    """Begins or continues the run, by its id."""
    return Wandb(run)
