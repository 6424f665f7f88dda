"""Makes OpenMP's threads wait briefly, so that a run on a busy machine costs about its share.

torch's operators on a CPU are divided among OpenMP threads. A thread that has finished its part waits for the others
in a loop (spinning), because waking a sleeping thread takes some microseconds. By default it spins for long: GNU's
runtime 300,000 turns or until it is throttled, Intel's and LLVM's 200 ms. On an idle machine that costs nothing. When
other processes want the cores, the spinning thread holds the very core that the others' unfinished part needs, and a
run takes several times as long. A short spin keeps what is gained on an idle machine: most waits between operators
are shorter than it. `bench/busy.py` measures both.

Each runtime reads its variables when its library is loaded, so this has to happen before torch is imported.
"""

import os
from collections.abc import MutableMapping
from typing import Final

# A user who set one of these has decided how threads wait; KMP_LIBRARY=turnaround, for one, means "spin for ever".
_DECIDED_BY_USER: Final = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_SETTINGS: Final = {
    "GOMP_SPINCOUNT": "3000",  # GNU (the wheels of torch for Linux): turns of the waiting loop, some microseconds
    "KMP_BLOCKTIME": "1",  # Intel and LLVM (conda's and macOS's builds of torch): milliseconds; 0 would sleep at once
}


def wait_briefly(environment: MutableMapping[str, str] | None = None) -> bool:
    """Sets how long OpenMP's threads spin, in this process and those that it starts, before torch is imported.

    Args:
        environment: the variables to change; those of this process if not given.

    Returns:
        Whether they were set. False when the user has set one of them.

    Example:
        >>> variables = {}
        >>> wait_briefly(variables), variables["GOMP_SPINCOUNT"]
        (True, '3000')
    """
    variables = os.environ if environment is None else environment
    if any(name in variables for name in _DECIDED_BY_USER):
        return False
    variables.update(_SETTINGS)
    return True
