"""Where a run's images come from, and what is done about those that cannot be used (docs/images.md)."""

from typing import Any

from pydantic import Field, field_validator

from selfsight.settings import Fraction, Settings, Text


class ImageSettings(Settings):
    """The settings about images; keys of the configuration itself, in no group."""

    images: Text = Field(
        default="worlds",
        description="worlds, worlds:scenes, worlds:charts, a folder, an image, a pattern ('photos/*.jpg'), a list or "
        "table (.jsonl, .csv, .parquet, .arrow), hub:OWNER/NAME@REVISION, or several: [a, b] (docs/images.md)",
    )
    image_column: Text | None = Field(
        default=None, description="column of lists and tables that holds images or paths; null: found by its name"
    )
    image_split: Text | None = Field(
        default=None, description="split of a data set to take; null: train, where a data set has several"
    )
    max_image_pixels: int = Field(
        default=32_000_000,
        ge=1,
        le=170_000_000,
        description="pixels of an image at most; a JPEG of up to 8 times as many is read at a smaller scale; memory "
        "grows with it, 16 bytes a pixel",
    )
    max_bad_fraction: Fraction = Field(
        default=0.01,
        description="share of images that may be unreadable; the run leaves them out, and stops above it "
        "(three are forgiven, unless it is 0)",
    )

    @field_validator("images", mode="before")
    @classmethod
    def _one_text(cls, images: Any) -> Any:
        """A list of sources as one text, which is what everything else reads."""
        if not isinstance(images, list):
            return images
        if not images or not all(isinstance(one, str | int) and str(one).strip() for one in images):
            raise ValueError("a list of images is a list of folders, files or patterns")
        if with_comma := [one for one in images if "," in str(one)]:
            raise ValueError(f"{with_comma[0]!r} has a comma, which separates sources: write ? in its place")
        return ",".join(str(one) for one in images)
