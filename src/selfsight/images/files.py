"""What folders, tables and manifests have in common: a fixed list of images, checked, in a seeded order.

All files are checked by header when the source is made (see `safe.check_image`), so that most bad files are
known before a run starts. Damage inside the pixels shows only when they are decoded, which is too slow for a
whole folder in advance; `usable` decodes one image, and whoever takes images asks it first. Either way a bad
file is put into quarantine, counted and named, stays there, and is never replaced by another picture: its
place in the stream is empty. Were the images behind it to move up, which images a step sees would depend on
what had been found before it.

The order is that of a keyed hash of each file's name: a shuffle by seed. A place in it belongs to one file for
the whole of a run, whatever happens to the folder meanwhile: `listing` is what a run writes down, and with
`go_on` a resumed run takes it over.

The same content under two names is one image: the copies are dropped and counted. Only files of equal size
can be equal, so only those are read in full at the start; the others are hashed when they are taken.
"""

import hashlib
import os
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image

from selfsight.images.heartbeat import Heartbeat
from selfsight.images.safe import (
    ImageError,
    Limits,
    check_image,
    content_id,
    decode_image,
    read_image_bytes,
    shortened,
)
from selfsight.images.source import ImageRef
from selfsight.images.tables import read_cell, table_of

ALWAYS_FORGIVEN: Final = 3
_NAMED_IN_ERROR: Final = 5
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Decoded images kept between the check and their use, by both roles. A slice of a run that does not fit is decoded
# once more, about 0.1 s for a photograph of 12 million pixels: little beside the questions asked about it.
_KEPT_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class BadImage:
    """A file in quarantine: where it is and why it is not used."""

    path: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A file to be checked: its name (relative, for the order), its resolved path, its id if a manifest
    gave one.

    An image inside a table (see `tables`) has been checked while the table was read: `content` is its id by content,
    and `nbytes` its size.
    """

    name: str
    path: Path
    id: str | None = None
    content: str | None = None
    nbytes: int = 0


@dataclass
class Listing:
    """What was found in one place: images to check, images refused already, and everything that is not read.

    `not_read` counts files by kind ("HEIC", "MP4"), `links` the links to folders, which are not followed, `no_image`
    the rows of tables and manifests that have no image, `repeated` the rows that name an image again.
    """

    root: Path
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[BadImage] = field(default_factory=list)
    not_read: Counter[str] = field(default_factory=Counter)
    links: int = 0
    no_image: int = 0
    repeated: int = 0

    def facts(self) -> dict[str, object]:
        """What the run's record keeps of it."""
        return {
            "not_read": dict(sorted(self.not_read.items())),
            "links_not_followed": self.links,
            "rows_without_image": self.no_image,
        }

    def notes(self) -> list[str]:
        """What was passed over, a line each, for the terminal."""
        lines = []
        if self.not_read:
            lines.append(f"not read: {in_words(self.not_read)} files{_way_out(self.not_read)}")
        if self.links:
            lines.append(f"not followed: {self.links} links to folders -> name the folders themselves: images=[a, b]")
        if self.no_image:
            lines.append(f"without an image: {self.no_image} rows, which are passed over")
        return lines


def in_words(kinds: Counter[str]) -> str:
    """Kinds of files with their numbers, the most frequent first: "42 HEIC, 3 MP4"."""
    shown = kinds.most_common(12)
    more = sum(kinds.values()) - sum(count for _, count in shown)
    return ", ".join(f"{count} {kind}" for kind, count in shown) + (f", {more} others" if more else "")


def _way_out(kinds: Counter[str]) -> str:
    ways = []
    if {"HEIC", "HEIF", "HIF"} & kinds.keys():
        ways.append("pip install pillow-heif")
    if "AVIF" in kinds:
        ways.append("pip install --upgrade pillow")
    if kinds.keys() & {"ZIP", "TAR", "GZ", "TGZ", "RAR", "7Z"}:
        ways.append("unpack the archives")
    return f" -> {'; '.join(ways)}" if ways else ""


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
        listing: Listing | None = None,
    ) -> None:
        if not 0.0 <= max_bad_fraction <= 1.0:
            raise ImageError(f"max_bad_fraction is {max_bad_fraction}", hint="give a fraction between 0 and 1")
        self.name = name
        self.root = root
        self.seed = seed
        self.limits = limits
        self.max_bad_fraction = max_bad_fraction
        self.quarantined: list[BadImage] = list(refused)
        self.on_bad: Callable[[BadImage], None] | None = None  # told of each file that `take` or `usable` finds bad
        self.passed_over = Listing(root) if listing is None else listing
        self.duplicates = self.passed_over.repeated
        self._confines = _confines(root)
        self._known_ids: dict[Path, str] = {}
        self._sound: set[str] = set()
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()
        self._kept_bytes = 0
        ordered = sorted(candidates, key=lambda candidate: (_order_key(seed, candidate.name), candidate.name))
        self._files = self._without_copies(self._without_bad(ordered))
        self._index()

    def _index(self) -> None:
        self._places = {str(candidate.path): place for place, candidate in enumerate(self._files)}
        self._bad = {image.path for image in self.quarantined}

    def _without_bad(self, ordered: list[Candidate]) -> list[tuple[Candidate, int]]:
        total = len(ordered) + len(self.quarantined)
        good: list[tuple[Candidate, int]] = []
        beat = Heartbeat(self.name, len(ordered))
        for candidate in ordered:
            beat.step()
            if candidate.content is not None:
                good.append((candidate, candidate.nbytes))
                continue
            try:
                good.append((candidate, check_image(candidate.path, self.limits)))
            except ImageError as error:
                self.quarantined.append(BadImage(str(candidate.path), error.message))
        self._refuse(self.quarantined, total, allowed_bad(total, self.max_bad_fraction))
        return good

    def _refuse(self, bad: Sequence[BadImage], total: int, allowed: int) -> None:
        if len(bad) <= allowed:
            return
        # A file's name may hold line breaks: one reason is one line.
        listed = "".join(f"\n  {_CONTROLS.sub(' ', image.reason):.600}" for image in bad[:_NAMED_IN_ERROR])
        more = f"\n  and {len(bad) - _NAMED_IN_ERROR} more" if len(bad) > _NAMED_IN_ERROR else ""
        raise ImageError(
            f"{self.root}: {len(bad)} of {total} images cannot be used, {allowed} are allowed:{listed}{more}",
            hint=f"mend or remove them, or raise max_bad_fraction (now {self.max_bad_fraction:g})",
        )

    def _without_copies(self, good: list[tuple[Candidate, int]]) -> list[Candidate]:
        sharing: dict[int, int] = defaultdict(int)
        for _, nbytes in good:
            sharing[nbytes] += 1
        seen: set[str] = set()
        kept: list[Candidate] = []
        for candidate, nbytes in good:
            if candidate.content is not None or sharing[nbytes] > 1:
                content = candidate.content or content_id(read_image_bytes(candidate.path, self.limits))
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
            **self.passed_over.facts(),
            "listing": listing.hexdigest(),
        }

    def size(self) -> int | None:
        """Number of different images that passed the checks."""
        return len(self._files)

    def take(self, start: int, count: int) -> list[ImageRef]:
        """References `start` to `start + count`; fewer at the end of the files and where one is in quarantine.

        A file that cannot be read any more goes there now. Its pixels are not looked at: see `usable`.
        """
        if start < 0 or count < 0:
            raise ValueError(f"take({start}, {count}): both must be 0 or more")
        found = [self._reference(candidate) for candidate in self._files[start : start + count]]
        return [ref for ref in found if ref is not None]

    def _reference(self, candidate: Candidate) -> ImageRef | None:
        origin = str(candidate.path)
        if origin in self._bad:
            return None
        if candidate.id is not None:
            return ImageRef(candidate.id, origin)
        if candidate.path not in self._known_ids:
            try:
                self._known_ids[candidate.path] = content_id(self._read(candidate.path))
            except ImageError as error:
                self._put_aside(BadImage(origin, error.message))
                return None
        return ImageRef(self._known_ids[candidate.path], origin)

    def usable(self, ref: ImageRef) -> bool:
        """Whether the pixels of a reference can be decoded; if not, its file is in quarantine from now on.

        What was decoded here is kept for `open`, as far as it fits.
        """
        if ref.origin in self._bad:
            return False
        try:
            self._keep_decoded(ref)
        except ImageError as error:
            self._put_aside(BadImage(ref.origin, error.message))
            return False
        return True

    def open(self, ref: ImageRef) -> Image.Image:
        """The pixels of a reference; an error if the file has changed, left the root or cannot be decoded."""
        kept = self._kept.get(ref.id)
        return self._decode(ref) if kept is None else kept

    def refuse_too_many(self, reached: int) -> None:
        """Raises when more than `max_bad_fraction` of the first `reached` places are empty, or of all files.

        Three are always forgiven, see `allowed_bad`; not less than half here, since a first step may hold one image
        and that one be bad. What lies behind `reached` does not count even when it is known: a run that was thrown
        back to an earlier step must judge as it did when it first was there.
        """
        size = len(self._files)
        before = [bad for bad in self.quarantined if self._places.get(bad.path, size) < reached]
        if self.max_bad_fraction > 0:
            self._refuse(before, reached, max(ALWAYS_FORGIVEN, int(self.max_bad_fraction * reached)))
        never_listed = [bad for bad in self.quarantined if bad.path not in self._places]
        total = size + len(never_listed)
        self._refuse(never_listed + before, total, allowed_bad(total, self.max_bad_fraction))

    def listing(self) -> list[tuple[str, str | None]]:
        """Name, and id if a manifest gave one, of the file at each place: what a run must keep to go on."""
        return [(candidate.name, candidate.id) for candidate in self._files]

    def go_on(self, listing: Iterable[tuple[str, str | None]], quarantined: Iterable[BadImage] | None) -> None:
        """Takes over list and quarantine of a run that has begun. Files that came later have no place in it.

        Without a quarantine every file of the list gets a new chance, and those that never had a place stay as found.
        """
        self._files = [Candidate(name, self.root / name, id) for name, id in listing]
        self._index()
        if quarantined is None:
            quarantined = [bad for bad in self.quarantined if bad.path not in self._places]
        self.quarantined = list(quarantined)
        self._index()

    def _put_aside(self, bad: BadImage) -> None:
        self.quarantined.append(bad)
        self._bad.add(bad.path)
        if self.on_bad is not None:
            self.on_bad(bad)

    def _keep_decoded(self, ref: ImageRef) -> None:
        """Decodes an image that has not been decoded before; ImageError if that fails."""
        if ref.id not in self._sound:
            self._keep(ref.id, self._decode(ref))
            self._sound.add(ref.id)

    def _keep(self, id: str, image: Image.Image) -> None:
        self._kept[id] = image
        self._kept_bytes += _nbytes(image)
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= _nbytes(self._kept.popitem(last=False)[1])

    def _read(self, path: Path) -> bytes:
        table = table_of(path)
        if not resolve(table or path).is_relative_to(self._confines):
            raise ImageError(f"{shortened(path)}: lies outside {self.root}", hint="open only references of this source")
        return read_image_bytes(path, self.limits) if table is None else read_cell(path, self.limits.max_bytes)

    def _decode(self, ref: ImageRef) -> Image.Image:
        path = Path(ref.origin)
        data = self._read(path)
        if ref.id.startswith("f-") and content_id(data) != ref.id:
            raise ImageError(
                f"{shortened(path)}: has changed since it was taken as {ref.id}",
                hint="put the original file back, or start a new run",
            )
        return decode_image(data, path, self.limits)


def _confines(root: Path) -> Path:
    """The folder that files must lie in: `root`, or its whole repository inside the cache of the hub, where the files
    of a snapshot are links to a folder beside it.
    """
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots" and (folder.parents[1] / "blobs").is_dir():
            return folder.parents[1]
    return root


def is_inside(path: Path, root: Path) -> bool:
    """Whether a file lies in `root` once all links are followed."""
    return resolve(path).is_relative_to(_confines(root))


def resolve(path: Path) -> Path:
    """The path with all symbolic links followed (a loop of links stays as it is, and cannot be opened)."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise ImageError(
            f"{shortened(path)}: cannot be resolved ({error})", hint="remove it from the images"
        ) from error


def _nbytes(image: Image.Image) -> int:
    return 4 * image.width * image.height  # Pillow pads RGB to four bytes


def _order_key(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()


def is_utf8(name: str) -> bool:
    """Whether a file name can be written into tables and pages (Linux allows any bytes)."""
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
