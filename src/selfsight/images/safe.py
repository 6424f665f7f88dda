"""Opening an image file that nobody vouches for.

A picture is refused before its pixels are decoded when it is not a regular file, when it is larger than
`max_bytes`, when its first bytes are not those of an allowed format (the name's extension is not believed),
or when its header states too many pixels or too long and thin a shape. Then it is decoded once, and a file
that ends early is refused: an image is never padded, replaced or taken half.

What comes out is always RGB: the EXIF orientation is applied, transparency is laid over white, 16-bit grey
keeps its upper byte, CMYK and palettes are converted. Only the first frame of an animation is read. Left
out: ICC profiles are ignored (a colour-managed copy would differ between machines), and so is an EXIF block
that cannot be read, as image viewers do.

Pillow's own guard against bombs is too lax here: a 10 kB PNG of 9000 x 9000 bits passes it without a
warning and takes 231 MB as RGB. Pillow's codecs are used directly, so that no other format's parser is ever
reached.
"""

import hashlib
import io
import os
import re
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from selfsight.errors import SelfsightError


class ImageError(SelfsightError):
    """An image, a folder of images or a manifest that cannot be used; the message names it."""


@dataclass(frozen=True)
class Limits:
    """What an image may be. With the defaults one image costs at most 2 seconds and about half a GB
    (512 MB as PNG or JPEG, 560 MB as WebP, whose decoder holds two more canvases).

    `max_aspect` is the longer side over the shorter; Qwen's processors refuse more than 200.
    """

    max_pixels: int = 32_000_000
    max_bytes: int = 50_000_000
    max_aspect: float = 200.0
    formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP")


_CODECS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
}

# Formats worth naming in the message, because people do have such files.
_OTHER_FORMATS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE", "a FITS file"),
    (b"%!PS", "an EPS or PostScript file"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<?xml", "an SVG or XML file"),
    (b"<", "a web page or XML file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\3\4", "a zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
)

# What Pillow raises on damaged data (fuzzed); OSError includes "image file is truncated".
_DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# A progressive JPEG is decoded once per scan; encoders write about ten, a bomb writes thousands.
_MAX_JPEG_SCANS: Final = 64
# Not a marker: FF 00 (a coded FF), FF D0-D7 (restart, without a segment), FF FF (padding).
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9

_ORIENTATIONS: Final[dict[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION: Final = 0x0112
_TAIL: Final = 65_536


def open_image(path: str | os.PathLike[str], limits: Limits = Limits()) -> Image.Image:
    """The pixels of a file as RGB, upright; ImageError names the file and what to do about it."""
    path = Path(path)
    return decode_image(read_image_bytes(path, limits), path, limits)


def read_image_bytes(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file of at most `max_bytes`."""
    with _open_regular(path, limits) as stream:
        return stream.read(limits.max_bytes + 1)


def check_image(path: Path, limits: Limits) -> int:
    """Refuse a file by its header and its end, without decoding it; its size in bytes if it may pass.

    Cheap enough for a folder of thousands. It finds every file cut short, and no damage inside.
    """
    with _open_regular(path, limits) as stream:
        nbytes = os.fstat(stream.fileno()).st_size
        _header(stream, nbytes, path, limits)
        return nbytes


def content_id(data: bytes) -> str:
    """The name of an image file's content, the same on every machine: "f-" and 16 hexadecimal digits."""
    return f"f-{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def decode_image(data: bytes, path: Path, limits: Limits) -> Image.Image:
    """The pixels of a file's content; `path` is for messages only."""
    image = _header(io.BytesIO(data), len(data), path, limits)
    if isinstance(image, JpegImageFile) and _jpeg_scans(data) > _MAX_JPEG_SCANS:
        raise ImageError(f"{path}: a JPEG of more than {_MAX_JPEG_SCANS} scans", hint="save it again as a plain JPEG")
    try:
        image.load()
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    turn = _ORIENTATIONS.get(_orientation(image))
    pixels = _rgb(image)
    if turn is not None:
        pixels = pixels.transpose(turn)
    pixels.info.clear()
    return pixels


def _open_regular(path: Path, limits: Limits) -> IO[bytes]:
    """A stream over a regular file; a pipe or device is refused without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"{path}: cannot be opened ({reason})", hint="check the path and its permissions") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError(f"{path}: is not a regular file", hint="remove it from the images")
        if facts.st_size == 0:
            raise ImageError(f"{path}: is empty", hint="copy or download it again")
        if facts.st_size > limits.max_bytes:
            raise ImageError(
                f"{path}: has {facts.st_size:,} bytes, more than the limit of {limits.max_bytes:,}",
                hint="save it smaller, or remove it",
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _header(stream: IO[bytes], nbytes: int, path: Path, limits: Limits) -> ImageFile.ImageFile:
    """The opened but not decoded image, after all checks that need no pixels."""
    name = _format_of(stream, path, limits)
    try:
        image = _CODECS[name](stream)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{path}: has no pixels ({width} x {height})", hint="remove it")
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{path}: {width} x {height} is {width * height / 1e6:.1f} million pixels, "
            f"more than the limit of {limits.max_pixels / 1e6:g} million",
            hint="save it smaller, or remove it",
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError(
            f"{path}: {width} x {height} is longer than {limits.max_aspect:g} times its width",
            hint="crop it, or remove it",
        )
    if not _is_whole(stream, nbytes, name):
        raise ImageError(f"{path}: is cut short", hint="copy or download it again")
    return image


def _format_of(stream: IO[bytes], path: Path, limits: Limits) -> str:
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        name = "PNG"
    elif head.startswith(b"\xff\xd8\xff"):
        name = "JPEG"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        name = "WEBP"
    else:
        name = next((label for magic, label in _OTHER_FORMATS if head.lstrip().startswith(magic)), "unknown data")
    if name in limits.formats:
        return name
    raise ImageError(
        f"{path}: is {name}, by its content; only {', '.join(limits.formats)} are read",
        hint="convert it to PNG or JPEG, or remove it",
    )


def _is_whole(stream: IO[bytes], nbytes: int, name: str) -> bool:
    """Whether the file reaches its format's end mark. The position of the stream is kept."""
    before = stream.tell()
    try:
        if name == "PNG":
            return _png_reaches_its_end(stream, nbytes)
        if name == "WEBP":
            stream.seek(4)
            return 8 + int.from_bytes(stream.read(4), "little") <= nbytes
        # Inside JPEG's coded data FF D9 cannot occur, and `before` lies behind the embedded thumbnails.
        # Cameras append data of their own after the end mark, so it need not be the last.
        for start in (max(before, nbytes - _TAIL), before):
            stream.seek(start)
            if b"\xff\xd9" in stream.read():
                return True
        return False
    finally:
        stream.seek(before)


def _png_reaches_its_end(stream: IO[bytes], nbytes: int) -> bool:
    position = 8
    while position + 12 <= nbytes:
        stream.seek(position)
        length, kind = struct.unpack(">I4s", stream.read(8))
        position += 12 + length
        if kind == b"IEND":
            return position <= nbytes
    return False


def _jpeg_scans(data: bytes) -> int:
    """Number of scans up to the end mark. Segments are skipped by their length, so nothing in them counts."""
    scans, position = 0, 2
    while match := _JPEG_MARKER.search(data, position):
        kind = match[0][-1]
        if kind == _JPEG_END:
            break
        scans += kind == _JPEG_SCAN
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return scans


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGED:  # metadata that viewers ignore too; the pixels have been decoded in full
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion has changed between versions
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    # A palette image without transparency skips the alpha step, which would take twice its memory.
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    layered.paste((255, 255, 255, 255), mask=ImageChops.invert(layered.getchannel("A")))
    return layered.convert("RGB")


def _damaged(path: Path, error: BaseException) -> ImageError:
    return ImageError(f"{path}: cannot be decoded ({error})", hint="copy or download it again, or remove it")
