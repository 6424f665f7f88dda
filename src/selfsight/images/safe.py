"""Opening an image file that nobody vouches for.

A picture is refused before its pixels are decoded when it is not a regular file, when it is larger than
`max_bytes`, when its first bytes are not those of an allowed format (the name's extension is not believed),
when it is built of more parts than cameras and programs write (`structure`), or when its header states too many
pixels or too long and thin a shape. Then it is decoded once, and a file that ends early is refused: an image is never
padded, replaced or taken half.

A JPEG above `max_pixels` is decoded at a half, a quarter or an eighth of its size, the largest that stays below: its
decoder can do that in one step and without holding the whole picture. Other formats cannot, and are refused.

What comes out is always RGB: the EXIF orientation is applied, transparency is laid over white, 16-bit grey
keeps its upper byte, CMYK and palettes are converted. Only the first frame of an animation and the first page of a
TIFF are read. Left out: ICC profiles are ignored (a colour-managed copy would differ between machines), and so is an
EXIF block that cannot be read, as image viewers do. A TIFF of 32-bit numbers is refused: it holds measurements, and
which of them is white it does not say.

Pillow's own guard against bombs is too lax here: a 10 kB PNG of 9000 x 9000 bits passes it without a
warning and takes 231 MB as RGB. Pillow's codecs are used directly, so that no other format's parser is ever
reached.
"""

import hashlib
import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from PIL import Image, ImageChops, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from selfsight.errors import SelfsightError
from selfsight.images.formats import format_of
from selfsight.images.structure import Survey, exif_refusal, jpeg_scans, survey

DEFAULT_MAX_PIXELS: Final = 32_000_000


class ImageError(SelfsightError):
    """An image, a folder of images or a manifest that cannot be used; the message names it."""


def readable_formats() -> tuple[str, ...]:
    """Formats that are read here. AVIF depends on how Pillow was built; HEIC needs the package pillow-heif."""
    optional = (("AVIF", features.check("avif")), ("HEIC", find_spec("pillow_heif") is not None))
    return ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", *(name for name, there in optional if there))


@dataclass(frozen=True)
class Limits:
    """What an image may be. With the defaults one image costs at most 2 seconds and about half a GB (512 MB as PNG or
    JPEG, 560 MB as WebP, whose decoder holds two more canvases; up to 800 MB as a progressive JPEG above `max_pixels`).

    `max_aspect` is the longer side over the shorter; Qwen's processors refuse more than 200.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_bytes: int = 50_000_000
    max_aspect: float = 200.0
    formats: tuple[str, ...] = readable_formats()


_CODECS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "AVIF": AvifImageFile,
}

# What Pillow raises on damaged data (fuzzed); OSError includes "image file is truncated". AssertionError: Pillow
# states with `assert` what a well-formed file has, for example that a palette image has a palette.
_DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# A progressive JPEG is decoded once per scan; encoders write about ten, a bomb writes thousands.
_MAX_JPEG_SCANS: Final = 64
# A JPEG is reduced by 8 at most, and from 8 times the limit at most: its whole size still has to be unpacked.
_JPEG_SCALES: Final = (2, 4, 8)
_MAX_JPEG_EXCESS: Final = 8
# A progressive JPEG is held at its full size while it is decoded, two bytes for each sample.
_MAX_JPEG_SAMPLES: Final = 256_000_000
# Compressions of TIFF that are plain and old enough to be everywhere; others are not in every build of libtiff.
_TIFF_COMPRESSIONS: Final = (
    "raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "group3", "group4", "tiff_ccitt",
)  # fmt: skip
_TIFF_TILE: Final = (322, 323)
_TIFF_BITS: Final = 258
_TIFF_PHOTOMETRIC: Final = 262

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
_SHOWN_PATH: Final = 300


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
        _header(stream, nbytes, str(path), limits)
        return nbytes


def check_bytes(data: bytes, where: str, limits: Limits) -> None:
    """`check_image` for an image that does not lie in a file of its own; `where` is for messages."""
    if len(data) == 0:
        raise ImageError(f"{shortened(where)}: is empty", hint="remove it")
    if len(data) > limits.max_bytes:
        raise _too_large(where, len(data), limits)
    _header(io.BytesIO(data), len(data), where, limits)


def shortened(path: object) -> str:
    """A path for a message; of a very long one beginning and end."""
    text = str(path)
    return text if len(text) <= _SHOWN_PATH else f"{text[: _SHOWN_PATH - 103]}...{text[-100:]}"


def content_id(data: bytes) -> str:
    """The name of an image file's content, the same on every machine: "f-" and 16 hexadecimal digits."""
    return f"f-{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def decode_image(data: bytes, path: Path | str, limits: Limits) -> Image.Image:
    """The pixels of a file's content; `path` is for messages only."""
    where = shortened(path)
    image = _header(io.BytesIO(data), len(data), where, limits)
    if isinstance(image, JpegImageFile) and jpeg_scans(data, _MAX_JPEG_SCANS) > _MAX_JPEG_SCANS:
        raise ImageError(f"{where}: a JPEG of more than {_MAX_JPEG_SCANS} scans", hint="save it again as a plain JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, without the name of the file
            size = image.size
            image.load()
            turn = _ORIENTATIONS.get(_orientation(image))
            if max(image.size) > max(size):
                raise ValueError(f"its pixels are {image.width} x {image.height}, its header says otherwise")
            pixels = _rgb(image, data)
            if turn is not None:
                pixels = pixels.transpose(turn)
    except _DAMAGED as error:
        raise _damaged(where, error) from error
    pixels.info.clear()
    return pixels


def _open_regular(path: Path, limits: Limits) -> IO[bytes]:
    """A stream over a regular file; a pipe or device is refused without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(
            f"{shortened(path)}: cannot be opened ({reason})", hint="check the path and its permissions"
        ) from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError(f"{shortened(path)}: is not a regular file", hint="remove it from the images")
        if facts.st_size == 0:
            raise ImageError(f"{shortened(path)}: is empty", hint="copy or download it again")
        if facts.st_size > limits.max_bytes:
            raise _too_large(path, facts.st_size, limits)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _too_large(where: object, nbytes: int, limits: Limits) -> ImageError:
    return ImageError(
        f"{shortened(where)}: has {nbytes:,} bytes, more than the limit of {limits.max_bytes:,}",
        hint="save it smaller, or remove it",
    )


def _codec(name: str) -> type[ImageFile.ImageFile]:
    if name == "HEIC":
        from pillow_heif.as_plugin import HeifImageFile

        codec: type[ImageFile.ImageFile] = HeifImageFile
        return codec
    return _CODECS[name]


def _header(stream: IO[bytes], nbytes: int, where: str, limits: Limits) -> ImageFile.ImageFile:
    """The opened but not decoded image, after all checks that need no pixels."""
    where = shortened(where)
    name = _format_of(stream, where, limits)
    found = survey(name, stream, nbytes)
    if found.refusal:
        raise ImageError(f"{where}: {found.refusal}", hint="save it again with an image program, or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _codec(name)(stream)
    except _DAMAGED as error:
        # A decoder says "cannot identify image file" of a file that lost its end, too; that is the better reason.
        raise (_cut_short(where) if not found.whole else _damaged(where, error)) from error
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{where}: has no pixels ({width} x {height})", hint="remove it")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError(
            f"{where}: {width} x {height} is more than {limits.max_aspect:g} times as long as wide",
            hint="crop it, or remove it",
        )
    if width * height > limits.max_pixels and not _reduce(image, found, limits):
        raise ImageError(
            f"{where}: {width} x {height} is {width * height / 1e6:.1f} million pixels, "
            f"more than the limit of {limits.max_pixels / 1e6:g} million",
            hint="raise max_image_pixels, save it smaller, or remove it",
        )
    if not found.whole:
        raise _cut_short(where)
    if isinstance(image, TiffImageFile):
        _refuse_tiff(image, where, limits)
    return image


def _reduce(image: ImageFile.ImageFile, found: Survey, limits: Limits) -> bool:
    """Sets a JPEG to be decoded at the largest scale that fits the limit; False when none does, or no JPEG."""
    width, height = image.size
    if not isinstance(image, JpegImageFile) or width * height > _MAX_JPEG_EXCESS * limits.max_pixels:
        return False
    shares = [across * down for _, across, down, _ in image.layer]
    samples = width * height * sum(shares) / max(1, *shares)
    if (image.info.get("progressive") or found.scan_parts < len(shares)) and samples > _MAX_JPEG_SAMPLES:
        return False
    for scale in _JPEG_SCALES:
        if -(-width // scale) * -(-height // scale) <= limits.max_pixels:
            image.draft(image.mode, (max(1, width // scale), max(1, height // scale)))
            return image.width * image.height <= limits.max_pixels
    return False


def _refuse_tiff(image: TiffImageFile, where: str, limits: Limits) -> None:
    """What of a TIFF is not decoded, or would be decoded to a picture that nobody meant."""
    packing = str(image.info.get("compression"))
    if packing not in _TIFF_COMPRESSIONS:
        raise ImageError(f"{where}: is a TIFF packed as {packing}", hint="save it as PNG or JPEG")
    if image.mode in ("F", "I"):
        raise ImageError(
            f"{where}: is a TIFF of 32-bit numbers, which are measurements rather than a picture",
            hint="save it as a picture of 8 or 16 bits",
        )
    tile = [image.tag_v2.get(tag, 1) for tag in _TIFF_TILE]
    if not all(isinstance(side, int) for side in tile) or tile[0] * tile[1] > limits.max_pixels:
        raise ImageError(f"{where}: is a TIFF of tiles larger than any picture", hint="save it again, or remove it")


def _format_of(stream: IO[bytes], where: str, limits: Limits) -> str:
    head = stream.read(64)
    stream.seek(0)
    name = format_of(head)
    if name in limits.formats:
        return name
    hint = "convert it to PNG or JPEG, or remove it"
    if name == "HEIC":
        hint = "pip install pillow-heif, convert it to JPEG, or remove it"
    elif "archive" in name:
        hint = "unpack it and give the folder"
    raise ImageError(f"{where}: is {name}, by its content; only {', '.join(limits.formats)} are read", hint=hint)


def _orientation(image: ImageFile.ImageFile) -> int:
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and exif_refusal(exif):
        return 1
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGED:  # metadata that viewers ignore too; the pixels have been decoded in full
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    key = image.info.get("transparency")
    if isinstance(image, PngImageFile) and isinstance(key, int | tuple):
        # A grey level or colour that is transparent is stored in the file's own depth; Pillow compares it with
        # pixels of 8 bits.
        depth, kind = data[24], data[25]
        if kind == 0 and depth == 16:
            grey = np.asarray(image)
            shown = np.where(grey == key, np.uint8(255), (grey >> 8).astype(np.uint8))
            return Image.fromarray(shown).convert("RGB")
        if kind == 0 and isinstance(key, int):
            image.info["transparency"] = key * 255 // ((1 << depth) - 1)
        elif kind == 2 and isinstance(key, tuple) and depth == 16:
            image.info["transparency"] = tuple(level >> 8 for level in key)
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion has changed between versions
        return Image.fromarray(_upper_byte(image)).convert("RGB")
    # A palette image without transparency skips the alpha step, which would take twice its memory.
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    layered.paste((255, 255, 255, 255), mask=ImageChops.invert(layered.getchannel("A")))
    return layered.convert("RGB")


def _upper_byte(image: ImageFile.ImageFile) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Grey of up to 16 bits as 8 bits; a TIFF says how many of the 16 it uses, and whether 0 is white."""
    bits, inverted = 16, False
    if isinstance(image, TiffImageFile):
        bits = int(image.tag_v2.get(_TIFF_BITS, (16,))[0])
        inverted = image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return 255 - grey if inverted else grey


def _cut_short(where: str) -> ImageError:
    return ImageError(f"{where}: is cut short", hint="copy or download it again")


def _damaged(where: str, error: BaseException) -> ImageError:
    reason = str(error) or type(error).__name__
    return ImageError(f"{where}: cannot be decoded ({reason:.200})", hint="copy or download it again, or remove it")
