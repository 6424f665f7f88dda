"""What a figure was measured on: cores, processor and versions, without any name of the machine."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine() -> dict[str, object]:
    """JSON-ready facts that belong beside every figure."""
    return {
        "system": platform.system(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("selfsight", "torch", "transformers", "numpy")},
    }


def processor() -> str:
    """The processor's model name; its architecture where the system does not tell."""
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
