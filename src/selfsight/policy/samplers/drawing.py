"""A token from a distribution and a uniform, and the uniforms of a sample.

Sample k of a request draws its uniforms from a Philox stream keyed by (request seed, k), one per token, and turns them
into tokens by the inverse of the cumulative distribution. So a sample depends on the weights, its prompt, its seed and
its index, and not on what else is computed beside it.

Shapes: R rows, V tokens of the vocabulary.
"""

import numpy as np
import torch
from torch import Tensor


def sample_stream(seed: int, index: int) -> np.random.Generator:
    """The uniforms of sample `index` of a request; one per token, so a longer limit only appends."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def inverse_cdf(masked: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) tokens and log-probs: the first token whose cumulative probability exceeds the uniform."""
    top = masked.amax(-1, keepdim=True)
    weights = (masked - top).exp_()
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    # Rounding may put the point at the very end of the line; the likeliest token stands in.
    beyond = chosen >= masked.shape[-1]
    if masked.device.type != "cpu" or bool(beyond.any()):  # to ask a GPU takes longer than to have it done
        chosen = torch.where(beyond, masked.argmax(-1, keepdim=True), chosen)
    picked = masked.gather(-1, chosen) - top - total.log().to(masked.dtype)
    return chosen[:, 0], picked[:, 0]


def likeliest(masked: Tensor) -> tuple[Tensor, Tensor]:
    chosen = masked.argmax(-1, keepdim=True)
    return chosen[:, 0], masked.log_softmax(-1).gather(-1, chosen)[:, 0]
