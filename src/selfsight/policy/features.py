"""What the vision tower makes of images, computed once and shared.

`image_inputs` serves one forward pass. `ImageFeatures` serves a whole `learn` call: every image is encoded when the
first micro-batch shows it, and its features are kept until the last one that shows it is done.

Gradients stay exact when the vision path is trained. Micro-batches see a detached copy of the features, whose
gradient adds up; after the last of them the sum goes through the vision tower in one backward pass.

References may use the same features exactly when nothing that makes them is trained (`vision_is_frozen`): neither
the tower nor what projects its output into the language model, adapters included. Otherwise the reference has
features of its own. A reference with the weights of now is not computed at all (see `Learner`).

Models that do not take features (no `mm_encoder_outputs`) get pixels, once per place where the image is shown,
and share nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.loading import language_model
from selfsight.policy.processor import stack_pixels
from selfsight.policy.vlm import Vlm


def image_inputs(vlm: Vlm, images: Sequence[ImageRef]) -> dict[str, Any]:
    """Model inputs for the images of one forward pass, in the order of their tokens; each is encoded once."""
    if not images:
        return {}
    if not vlm.takes_features:
        return _pixels(vlm, images)
    distinct = list({ref.id: ref for ref in images}.values())
    encoded = _encode(vlm, distinct)
    return _joined(encoded, [encoded.images[ref.id] for ref in images])


def vision_is_frozen(vlm: Vlm) -> bool:
    """Whether no trained parameter lies between pixels and features: all are in the language model or its head."""
    _, decoder = language_model(vlm.model)
    behind = {id(parameter) for part in (decoder, vlm.head) for parameter in part.parameters()}
    return not any(p.requires_grad and id(p) not in behind for p in vlm.model.parameters())


@dataclass(eq=False)
class _Encoded:
    """One run of the vision tower: per image its tensors, [features, deepstack layer 1, ...].

    With `sources`, the tensors are detached and `sources` are those with the graph, in the same order; `waiting`
    counts the images that are still in use.
    """

    kind: type
    together: bool  # the model takes one tensor of all images' features, not a list
    images: dict[str, list[Tensor]]
    sources: list[Tensor]
    waiting: int


class ImageFeatures:
    """Features for micro-batches whose images are `shown`; each must be used once and then released.

    Without `shown` nothing is released: features are kept as long as this object.
    """

    def __init__(self, vlm: Vlm, shown: Iterable[Iterable[ImageRef]] = ()) -> None:
        self.vlm = vlm
        self._frozen = vision_is_frozen(vlm)
        self._left = Counter(image_id for images in shown for image_id in {ref.id for ref in images})
        self._held: dict[str, _Encoded] = {}

    def inputs(self, images: Sequence[ImageRef]) -> dict[str, Any]:
        """Model inputs for these images, in the order of their tokens."""
        if not images:
            return {}
        if not self.vlm.takes_features:
            return _pixels(self.vlm, images)
        new = list({ref.id: ref for ref in images if ref.id not in self._held}.values())
        if new:
            learned = torch.is_grad_enabled() and not self._frozen
            with torch.set_grad_enabled(learned):
                encoded = _encode(self.vlm, new)
            if learned:
                encoded.sources = [tensor for tensors in encoded.images.values() for tensor in tensors]
                encoded.images = {
                    name: [tensor.detach().requires_grad_() for tensor in tensors]
                    for name, tensors in encoded.images.items()
                }
            self._held |= dict.fromkeys(encoded.images, encoded)
        return _joined(self._held[images[0].id], [self._held[ref.id].images[ref.id] for ref in images])

    def release(self, images: Sequence[ImageRef]) -> None:
        """Says that a micro-batch with these images is done, backward included."""
        for image_id in {ref.id: None for ref in images}:
            self._left[image_id] -= 1
            if self._left[image_id] > 0 or image_id not in self._held:
                continue
            encoded = self._held.pop(image_id)
            encoded.waiting -= 1
            if encoded.waiting == 0 and encoded.sources:
                leaves = [tensor for tensors in encoded.images.values() for tensor in tensors]
                backward_through(encoded.sources, leaves)


def backward_through(sources: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """The gradients that detached copies have gathered, through what they are copies of."""
    reached = [
        (source, leaf.grad.to(source.dtype))
        for source, leaf in zip(sources, leaves, strict=True)
        if leaf.grad is not None and source.requires_grad
    ]
    if reached:
        torch.autograd.backward([source for source, _ in reached], [grad for _, grad in reached])


def _encode(vlm: Vlm, images: Sequence[ImageRef]) -> _Encoded:
    pixels = [vlm.encoder.image(ref).pixels for ref in images]
    out = vlm.model.model.get_image_features(**_on_device(vlm, stack_pixels(pixels)), return_dict=True)
    pooled = out.pooler_output
    together = isinstance(pooled, Tensor)
    layers = [pooled.split([_tiles(some) for some in pixels]) if together else pooled]
    if "deepstack_features" in out:
        layers.extend(out.deepstack_features)
    names = [ref.id for ref in images]
    return _Encoded(
        type(out), together, dict(zip(names, map(list, zip(*layers, strict=True)), strict=True)), [], len(names)
    )


def _joined(encoded: _Encoded, images: Sequence[Sequence[Tensor]]) -> dict[str, Any]:
    pooled, *deepstack = (list(layer) for layer in zip(*images, strict=True))
    out = encoded.kind(pooler_output=torch.cat(pooled) if encoded.together else pooled)
    if deepstack:
        out.deepstack_features = deepstack
    return {"mm_encoder_outputs": {"image": out}}


def _pixels(vlm: Vlm, images: Sequence[ImageRef]) -> dict[str, Tensor]:
    return _on_device(vlm, stack_pixels([vlm.encoder.image(ref).pixels for ref in images]))


def _on_device(vlm: Vlm, pixels: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(vlm.device) for name, tensor in pixels.items()}


def _tiles(pixels: dict[str, Tensor]) -> int:
    """Number of tiles an image was cut into, for models that see it as several."""
    values = pixels["pixel_values"]
    return values.shape[1] if values.ndim == 5 else values.shape[0]
