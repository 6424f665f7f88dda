"""How the command was started, so that a hint can be copied as it stands."""

import os
import shutil
import sys
from pathlib import Path


def command() -> str:
    """What to type for `selfsight`: the console script's path where the shell would not find it by its name.

    Somebody who only used `make` has it in .venv/bin, outside PATH.
    """
    if shutil.which("selfsight") is not None:
        return "selfsight"
    started = Path(sys.argv[0])
    if started.name == "selfsight" and started.is_file():
        path = os.path.relpath(started)
        path = str(started) if path.startswith("..") else path
        return f"'{path}'" if " " in path else path
    if started.name == "__main__.py" and started.parent.name == "selfsight":
        return "python -m selfsight"
    return "selfsight"
