"""A folder of image pairs as Vision-Zero publishes them: `NAME_original.png` beside `NAME_modified.png`.

The citizens see the original, the spy the modified one. The halves may have different extensions (of those that
folders read, in any case) and different sizes, which policies can take; folders inside are searched too. A half
without its partner, two files for the same half, and an image that is neither are errors that name the file: such a
folder is wrong as a whole. A pair goes into quarantine when either half is damaged, or when both are the same file,
since then the spy would see the citizens' image.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from selfsight.images.files import BadImage, Candidate, FileSource, resolve
from selfsight.images.folder import EXTENSIONS, walk
from selfsight.images.safe import ImageError, Limits, check_image, content_id, read_image_bytes
from selfsight.images.source import ImageRef

_HALF: Final = re.compile(r"(?P<name>.+)_(?P<half>original|modified)", re.DOTALL)


class PairFolder(FileSource):
    """The pairs below `path`, in an order fixed by `seed`; a reference is the original's."""

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
            raise ImageError(f"{path}: is not a folder", hint="give the folder that holds the pairs")
        found, tables = walk(root)
        others = sum(found.not_read.values()) + len(tables)
        pairs, refused = _pairs(found.candidates), found.refused
        good: list[Candidate] = []
        self._partner: dict[Path, Path] = {}
        for original, modified in pairs:
            reason = _why_bad(original.path, modified.path, limits)
            if reason:
                refused.append(BadImage(str(modified.path), reason))
            else:
                good.append(original)
                self._partner[original.path] = modified.path
        super().__init__(
            name=f"pairs:{root.name}",
            root=root,
            candidates=good,
            refused=refused,
            seed=seed,
            limits=limits,
            max_bad_fraction=max_bad_fraction,
            listing=found,
        )
        if not self._files:
            raise ImageError(
                f"{path}: holds no pairs of images ({others} other files)",
                hint=f"name them NAME_original and NAME_modified, as one of {', '.join(EXTENSIONS)}",
            )

    def spy_view(self, ref: ImageRef) -> ImageRef:
        """The modified half of the pair whose original is `ref`."""
        path = self._partner.get(Path(ref.origin))
        if path is None:
            raise ImageError(
                f"{ref.origin}: is not an original of {self.name}", hint="use references that this source gave"
            )
        if path not in self._known_ids:
            self._known_ids[path] = content_id(self._read(path))
        return ImageRef(self._known_ids[path], str(path))

    def usable(self, ref: ImageRef) -> bool:
        """Whether both halves of a pair can be decoded; if not, the pair is in quarantine from now on."""
        if not super().usable(ref):
            return False
        path = self._partner.get(Path(ref.origin))
        if path is None:  # a modified half, asked for by itself
            return True
        try:
            self._keep_decoded(self.spy_view(ref))
        except ImageError as error:
            # Under the original's path: a pair has one place in the stream.
            self._put_aside(BadImage(ref.origin, error.message))
            return False
        return True


def _pairs(candidates: Iterable[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Original and modified of every pair; ImageError for the first file that has no partner."""
    halves: dict[str, dict[str, Candidate]] = {"original": {}, "modified": {}}
    for candidate in candidates:
        found = _HALF.fullmatch(candidate.name.removesuffix(candidate.path.suffix))
        if found is None:
            raise ImageError(
                f"{candidate.path}: is neither *_original nor *_modified",
                hint="keep other images out of a folder of pairs",
            )
        twice = halves[found["half"]].setdefault(found["name"], candidate)
        if twice is not candidate:
            raise ImageError(
                f"{candidate.path}: {twice.path.name} is the {found['half']} of this pair already",
                hint="keep one of the two",
            )
    for half, other in (("original", "modified"), ("modified", "original")):
        for name, candidate in halves[half].items():
            if name not in halves[other]:
                raise ImageError(
                    f"{candidate.path}: there is no {Path(name).name}_{other} beside it",
                    hint="add the missing half, or remove this one",
                )
    return [(original, halves["modified"][name]) for name, original in halves["original"].items()]


def _why_bad(original: Path, modified: Path, limits: Limits) -> str:
    """Why a pair cannot be used; empty when it can."""
    try:
        sizes = [check_image(path, limits) for path in (original, modified)]
    except ImageError as error:
        return error.message
    if sizes[0] == sizes[1]:
        first, second = (content_id(read_image_bytes(path, limits)) for path in (original, modified))
        if first == second:
            return f"{modified}: is the same file as {original.name}"
    return ""
