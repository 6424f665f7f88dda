"""Which images belong to which step: fixed by arithmetic, so that nothing has to be remembered.

Every round has its own slice of the stream, the questioner phase first, curation behind it, so images never
repeat between rounds as long as the source lasts. A source that is too small starts again from its
beginning; `repeats` says so, and the run's record keeps it.

An image that cannot be decoded leaves its place empty (see methods/stream.py), and the step or piece has an image
less. Missing images cost little (at most `max_bad_fraction` of them), and curation makes up for them by further
attempts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from selfsight.config import EvolveConfig
from selfsight.images import image_source
from selfsight.images.source import ImageRef, ImageSource
from selfsight.methods.stream import image_options, images_at, refuse_too_many_bad
from selfsight.run import derive


def open_images(config: EvolveConfig) -> ImageSource:
    """A run's images."""
    return image_source(config.images, seed=derive(config.seed, "images"), **image_options(config))


def round_images(config: EvolveConfig) -> tuple[int, int]:
    """Images that a questioner phase uses, and that a whole round may use at most."""
    visplay = config.visplay
    questioner = visplay.questioner_steps * visplay.images_per_step
    return questioner, questioner + visplay.pool_images * visplay.max_pool_attempts


@dataclass(frozen=True)
class ImageStream:
    """The image source of a run, cut into slices. `shown` gives the image that the reasoner sees for another."""

    source: ImageSource
    config: EvolveConfig
    shown: Callable[[ImageRef], ImageRef] | None = None

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
        # At most one copy of an image in a batch: groups are joined by image id.
        usable = {ref.id: ref for _, ref in images_at(self.source, start, count)}
        if self.shown is not None:
            for ref in usable.values():  # decodes what the reasoner will see, so that nothing is found bad halfway
                self.shown(ref)
        refuse_too_many_bad(self.source, start + count)
        return list(usable.values())
