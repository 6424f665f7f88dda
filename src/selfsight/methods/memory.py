"""How much memory a run has needed so far: of its GPU, or of its process where there is none."""

import resource
import sys

import torch

_BYTES = 1 if sys.platform == "darwin" else 1024  # of getrusage's unit


def peak_memory_gib() -> float:
    """The most that was held at once since the process began, in GiB."""
    # Nothing is allocated with device=cpu on a machine that has a GPU.
    if torch.cuda.is_available() and (allocated := torch.cuda.max_memory_allocated()):
        return allocated / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES / 2**30
