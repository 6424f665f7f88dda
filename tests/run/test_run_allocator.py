"""Freed memory stays in the process, unless the user decided otherwise."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from selfsight.run.allocator import keep_freed_memory

def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * 4096

print(keep_freed_memory() if "keep" in sys.argv else None)
block = bytearray(200_000_000)
del block
print(resident() > 200_000_000)
"""


def outcome(*arguments: str, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")
def test_freed_memory_stays_with_the_process() -> None:
    assert outcome("keep") == ["True", "True"]
    assert outcome() == ["None", "False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")
def test_a_user_who_set_the_allocator_is_left_alone() -> None:
    assert outcome("keep", MALLOC_MMAP_THRESHOLD_="131072") == ["False", "False"]
    assert outcome("keep", GLIBC_TUNABLES="glibc.malloc.mmap_threshold=131072") == ["False", "False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")
def test_large_pages_do_not_stand_in_its_way() -> None:
    assert outcome("keep", GLIBC_TUNABLES="glibc.malloc.hugetlb=1") == ["True", "True"]
