"""What folders and manifests have in common: a fixed list of image files, checked, in a seeded order.

All files are checked by header when the source is made (see `safe.check_image`), so that a bad file is
known before a run starts: it is put into quarantine, counted and named, and never replaced by another
picture.

The order is that of a keyed hash of each file's name. It is a shuffle by seed, and taking one file away or
adding one leaves the order of the others as it was, which matters when a run is resumed.

The same content under two names is one image: the copies are dropped and counted. Only files of equal size
can be equal, so only those are read in full at the start; the others are hashed when they are taken.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from selfsight.images.safe import ImageError, Limits, check_image, content_id, decode_image, read_image_bytes
from selfsight.images.source import ImageRef

ALWAYS_FORGIVEN: Final = 3
_NAMED_IN_ERROR: Final = 5


@dataclass(frozen=True)
class BadImage:
    """A file in quarantine: where it is and why it is not used."""

    path: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A file to be checked: its name (relative, for the order), its resolved path, its id if a manifest
    gave one.
    """

    name: str
    path: Path
    id: str | None = None


def allowed_bad(total: int, max_bad_fraction: float) -> int:
    """How many of `total` files may be bad: the stated fraction, but three are always forgiven, so that one
    bad file among twenty does not end a run; never more than half; and none at all when the fraction is
    0.
    """
    if max_bad_fraction == 0:
        return 0
    return min(total // 2, max(ALWAYS_FORGIVEN, int(max_bad_fraction * total)))


class FileSource:
    """A seeded, finite stream of image files. `quarantined` and `duplicates` say what was left out."""

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        candidates: Iterable[Candidate],
        refused: Iterable[BadImage],
        seed: int,
        limits: Limits,
        max_bad_fraction: float,
    ) -> None:
        if not 0.0 <= max_bad_fraction <= 1.0:
            raise ImageError(f"max_bad_fraction is {max_bad_fraction}", hint="give a fraction between 0 and 1")
        self.name = name
        self.root = root
        self.seed = seed
        self.limits = limits
        self.max_bad_fraction = max_bad_fraction
        self.quarantined: list[BadImage] = list(refused)
        self.duplicates = 0
        self._known_ids: dict[Path, str] = {}
        ordered = sorted(candidates, key=lambda candidate: (_order_key(seed, candidate.name), candidate.name))
        self._files = self._without_copies(self._without_bad(ordered))

    def _without_bad(self, ordered: list[Candidate]) -> list[tuple[Candidate, int]]:
        total = len(ordered) + len(self.quarantined)
        good: list[tuple[Candidate, int]] = []
        for candidate in ordered:
            try:
                good.append((candidate, check_image(candidate.path, self.limits)))
            except ImageError as error:
                self.quarantined.append(BadImage(str(candidate.path), error.message))
        bad, allowed = len(self.quarantined), allowed_bad(total, self.max_bad_fraction)
        if bad > allowed:
            listed = "".join(f"\n  {image.reason}" for image in self.quarantined[:_NAMED_IN_ERROR])
            more = f"\n  and {bad - _NAMED_IN_ERROR} more" if bad > _NAMED_IN_ERROR else ""
            raise ImageError(
                f"{self.root}: {bad} of {total} images cannot be used, {allowed} are allowed:{listed}{more}",
                hint=f"mend or remove them, or raise max_bad_fraction (now {self.max_bad_fraction:g})",
            )
        return good

    def _without_copies(self, good: list[tuple[Candidate, int]]) -> list[Candidate]:
        sharing: dict[int, int] = defaultdict(int)
        for _, nbytes in good:
            sharing[nbytes] += 1
        seen: set[str] = set()
        kept: list[Candidate] = []
        for candidate, nbytes in good:
            if sharing[nbytes] > 1:
                content = content_id(read_image_bytes(candidate.path, self.limits))
                if content in seen:
                    self.duplicates += 1
                    continue
                seen.add(content)
                self._known_ids[candidate.path] = content
            kept.append(candidate)
        return kept

    def describe(self) -> dict[str, object]:
        """What the run's record keeps; `listing` changes when files are added, removed or renamed."""
        listing = hashlib.blake2b(digest_size=16)
        for candidate in self._files:
            listing.update(candidate.name.encode() + b"\0")
        return {
            "source": self.name,
            "root": str(self.root),
            "seed": self.seed,
            "images": len(self._files),
            "duplicates": self.duplicates,
            "quarantined": [{"path": bad.path, "reason": bad.reason} for bad in self.quarantined],
            "max_bad_fraction": self.max_bad_fraction,
            "listing": listing.hexdigest(),
        }

    def size(self) -> int | None:
        """Number of different images that passed the checks."""
        return len(self._files)

    def take(self, start: int, count: int) -> list[ImageRef]:
        """References `start` to `start + count`; fewer only at the end of the files."""
        if start < 0 or count < 0:
            raise ValueError(f"take({start}, {count}): both must be 0 or more")
        return [self._reference(candidate) for candidate in self._files[start : start + count]]

    def _reference(self, candidate: Candidate) -> ImageRef:
        if candidate.id is not None:
            return ImageRef(candidate.id, str(candidate.path))
        if candidate.path not in self._known_ids:
            data = read_image_bytes(candidate.path, self.limits)
            self._known_ids[candidate.path] = content_id(data)
        return ImageRef(self._known_ids[candidate.path], str(candidate.path))

    def open(self, ref: ImageRef) -> Image.Image:
        """The pixels of a reference; an error if the file has changed, left the root or cannot be decoded."""
        path = Path(ref.origin)
        if not resolve(path).is_relative_to(self.root):
            raise ImageError(f"{path}: lies outside {self.root}", hint="open only references of this source")
        data = read_image_bytes(path, self.limits)
        if ref.id.startswith("f-") and content_id(data) != ref.id:
            raise ImageError(
                f"{path}: has changed since it was taken as {ref.id}",
                hint="put the original file back, or start a new run",
            )
        return decode_image(data, path, self.limits)


def resolve(path: Path) -> Path:
    """The path with all symbolic links followed (a loop of links stays as it is, and cannot be opened)."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise ImageError(f"{path}: cannot be resolved ({error})", hint="remove it from the images") from error


def _order_key(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()


def is_utf8(name: str) -> bool:
    """Whether a file name can be written into tables and pages (Linux allows any bytes)."""
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
