"""Where an export is written: a new folder, whole or not at all, with a record of where it comes from.

`provenance.json` in it says which run made it, and marks it as ours: `force` replaces a folder that has one, and no
other, so that a slip of the hand costs nobody's files.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from selfsight import __version__
from selfsight.config import config_hash
from selfsight.errors import SelfsightError
from selfsight.report.reading import RunReading
from selfsight.run.atomic import disk_errors, pretty_json, replace_folder, temporary_folder

MARK: Final = "provenance.json"


def refuse_occupied(path: Path, *, force: bool) -> None:
    """SelfsightError when something lies at `path` that must not be replaced."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise SelfsightError(f"{path}: is not a folder", hint="choose another --out")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / MARK).is_file():
        raise SelfsightError(
            f"{path}: is not empty, and `selfsight export` did not write it", hint="choose a new or empty --out"
        )
    if not force:
        raise SelfsightError(
            f"{path}: holds an export already", hint="choose another --out, or replace it with --force"
        )


def remove_leftover(path: Path) -> Path | None:
    """Removes what an export to `path` that was killed has left: the hidden folder that it wrote into.

    Returns:
        The folder that was removed, if there was one.

    Raises:
        DiskError: it cannot be removed.
    """
    leftover = temporary_folder(path.absolute())
    if leftover.is_symlink() or not leftover.is_dir():
        return None
    with disk_errors(leftover):
        shutil.rmtree(leftover)
    return leftover


@contextmanager
def new_folder(path: Path, run: RunReading, about: Mapping[str, object], *, force: bool) -> Iterator[Path]:
    """A folder to write into that becomes `path` at the end of the block; `about` goes into its record."""
    refuse_occupied(path, force=force)
    with replace_folder(path.absolute()) as folder:
        yield folder
        record = {
            "written_by": f"selfsight {__version__}",
            "run": run.name,
            "method": run.config.method,
            "recipe": run.config.recipe,
            "seed": run.config.seed,
            "config_hash": (run.summary or {}).get("config_hash") or config_hash(run.config),
            **about,
        }
        (folder / MARK).write_bytes(pretty_json(record))
