"""The first layer of a vision tower as the matrix product that it is.

Towers of the Qwen family get an image as patches and embed them by a 3-D convolution whose kernel is as large as a
patch, so every output sees all of its input and the convolution is a matrix product. Convolution kernels are made for
other shapes: on a CPU they took several times as long, forward and backward.

Left out: towers that cut patches from a picture by a strided 2-D convolution. Theirs would need the patches laid out
first.
"""

from torch import Tensor, nn
from torch.nn.functional import linear


class PatchProduct(nn.Conv3d):
    """A Conv3d with the same weights under the same names; input (N, C, *kernel) gives output (N, D, 1, 1, 1)."""

    def forward(self, patches: Tensor) -> Tensor:
        """Any other input goes through the convolution."""
        if tuple(patches.shape[2:]) != self.kernel_size:
            return super().forward(patches)
        return linear(patches.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None, None]


def embed_patches_by_products(model: nn.Module) -> None:
    """Turns every plain Conv3d that moves by its own size into a `PatchProduct`, in place."""
    for module in model.modules():
        if type(module) is nn.Conv3d and _is_a_product(module):
            module.__class__ = PatchProduct


def _is_a_product(layer: nn.Conv3d) -> bool:
    apart = layer.stride == layer.kernel_size and layer.groups == 1
    return apart and set(layer.padding) == {0} and set(layer.dilation) == {1}
