"""summary.json: what a run showed, for scripts and for the last lines on the terminal."""

import platform
from importlib.metadata import version
from typing import Any

from selfsight import __version__
from selfsight.config import EvolveConfig, config_hash
from selfsight.evaluate.heldout import compare
from selfsight.language.prompts import PromptPack
from selfsight.methods.visplay.measure import picture_size, read_evaluation
from selfsight.methods.visplay.stream import ImageStream
from selfsight.methods.visplay.timings import Timings
from selfsight.run import RunDirectory
from selfsight.run.atomic import read_json


def build_summary(
    directory: RunDirectory,
    config: EvolveConfig,
    *,
    stream: ImageStream,
    pack: PromptPack,
    weights: str,
    timings: Timings,
) -> dict[str, Any]:
    """Collects the rounds' entries; the change is paired, base against the last round's reasoner."""
    rounds: list[Any] = [read_json(directory.round(k) / "round.json") for k in range(config.visplay.rounds + 1)]
    first, last = read_evaluation(directory.round(0)), read_evaluation(directory.round(config.visplay.rounds))
    return {
        "method": config.method,
        "recipe": config.recipe,
        "seed": config.seed,
        "config_hash": config_hash(config),
        "controls": config.visplay.controls.model_dump(),
        "images": stream.source.describe(),
        "images_repeat": stream.repeats,
        "measured_on": {
            "seed": config.evaluation.seed,
            "world": config.evaluation.world,
            "picture_size": picture_size(config, pack),
        },
        "base": rounds[0]["heldout"],
        "rounds": rounds[1:],
        "final": rounds[-1]["heldout"],
        "delta": compare(first, last),
        "final_weights": weights,
        "timings": timings.summary(),
        "versions": {
            "selfsight": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "pillow")},
        },
    }
