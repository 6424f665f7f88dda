"""What groups of settings are made of. The groups themselves are in config.py and, a file for a method, here."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Text = Annotated[str, Strict(False), Field(min_length=1)]  # a folder may be named 2024
FolderName = Annotated[str, Strict(False), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


def _known_device(device: str) -> str:
    """`mps` is named, because on a machine that has one it is what torch's users would write."""
    if device.partition(":")[0] == "mps":
        raise ValueError(
            f"`device` is {device}, which is not supported: results were never compared with the CPU's there; set it "
            "to cpu"
        )
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
        raise ValueError(f"`device` is {device}: set it to auto, cpu, cuda or cuda:N, such as cuda:0")
    return device


Device = Annotated[str, AfterValidator(_known_device)]


class Settings(BaseModel):
    """A group of options: frozen, no unknown keys, no conversions (`true` is not 1, "8" is not 8)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, coerce_numbers_to_str=True)
