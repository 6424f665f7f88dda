"""Patch embeddings as matrix products: equal to the convolution they stand for, in values, gradients and names."""

import copy

import pytest
import torch
from torch import Tensor, nn

from selfsight.policy.patches import PatchProduct, embed_patches_by_products


def both(layer: nn.Module, patches: Tensor) -> list[Tensor]:
    """Output, and the gradients of input and weights."""
    patches = patches.clone().requires_grad_()
    out: Tensor = layer(patches)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert patches.grad is not None and all(gradient is not None for gradient in gradients)
    return [out.detach(), patches.grad, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("bias", [False, True])
def test_the_product_equals_the_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 16, (2, 4, 4), stride=(2, 4, 4), bias=bias))
    plain = copy.deepcopy(model)
    embed_patches_by_products(model)
    assert type(model[0]) is PatchProduct
    assert list(model.state_dict()) == list(plain.state_dict())
    for shape in ((7, 3, 2, 4, 4), (2, 3, 4, 8, 8)):  # patches, and a video that is no patch
        patches = torch.randn(shape)
        model.zero_grad()
        plain.zero_grad()
        for one, other in zip(both(model, patches), both(plain, patches), strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(3, 4, 2, stride=1),
        nn.Conv3d(3, 4, 2, stride=2, padding=1),
        nn.Conv3d(4, 4, 2, stride=2, groups=2),
        nn.Conv3d(3, 4, 2, stride=2, dilation=2),
        nn.Conv2d(3, 4, 2, stride=2),
    ],
)
def test_other_convolutions_stay_what_they_are(layer: nn.Module) -> None:
    kind = type(layer)
    embed_patches_by_products(nn.Sequential(layer))
    assert type(layer) is kind
