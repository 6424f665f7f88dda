"""Keeps freed memory in the process, which about halves the time of a training step on a CPU.

With glibc's defaults every large tensor is handed back to the system when it is freed and asked for again, page by
page, at the next step. Other C libraries have no such switch, and a user who has set one is left alone.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 2**30  # bytes: larger blocks still come from the system and go back to it


def keep_freed_memory() -> bool:
    """Sets it for this process; whether that was possible."""
    set_already = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ)
    if sys.platform != "linux" or set_already or "threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_TRIM_THRESHOLD, _KEPT) == 1 and mallopt(_M_MMAP_THRESHOLD, _KEPT) == 1
