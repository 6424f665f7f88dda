"""How the command was started, so that a hint can be copied as it stands."""

import shlex
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
        return shlex.quote(str(shortest(started)))
    if started.name == "__main__.py" and started.parent.name == "selfsight":
        return "python -m selfsight"
    return "selfsight"


def shortest(path: Path) -> Path:
    """A path from the folder that the user is in where it lies below it, else as it is."""
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path
