"""The order of a round: which phase follows which."""

from selfsight.config import EvolveConfig


def phases(config: EvolveConfig) -> list[str]:
    """The phases of a round, in order. An untrained questioner has none of its own."""
    trains = config.visplay.controls.questioner == "trained" and config.visplay.questioner_steps > 0
    return [*(["questioner"] if trains else []), "curation", "reasoner"]
