"""A folder of photographs, with all folders inside it.

Files are found by extension (.png .jpg .jpeg .webp in any case) and believed by content. Hidden files and
folders (a leading dot, among them macOS's "._" companions) are skipped. A symbolic link may point to a file
inside the folder; one that leads outside is put into quarantine like a damaged file. Links to folders are
not followed.
"""

import os
from pathlib import Path
from typing import Final

from selfsight.images.files import BadImage, Candidate, FileSource, is_utf8, resolve
from selfsight.images.safe import ImageError, Limits

EXTENSIONS: Final = (".png", ".jpg", ".jpeg", ".webp")


class FolderSource(FileSource):
    """The images below `path` in an order fixed by `seed`; ids are "f-" and a hash of the content.

    Files that cannot be used are listed in `.quarantined`; more of them than `allowed_bad` says is an
    error, and so is a folder without images.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_bad_fraction: float = 0.01,
    ) -> None:
        root = resolve(Path(path))
        if not root.is_dir():
            raise ImageError(f"{path}: is not a folder", hint="give the folder that holds the images")
        candidates, refused, others = walk_images(root)
        super().__init__(
            name=f"folder:{root.name}",
            root=root,
            candidates=candidates,
            refused=refused,
            seed=seed,
            limits=limits,
            max_bad_fraction=max_bad_fraction,
        )
        if not self._files:
            raise ImageError(
                f"{path}: holds no {', '.join(EXTENSIONS)} images ({others} other files)",
                hint="check the path; other formats must be converted first",
            )


def walk_images(root: Path) -> tuple[list[Candidate], list[BadImage], int]:
    """Image files by extension, refused links and names, and the number of other files."""
    candidates: list[Candidate] = []
    refused: list[BadImage] = []
    others = 0
    for folder, subfolders, names in os.walk(root, onerror=_unreadable_folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                others += 1
                continue
            relative = path.relative_to(root).as_posix()
            if not is_utf8(relative):
                refused.append(BadImage(repr(relative), f"{relative!r}: the name is not UTF-8"))
            elif path.is_symlink() and not resolve(path).is_relative_to(root):
                refused.append(BadImage(str(path), f"{path}: is a link that leads outside the folder"))
            else:
                candidates.append(Candidate(relative, path))
    return candidates, refused, others


def _unreadable_folder(error: OSError) -> None:
    raise ImageError(f"{error.filename}: cannot be listed ({error.strerror})", hint="check its permissions") from error
