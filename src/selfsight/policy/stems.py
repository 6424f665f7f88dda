"""What the batches of one pass share: the stems of cut tries, and image features.

A trie above the token budget is worked through in parts (`trie`). Each part needs the keys and values of its stem, and
the stem's hidden states where they predict a scored token. The first part computes them; the others take them over.

Gradients stay exact, up to rounding. Parts see detached copies, whose gradients add up; after the last part the sums go
through the stem in one backward pass. So a long prompt is computed once however small the budget is, and at any time
there are the activations of one stem and one part. `features` does the same for images.

Shapes: S tokens of a stem, K key heads, D head size.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from selfsight.images.source import ImageRef
from selfsight.policy.features import ImageFeatures, backward_through
from selfsight.policy.prefix import Carried, Prefill
from selfsight.policy.trie import Stem
from selfsight.policy.vlm import Vlm


def carry(vlm: Vlm, stem: Stem, images: dict[str, Any]) -> Carried:
    """A stem's own forward pass, with gradient where that is on."""
    prefill = Prefill()
    hidden = vlm.hidden(torch.from_numpy(stem.ids)[None], torch.from_numpy(stem.planes)[:, None], prefill, images)
    return Carried(*prefill.take(), hidden[0])


class Part(Protocol):
    """A batch, as far as it shares something."""

    @property
    def images(self) -> tuple[ImageRef, ...]: ...

    @property
    def stem(self) -> Stem | None: ...


class Shared:
    """Stems and features for `parts`, each of which is computed once, in any order, and then released, backward
    included. With `features` the images' features are another's, who releases them, too, later than this.
    """

    def __init__(self, vlm: Vlm, parts: Sequence[Part], features: ImageFeatures | None = None) -> None:
        self.vlm = vlm
        stems = {id(part.stem): part.stem for part in parts if part.stem is not None}
        self._left = Counter(id(part.stem) for part in parts if part.stem is not None)
        self._held: dict[int, tuple[Carried, Carried]] = {}  # with the graph, and what parts see
        self._own = features is None
        shown = [part.images for part in parts] + [stem.images for stem in stems.values()]
        self.features = ImageFeatures(vlm, shown) if features is None else features

    def carried(self, stem: Stem) -> Carried:
        """The stem's keys, values and hidden states, computed when the first part asks."""
        if id(stem) not in self._held:
            found = carry(self.vlm, stem, self.features.inputs(stem.images))
            self._held[id(stem)] = (found, found.detached() if torch.is_grad_enabled() else found)
        return self._held[id(stem)][1]

    def release(self, part: Part) -> None:
        """Says that a part is done, backward included."""
        if (stem := part.stem) is not None:
            self._left[id(stem)] -= 1
            if self._left[id(stem)] == 0:
                held = self._held.pop(id(stem), None)
                if held is not None and held[0] is not held[1]:
                    backward_through(held[0].tensors, held[1].tensors)
                if self._own:
                    self.features.release(stem.images)
        if self._own:
            self.features.release(part.images)
