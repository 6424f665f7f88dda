"""How an image file is built, seen in one linear pass before any decoder reads it.

Decoders keep every segment, chunk or tag of a file, some of them in time that grows with the square of the number: an
8 MB JPEG of Exif segments took 21 s to open. No camera or program writes files with so many. So a file is refused here
when it has more than

    JPEG         1,000 segments (64 of them Exif), or 65,536 bytes between segments, before its first scan
    PNG          10,000 chunks, not counting image data, of which 100,000 chunks may be
    GIF          100,000 blocks in front of its first frame, or 300,000 of the first frame's own
    TIFF         1,000 tags, or 400,000 numbers in its tags, or more bytes in tags than the file has (they overlap)
    WebP         10,000 chunks
    AVIF, HEIC   10,000 boxes, or Exif tags that overlap

The same pass tells whether the file is there to its end.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final

_JPEG_SEGMENTS: Final = 1_000
_JPEG_EXIF_SEGMENTS: Final = 64
_JPEG_BETWEEN: Final = 65_536
_PNG_CHUNKS: Final = 10_000
_PNG_DATA_CHUNKS: Final = 100_000
_GIF_BLOCKS: Final = 100_000
_GIF_FRAME_BLOCKS: Final = 300_000
_TIFF_TAGS: Final = 1_000
_TIFF_NUMBERS: Final = 400_000
_BOXES: Final = 10_000
_TIFF_HEADERS: Final = 64

_TAIL: Final = 65_536
# A marker that begins a segment. Not FF 00 (a coded FF), FF D0-D7 (restart, without a segment), FF FF (padding).
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_ALONE: Final = (0x01, 0xD8, 0xD9)  # markers without a length
_JPEG_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9
_JPEG_APP1: Final = 0xE1

_TIFF_SIZES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_TIFF_BYTES: Final = (1, 2, 7)  # read as they are; other types become one Python number each
_TIFF_FOLDERS: Final = (34665, 34853, 40965)  # Exif, GPS, interoperability: tags that point to more tags


@dataclass(frozen=True)
class Survey:
    """What one pass over a file found. `refusal` is empty when a decoder may read it.

    `whole` says whether the file reaches its end. `scan_parts` is the number of colour components in a JPEG's first
    scan: a JPEG whose components come in scans of their own is held in memory at its full size while it is decoded.
    """

    refusal: str = ""
    whole: bool = True
    scan_parts: int = 0


def survey(name: str, stream: IO[bytes], nbytes: int) -> Survey:
    """Looks through a file of the format `name` without decoding it. The position of the stream is kept."""
    before = stream.tell()
    try:
        return _SURVEYS[name](stream, nbytes)
    finally:
        stream.seek(before)


def jpeg_scans(data: bytes, most: int) -> int:
    """Number of scans of a JPEG up to its end mark; counting stops above `most`.

    Segments are skipped by their length, so nothing in them counts. Other segments between scans (tables) count as
    well when there are more than 1,000 of them, since each costs a step of this loop.
    """
    scans, others, position, first = 0, 0, 2, True
    while match := _JPEG_MARKER.search(data, position):
        kind = match[0][-1]
        position = match.end()
        if kind in _JPEG_ALONE:
            if kind == _JPEG_END and not first:
                break
            continue
        if kind == _JPEG_SCAN:
            scans, first = scans + 1, False
        else:
            others += 1
        if scans > most or others > 2 * _JPEG_SEGMENTS:
            return max(scans, most + 1)
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return scans


def exif_refusal(data: bytes) -> str:
    """Why an Exif block is not read, for example because its tags overlap: each is read by itself, so a block of 4 MB
    can ask for gigabytes. Empty when it may be read.
    """
    block = data.removeprefix(b"Exif\0\0")
    return _tags(block, len(block))


def _jpeg(stream: IO[bytes], nbytes: int) -> Survey:
    position, between, segments = 2, 0, 0
    exif: list[bytes] = []
    while position + 4 <= nbytes:
        stream.seek(position)
        head = stream.read(4)
        if head[0] != 0xFF or head[1] in (0x00, 0xFF, *_JPEG_ALONE) or 0xD0 <= head[1] <= 0xD7:
            stream.seek(position)
            piece = stream.read(_JPEG_BETWEEN + 4)
            match = _JPEG_MARKER.search(piece)
            while match is not None and match[0][-1] in _JPEG_ALONE:
                match = _JPEG_MARKER.search(piece, match.end())
            between += len(piece) if match is None else match.start()
            if between > _JPEG_BETWEEN:
                return Survey(f"has more than {_JPEG_BETWEEN:,} bytes between its segments")
            if match is None:
                return Survey(whole=False)
            position += match.start()
            continue
        segments += 1
        if segments > _JPEG_SEGMENTS:
            return Survey(f"has more than {_JPEG_SEGMENTS:,} segments")
        length = max(2, int.from_bytes(head[2:4], "big"))
        if head[1] == _JPEG_SCAN:
            parts = stream.read(1)
            refusal = exif_refusal(b"".join(exif))
            return Survey(refusal, _jpeg_reaches_its_end(stream, position, nbytes), parts[0] if parts else 0)
        if head[1] == _JPEG_APP1:
            body = stream.read(length - 2)
            if body.startswith(b"Exif\0\0"):
                exif.append(body[6:])
            if len(exif) > _JPEG_EXIF_SEGMENTS:
                return Survey(f"has more than {_JPEG_EXIF_SEGMENTS} Exif segments")
        position += 2 + length
    return Survey(whole=False)


def _jpeg_reaches_its_end(stream: IO[bytes], scan: int, nbytes: int) -> bool:
    # Inside JPEG's coded data FF D9 cannot occur, and `scan` lies behind the embedded thumbnails. Cameras append data
    # of their own after the end mark, so it need not be the last.
    for start in (max(scan, nbytes - _TAIL), scan):
        stream.seek(start)
        if b"\xff\xd9" in stream.read():
            return True
    return False


def _png(stream: IO[bytes], nbytes: int) -> Survey:
    position, chunks, of_data = 8, 0, 0
    while position + 12 <= nbytes:
        stream.seek(position)
        length, kind = struct.unpack(">I4s", stream.read(8))
        position += 12 + length
        if kind == b"IEND":
            return Survey(whole=position <= nbytes)
        if kind == b"IDAT":
            of_data += 1
        else:
            chunks += 1
        if chunks > _PNG_CHUNKS or of_data > _PNG_DATA_CHUNKS:
            return Survey(f"has more than {_PNG_CHUNKS if chunks > _PNG_CHUNKS else _PNG_DATA_CHUNKS:,} chunks")
    return Survey(whole=False)


def _webp(stream: IO[bytes], nbytes: int) -> Survey:
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    position, chunks = 12, 0
    while position + 8 <= min(end, nbytes):
        stream.seek(position + 4)
        length = int.from_bytes(stream.read(4), "little")
        position += 8 + length + length % 2
        chunks += 1
        if chunks > _BOXES:
            return Survey(f"has more than {_BOXES:,} chunks")
    return Survey(whole=end <= nbytes)


def _gif(stream: IO[bytes], nbytes: int) -> Survey:
    stream.seek(0)
    data = stream.read(nbytes)
    if len(data) < 13:
        return Survey(whole=False)
    position = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    blocks, in_frame = 0, 0
    while position < len(data):
        kind = data[position]
        position += 1
        blocks += 1
        frame = kind == 0x2C
        if kind == 0x3B:
            return Survey()  # no frame: the decoder says so
        if frame:
            if position + 9 > len(data):
                break
            flags = data[position + 8]
            position += 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        elif kind == 0x21:
            position += 1
        while frame or kind == 0x21:
            if position >= len(data):
                return Survey(whole=False)
            size = data[position]
            position += 1 + size
            if size == 0:
                break
            blocks, in_frame = blocks + (not frame), in_frame + frame
            if blocks > _GIF_BLOCKS or in_frame > _GIF_FRAME_BLOCKS:
                return Survey(f"has more than {_GIF_FRAME_BLOCKS if frame else _GIF_BLOCKS:,} blocks")
        if frame:
            return Survey(whole=position <= len(data))
        if blocks > _GIF_BLOCKS:
            return Survey(f"has more than {_GIF_BLOCKS:,} blocks")
    return Survey(whole=False)


def _bmp(stream: IO[bytes], nbytes: int) -> Survey:
    stream.seek(0)
    head = stream.read(54)
    if len(head) < 26:
        return Survey(whole=False)
    start, header = struct.unpack("<II", head[10:18])
    if header == 12:  # the header of OS/2
        width, height, _, bits = struct.unpack("<HHHH", head[18:26])
        packing = 0
    elif len(head) < 54:
        return Survey(whole=False)
    else:
        width, height, _, bits, packing = struct.unpack("<iiHHI", head[18:34])
    if packing in (1, 2):  # run lengths, which Pillow unpacks in Python
        large = nbytes > 1_000_000 or abs(width * height) > 4_000_000
        return Survey("is a large BMP packed by run lengths" if large else "")
    return Survey(whole=start + (abs(width) * bits + 31) // 32 * 4 * abs(height) <= nbytes)


def _tiff(stream: IO[bytes], nbytes: int) -> Survey:
    stream.seek(0)
    return Survey(_tags(stream.read(nbytes), nbytes))


def _tags(data: bytes, nbytes: int) -> str:
    """Why the tags of a TIFF file or an Exif block are not read; empty when they may be."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return ""
    magic = struct.unpack(order + "H", data[2:4])[0]
    big = magic == 43
    if big and len(data) < 16:
        return ""
    head, entry, long = ("Q", "HHQ", "Q") if big else ("H", "HHL", "L")
    head_size, width = struct.calcsize(order + head), struct.calcsize(order + long)
    step = struct.calcsize(order + entry) + width
    folders = [struct.unpack(order + long, data[8:16] if big else data[4:8])[0]]
    claimed = numbers = tags = 0
    seen: set[int] = set()
    while folders:
        at = folders.pop()
        if at in seen or at + head_size > len(data):
            continue
        seen.add(at)
        count = struct.unpack_from(order + head, data, at)[0]
        first = at + head_size
        for place in range(first, min(first + count * step, len(data) - step + 1), step):
            tags += 1
            if tags > _TIFF_TAGS:
                return f"has more than {_TIFF_TAGS:,} tags"
            tag, kind, many = struct.unpack_from(order + entry, data, place)
            size = many * _TIFF_SIZES.get(kind, 0)
            value = struct.unpack_from(order + long, data, place + step - width)[0]
            if tag in _TIFF_FOLDERS:
                folders.append(value)
            if size > width and value + size <= len(data):  # what lies outside is not read by anybody
                claimed += size
                numbers += many * (kind not in _TIFF_BYTES)
        if claimed > nbytes:
            return "has tags that overlap"
        if numbers > _TIFF_NUMBERS:
            return f"has more than {_TIFF_NUMBERS:,} numbers in its tags"
    return ""


def _boxes(stream: IO[bytes], nbytes: int) -> Survey:
    """AVIF and HEIC: boxes of a length and a name each. Their Exif blocks are found by their first bytes."""
    position, boxes = 0, 0
    while position + 8 <= nbytes:
        stream.seek(position)
        length, _, longer = struct.unpack(">I4sQ", stream.read(16).ljust(16, b"\0"))
        length = longer if length == 1 else length
        if length == 0:  # up to the end
            position = nbytes
            break
        position += max(8, length)
        boxes += 1
        if boxes > _BOXES:
            return Survey(f"has more than {_BOXES:,} boxes")
    stream.seek(0)
    data, headers = stream.read(nbytes), 0
    for magic in (b"II*\0", b"MM\0*"):
        at = data.find(magic)
        while at >= 0:
            headers += 1
            refusal = exif_refusal(data[at : at + (1 << 20)])
            if refusal or headers > _TIFF_HEADERS:
                return Survey(refusal or f"has more than {_TIFF_HEADERS} Exif blocks")
            at = data.find(magic, at + 4)
    return Survey(whole=position <= nbytes)


_SURVEYS: Final[dict[str, Callable[[IO[bytes], int], Survey]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "AVIF": _boxes,
    "HEIC": _boxes,
}
