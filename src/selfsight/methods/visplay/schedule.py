"""The order of a run: which stage follows which."""

from selfsight.config import EvolveConfig
from selfsight.methods.loop import Stage


def stages(config: EvolveConfig) -> list[Stage]:
    """All stages of a run, in order. An untrained questioner has no phase of its own."""
    phases = [(0, "evaluation")]
    for round in range(1, config.visplay.rounds + 1):
        if config.visplay.controls.questioner == "trained" and config.visplay.questioner_steps > 0:
            phases.append((round, "questioner"))
        phases += [(round, "curation"), (round, "reasoner"), (round, "evaluation")]
    return [Stage(i, round, phase) for i, (round, phase) in enumerate(phases)]
