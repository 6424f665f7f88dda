"""Which device a model is computed on: the `device` setting as torch's name of one that this machine has.

Left out: Apple GPUs (`mps`). The attention kernels and the sampler were never compared with the CPU's results there,
and a model that samples from one distribution and learns from another trains wrongly without an error.
"""

import logging
from functools import cache

import torch

from selfsight.errors import SelfsightError

logger = logging.getLogger(__name__)


def choose_device(wanted: str) -> str:
    """The device to compute on.

    Args:
        wanted: `auto` (CUDA if there is a device, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Returns:
        `cpu`, `cuda` or `cuda:N`, as `torch.device` takes it.

    Raises:
        SelfsightError: This machine has no such device, or it is not supported.

    Example:
        >>> choose_device("cpu")
        'cpu'
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        _say_that_mps_is_not_used()
        return "cpu"
    if wanted == "cpu":
        return wanted
    kind, _, number = wanted.partition(":")
    if kind != "cuda":
        raise SelfsightError(
            f"device={wanted}: not supported; results were never compared with those of the CPU there.",
            hint="Set device to auto, cpu, cuda or cuda:N.",
        )
    if not torch.cuda.is_available():
        raise SelfsightError(
            f"device={wanted}: torch {torch.__version__} sees no CUDA device on this machine.",
            hint="Set device=cpu, or see what `selfsight doctor` says about devices.",
        )
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise SelfsightError(
            f"device={wanted}: this machine has the CUDA devices 0 to {last} only.", hint=f"Set device=cuda:{last}."
        )
    return wanted


@cache  # said once in a process, however many models are opened
def _say_that_mps_is_not_used() -> None:
    if torch.backends.mps.is_available():
        logger.warning("this machine has an Apple GPU (mps), which is not supported: the CPU is used")
