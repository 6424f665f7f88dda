"""The command that installs an optional part of this package, as our own messages say it.

No message may send people to a package registry for the name `selfsight`: it is not published there under our control,
so whoever takes the name would get their code run on every machine that follows the message. An extra is therefore
always installed from the checkout.
"""

import shlex
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def extra_hint(extra: str, *, root: Path = _ROOT, prefix: str = sys.prefix, base: str = sys.base_prefix) -> str:
    """How to install an extra, such as `pip install -e '.[trackers]'`.

    Args:
        extra: a name under `[project.optional-dependencies]` of pyproject.toml.
        root: the folder that would be the checkout.
        prefix: where the interpreter's packages are; in a virtual environment its own pip is named.
        base: the same outside a virtual environment.

    Example:
        >>> extra_hint("vllm")
        ".venv/bin/pip install -e '.[vllm]'"
    """
    pip = "pip" if prefix == base else _short(Path(prefix) / "bin" / "pip")
    if not (root / "pyproject.toml").is_file():  # installed as a copy: where the checkout is, is not known
        return f"in a checkout of selfsight: {pip} install -e '.[{extra}]'"
    place = "." if root == Path.cwd() else str(root)
    return f"{pip} install -e {shlex.quote(f'{place}[{extra}]')}"


def _short(path: Path) -> str:
    """A path from here, where it lies below here."""
    return shlex.quote(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path))
