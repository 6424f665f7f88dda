"""How long the command line takes to answer, and what its modules cost to import.

    python bench/startup.py              milliseconds, median of 5, as JSON

Every figure is a new process. An import's own time is that of the process less that of an empty Python process.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machine import describe_machine

REPEATS = 5
LIGHT = (
    "selfsight.cli",
    "selfsight.config",
    "selfsight.language",
    "selfsight.images",
    "selfsight.methods.visplay.rewards",
    "selfsight.methods.visplay.gates",
)
HEAVY = ("torch", "transformers")


def milliseconds(command: Sequence[str], repeats: int = REPEATS) -> float:
    """Median wall time of a command that must succeed; one run before it fills the file cache."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken[1:])


def loaded_by(module: str, names: Sequence[str] = HEAVY) -> list[str]:
    """Which of `names` are loaded once `module` is."""
    code = f"import sys, {module}; print(*sorted(set({list(names)!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def main() -> None:
    empty = milliseconds([sys.executable, "-c", ""])
    imports = {}
    for module in LIGHT:
        imports[module] = {
            "milliseconds": milliseconds([sys.executable, "-c", f"import {module}"]) - empty,
            "loads": loaded_by(module),
        }
    figures = {
        "help_milliseconds": milliseconds([str(Path(sys.executable).with_name("selfsight")), "--help"]),
        "empty_python_milliseconds": empty,
        "imports": imports,
        "machine": describe_machine(),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
