"""Where a run keeps the adapters of a round: beside the model folder that they are merged into."""

from pathlib import Path
from typing import Final

ADAPTER: Final = "_adapter"


def adapter_folder(model: Path) -> Path:
    """The adapter folder that belongs to the model folder of a round.

    Example:
        >>> adapter_folder(Path("runs/mine/rounds/1/reasoner")).as_posix()
        'runs/mine/rounds/1/reasoner_adapter'
    """
    return model.with_name(model.name + ADAPTER)
