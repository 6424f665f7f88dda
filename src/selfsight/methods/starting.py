"""What is said as a run starts."""

from selfsight.config import EvolveConfig


def surprises(config: EvolveConfig, *, gpu: bool) -> list[str]:
    """What a user who brings a model may not expect: training on the processor, or on drawn pictures."""
    if config.model == "starter":
        return []
    found = []
    if not gpu:
        found.append(f"no GPU was found: {config.model} runs on the processor, which may take very long")
    if config.images.startswith("worlds"):
        found.append(
            f"images={config.images}: the run trains on drawn pictures, not on yours; images=FOLDER gives it yours"
        )
    return found
