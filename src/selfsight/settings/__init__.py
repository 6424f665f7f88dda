"""What groups of settings are made of. The groups themselves are in config.py and, a file for a method, here."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Text = Annotated[str, Strict(False), Field(min_length=1)]  # a folder may be named 2024
FolderName = Annotated[str, Strict(False), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Settings(BaseModel):
    """A group of options: frozen, no unknown keys, no conversions (`true` is not 1, "8" is not 8)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, coerce_numbers_to_str=True)
