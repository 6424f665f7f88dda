"""summary.json: what a run of any method showed, for scripts and for the last lines on the terminal."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from selfsight import __version__
from selfsight.config import EvolveConfig, config_hash
from selfsight.evaluate.answers import compare, read_evaluation
from selfsight.images import ImageSource
from selfsight.language.prompts import PromptPack
from selfsight.methods.alarms.ending import Outcome
from selfsight.methods.alarms.watch import account
from selfsight.methods.measuring import picture_size
from selfsight.methods.timings import Timings
from selfsight.run import RunDirectory
from selfsight.run.atomic import read_json


def build_summary(
    directory: RunDirectory,
    config: EvolveConfig,
    *,
    ended: Outcome,
    source: ImageSource,
    pack: PromptPack,
    timings: Timings,
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """Collects the rounds' entries, and what the method has to add (`own`); the change in held-out accuracy is
    paired, base against the run's result: the last round, unless the run was rolled back.
    """
    entries: list[Any] = [read_json(directory.round(k) / "round.json") for k in range(ended.rounds + 1)]
    first, last = read_evaluation(directory.round(0)), read_evaluation(directory.round(ended.final))
    return {
        "method": config.method,
        "recipe": config.recipe,
        "seed": config.seed,
        "config_hash": config_hash(config),
        "images": source.describe(),
        "measured_on": {
            "seed": config.evaluation.seed,
            "world": config.evaluation.world,
            "picture_size": picture_size(config, pack),
        },
        "base": entries[0]["heldout"],
        "rounds": entries[1:],
        "final": entries[ended.final]["heldout"],
        "delta": compare(first, last),
        "final_round": ended.final,
        "final_model": ended.model,
        "final_weights": ended.weights,
        "alarms": account(directory, config),
        "rollback": None if ended.rollback is None else ended.rollback.as_json(),
        "timings": timings.summary(),
        "versions": {
            "selfsight": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "pillow")},
        },
        **own,
    }
