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
from selfsight.methods.measuring import picture_size
from selfsight.methods.timings import Timings
from selfsight.run import RunDirectory
from selfsight.run.atomic import read_json


def build_summary(
    directory: RunDirectory,
    config: EvolveConfig,
    *,
    rounds: int,
    source: ImageSource,
    pack: PromptPack,
    weights: str,
    timings: Timings,
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """Collects the rounds' entries, and what the method has to add (`own`); the change in held-out accuracy is
    paired, base against the last round.
    """
    entries: list[Any] = [read_json(directory.round(k) / "round.json") for k in range(rounds + 1)]
    first, last = read_evaluation(directory.round(0)), read_evaluation(directory.round(rounds))
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
        "final": entries[-1]["heldout"],
        "delta": compare(first, last),
        "final_weights": weights,
        "timings": timings.summary(),
        "versions": {
            "selfsight": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "pillow")},
        },
        **own,
    }
