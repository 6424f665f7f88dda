"""Which images belong to which step: fixed by arithmetic, so that nothing has to be remembered.

Every round has its own slice of the stream, the questioner phase first, curation behind it, so images never
repeat between rounds as long as the source lasts. A source that is too small starts again from its
beginning; `repeats` says so, and the run's record keeps it.
"""

from dataclasses import dataclass
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.images import image_source
from selfsight.images.source import ImageRef, ImageSource
from selfsight.run import Progress, derive


def open_images(config: EvolveConfig, progress: Progress) -> ImageSource:
    """A run's images. Those that cannot be used are counted and named here, and listed in the summary."""
    source = image_source(config.images, seed=derive(config.seed, "images"))
    bad: Any = source.describe().get("quarantined", [])
    if bad:
        more = f"; and {len(bad) - 3} more, see summary.json" if len(bad) > 3 else ""
        progress.note(f"images left out: {len(bad)} ({'; '.join(image['reason'] for image in bad[:3])}{more})")
    return source


def round_images(config: EvolveConfig) -> tuple[int, int]:
    """Images that a questioner phase uses, and that a whole round may use at most."""
    visplay = config.visplay
    questioner = visplay.questioner_steps * visplay.images_per_step
    return questioner, questioner + visplay.pool_images * visplay.max_pool_attempts


@dataclass(frozen=True)
class ImageStream:
    """The image source of a run, cut into slices."""

    source: ImageSource
    config: EvolveConfig

    @property
    def per_round(self) -> int:
        """Images that a round may use at most."""
        return round_images(self.config)[1]

    @property
    def repeats(self) -> bool:
        """Whether the source is too small for all rounds to see fresh images."""
        size = self.source.size()
        return size is not None and size < self.per_round * self.config.visplay.rounds

    def for_step(self, round: int, step: int) -> list[ImageRef]:
        """The images of questioner step `step` (from 0) of a round (from 1)."""
        count = self.config.visplay.images_per_step
        return self._take((round - 1) * self.per_round + step * count, count)

    def for_curation(self, round: int, start: int, count: int) -> list[ImageRef]:
        """Images `start` to `start + count` of a round's curation slice."""
        return self._take((round - 1) * self.per_round + round_images(self.config)[0] + start, count)

    def _take(self, start: int, count: int) -> list[ImageRef]:
        size = self.source.size()
        if size is None:
            return self.source.take(start, count)
        if size < 1:
            raise SelfsightError(f"{self.source.name} holds no images", hint="give a folder with images")
        # At most one copy of an image in a batch: groups are joined by image id.
        places = dict.fromkeys((start + i) % size for i in range(count))
        return [ref for place in places for ref in self.source.take(place, 1)]
