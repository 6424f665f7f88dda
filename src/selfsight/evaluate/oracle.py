"""Exact truth about questions on worlds, as answer keys: for measurement, audits and the labelled control.

The label-free path never comes here: `methods/` receives a labeller from outside only when `controls.labels` is
`truth`, and a test shows that an oracle that raises changes nothing in an ordinary run.
"""

from dataclasses import dataclass
from functools import lru_cache

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds.truth import scene_of, truth
from selfsight.language.keys import answer_key


@dataclass(frozen=True)
class Verdict:
    """What is true of a question: `key` is None when it is ill-posed, `family` None outside the grammar."""

    key: str | None
    family: str | None
    reason: str

    @property
    def well_posed(self) -> bool:
        """Whether there is exactly one right answer."""
        return self.key is not None


def knows(image: ImageRef) -> bool:
    """Whether there is exact truth about an image: worlds only."""
    return image.id.startswith("w-")


@lru_cache(maxsize=65536)
def verdict(image: ImageRef, question: str) -> Verdict:
    """Truth of a question about a world's image."""
    found = truth(question, scene_of(image))
    return Verdict(None if found.answer is None else answer_key(found.answer, question), found.family, found.reason)


def verdict_if_known(image: ImageRef, question: str) -> Verdict | None:
    """The same, or None about an image of which nobody knows the truth: what a report is told.

    A report reads records that may be damaged: an id that names no picture of a world is nobody's, too.
    """
    try:
        return verdict(image, question) if knows(image) else None
    except SelfsightError:
        return None


def true_label(image: ImageRef, question: str) -> str | None:
    """The labelled control's label: the true answer's key, or None for an ill-posed question."""
    return verdict(image, question).key
