"""Formats beside PNG, JPEG and WebP, large photographs, files of too many parts, and damage that Pillow asserts on."""

import io
import random
import struct
import sys
import time
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, features
from test_image_safe import encoded, noise, png_chunk, put

from selfsight.images import FolderSource, ImageError, Limits, open_image, safe
from selfsight.images.formats import format_of
from selfsight.images.safe import check_bytes, decode_image

RGB = noise(24, 20)
GREY16 = Image.fromarray(np.arange(0, 65536, 137, dtype=np.uint16)[:400].reshape(20, 20))


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.bmp", "a.gif", "a.jfif", "a.jpe"])
def test_more_formats_of_a_folder_are_read(tmp_path: Path, name: str) -> None:
    kind = {"t": "TIFF", "b": "BMP", "g": "GIF", "j": "JPEG"}[name[2].lower()]
    data = encoded(RGB.quantize(64) if kind == "GIF" else RGB, kind)
    put(tmp_path, name, data)
    source = FolderSource(tmp_path, seed=0)
    (ref,) = source.take(0, 9)
    want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(np.asarray(source.open(ref)), want)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    smooth = Image.linear_gradient("L").resize((24, 20)).convert("RGB")
    put(tmp_path, "a.avif", encoded(smooth, "AVIF", quality=100))
    source = FolderSource(tmp_path, seed=0)
    (ref,) = source.take(0, 9)
    assert np.abs(np.asarray(source.open(ref), dtype=int) - np.asarray(smooth, dtype=int)).max() < 8


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_only_the_first_page_or_frame_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert open_image(put(tmp_path, "pages", data)).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_tiffs_are_read_upright_in_their_usual_compressions(tmp_path: Path, compression: str) -> None:
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(pixels), "TIFF", compression=compression, exif=exif)
    seen = np.asarray(open_image(put(tmp_path, "a.tif", data)), dtype=int)
    assert seen.shape == (48, 32, 3)
    assert seen[:, 20:].min() > 250 and seen[:, :12].max() < 5


def test_tiffs_of_sixteen_bits_keep_the_upper_byte_and_measurements_are_refused(tmp_path: Path) -> None:
    for compression in ("raw", "tiff_lzw"):
        seen = np.asarray(open_image(put(tmp_path, "a.tif", encoded(GREY16, "TIFF", compression=compression))))
        assert np.array_equal(seen[..., 0], np.asarray(GREY16) >> 8)
    for dtype in (np.float32, np.int32):
        data = encoded(Image.fromarray(np.ones((8, 8), dtype=dtype)), "TIFF")
        with pytest.raises(ImageError, match="32-bit numbers"):
            open_image(put(tmp_path, "b.tif", data))


def test_a_transparent_level_or_colour_of_any_depth_becomes_white(tmp_path: Path) -> None:
    def png(depth: int, kind: int, rows: bytes, key: bytes, width: int) -> bytes:
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
        body = png_chunk(b"tRNS", key) + png_chunk(b"IDAT", zlib.compress(b"\0" + rows)) + png_chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + header + body

    grey16 = open_image(put(tmp_path, "a.png", png(16, 0, b"\x00\x07\x40\x00", b"\x00\x07", 2)))
    assert [grey16.getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (64,) * 3]
    grey2 = open_image(put(tmp_path, "b.png", png(2, 0, b"\x1b", b"\x00\x01", 4)))  # levels 0, 1, 2, 3
    assert [grey2.getpixel((x, 0)) for x in range(4)] == [(0,) * 3, (255,) * 3, (170,) * 3, (255,) * 3]
    two = b"\x10\0\x20\0\x30\0\x11\0\x20\0\x30\0"
    rgb16 = open_image(put(tmp_path, "c.png", png(16, 2, two, two[:6], 2)))
    assert [rgb16.getpixel((x, 0)) for x in (0, 1)] == [(255,) * 3, (0x11, 0x20, 0x30)]


# ------------------------------------------------------------------------------------------------------ large ones


def test_a_photograph_above_the_limit_is_read_at_a_smaller_scale(tmp_path: Path) -> None:
    large = Image.linear_gradient("L").resize((1600, 1200)).convert("RGB")
    path = put(tmp_path, "a.jpg", encoded(large, "JPEG", quality=95))
    for limit, size in ((1_920_000, (1600, 1200)), (1_900_000, (800, 600)), (470_000, (400, 300))):
        image = open_image(path, Limits(max_pixels=limit))
        assert image.size == size
        want = np.asarray(large.resize(size, Image.Resampling.BOX), dtype=int)
        assert np.abs(np.asarray(image, dtype=int) - want).max() < 8
    # More than 8 times the limit; formats that cannot be reduced; a progressive one that is held in full.
    progressive = put(tmp_path, "p.jpg", encoded(large, "JPEG", progressive=True))
    assert open_image(progressive, Limits(max_pixels=1_900_000)).size == (800, 600)
    for name, limit in (("a.jpg", 239_000), ("b.png", 1_900_000), ("c.webp", 1_900_000), ("d.tif", 1_900_000)):
        if name != "a.jpg":
            kind = {"b.png": "PNG", "c.webp": "WEBP", "d.tif": "TIFF"}[name]
            put(tmp_path, name, encoded(large, kind))
        with pytest.raises(ImageError, match=r"1600 x 1200 is 1\.9 million pixels") as refusal:
            open_image(tmp_path / name, Limits(max_pixels=limit))
        assert "max_image_pixels" in str(refusal.value.hint)


def test_a_progressive_jpeg_that_would_be_held_in_full_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(640, 480), "JPEG", progressive=True, subsampling=0)
    small = Limits(max_pixels=200_000)
    check_bytes(data, "a.jpg", small)
    monkeypatch.setattr(safe, "_MAX_JPEG_SAMPLES", 3 * 640 * 480 - 1)
    with pytest.raises(ImageError, match="million pixels"):
        check_bytes(data, "a.jpg", small)
    check_bytes(encoded(noise(640, 480), "JPEG", subsampling=0), "b.jpg", small)


def test_the_reason_says_long_for_tall_pictures_too(tmp_path: Path) -> None:
    path = put(tmp_path, "tall.png", encoded(Image.new("L", (5, 1100)), "PNG"))
    with pytest.raises(ImageError, match="5 x 1100 is more than 200 times as long as wide"):
        open_image(path)


# -------------------------------------------------------------------------------------------------- too many parts

JPEG, PNG, WEBP = encoded(RGB, "JPEG"), encoded(RGB, "PNG"), encoded(RGB, "WEBP")
GIF = encoded(RGB.quantize(64), "GIF")
GIF_START = 13 + (3 << ((GIF[10] & 7) + 1))
EXIF = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + bytes(10)


def riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(entries: list[tuple[int, int, int, int]], tail: int) -> bytes:
    folder = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<L", 8) + folder + bytes(tail)


TOO_MANY = {
    "exif segments": (JPEG[:2] + EXIF * 400_000 + JPEG[2:], "more than 64 Exif segments"),
    "empty segments": (JPEG[:2] + b"\xff\xe1\0\2" * 5_000_000 + JPEG[2:], "more than 1,000 segments"),
    "segments of length 0": (JPEG[:2] + b"\xff\xe1\0\0" * 5_000_000 + JPEG[2:], "more than 1,000 segments"),
    "segments behind an early end": (JPEG[:2] + b"\xff\xd9" + b"\xff\xe1\0\2" * 5_000_000 + JPEG[2:], "1,000 segments"),
    "padding": (JPEG[:2] + b"\xff" * 20_000_000 + JPEG[2:], "bytes between its segments"),
    "restarts": (JPEG[:2] + b"\xff\xd0" * 10_000_000 + JPEG[2:], "bytes between its segments"),
    "junk": (JPEG[:4] + b"\0\2" + bytes(20_000_000) + JPEG[2:], "bytes between its segments"),
    "segments in a scan": (JPEG[:-2] + b"\xff\xfe\0\2" * 5_000_000 + JPEG[-2:], "scans"),
    "text chunks": (PNG[:33] + png_chunk(b"tEXt", b"a\0b") * 1_000_000 + PNG[33:], "more than 10,000 chunks"),
    "chunks behind the data": (PNG[:-12] + png_chunk(b"abCd", b"") * 1_000_000 + PNG[-12:], "10,000 chunks"),
    "empty data chunks": (PNG[:33] + png_chunk(b"IDAT", b"") * 1_000_000 + PNG[33:], "more than 100,000 chunks"),
    "comments": (GIF[:GIF_START] + b"!\xfe\x01a\0" * 3_000_000 + GIF[GIF_START:], "more than 100,000 blocks"),
    "blocks of one byte": (
        GIF[:GIF_START] + GIF[GIF_START : GIF_START + 10] + b"\x08" + b"\x01a" * 3_000_000 + b"\0;", "300,000 blocks",
    ),
    "webp chunks": (riff(WEBP[8:] + b"abcd\0\0\0\0" * 1_000_000), "more than 10,000 chunks"),
    "tags": (tiff([(1000 + n, 1, 1_000_000, 60_000) for n in range(4_000)], 1_100_000), "more than 1,000 tags"),
    "tags that overlap": (tiff([(1000 + n, 1, 1_000_000, 12_000) for n in range(900)], 1_100_000), "overlap"),
    "tags in Exif that overlap": (tiff([(34665, 4, 1, 26)], 0) + struct.pack("<H", 900) + b"".join(
        struct.pack("<HHLL", 1000 + n, 1, 1_000_000, 12_000) for n in range(900)) + bytes(1_100_000), "overlap"),
    "numbers in tags": (tiff([(273, 3, 2_000_000, 100)], 5_000_000), "more than 400,000 numbers"),
    "boxes": (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x08free" * 1_000_000, "more than 10,000 boxes"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOO_MANY)
def test_a_file_of_too_many_parts_is_refused_at_once(case: str) -> None:
    data, reason = TOO_MANY[case]
    if case == "boxes" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    start = time.process_time()
    with pytest.raises(ImageError, match=reason):
        check_bytes(data, "file", Limits())
        decode_image(data, "file", Limits())
    assert time.process_time() - start < 0.5


def test_what_cameras_and_programs_write_is_far_below_the_bounds() -> None:
    many = JPEG[:2] + (b"\xff\xe2" + struct.pack(">H", 40_002) + bytes(40_000)) * 900 + JPEG[2:]
    chunks = PNG[:33] + png_chunk(b"tEXt", b"a\0b") * 9_000 + PNG[33:-12] + PNG[-12:]
    for data in (many, chunks, riff(WEBP[8:] + b"abcd\0\0\0\0" * 9_000)):
        start = time.process_time()
        check_bytes(data, "file", Limits())
        assert decode_image(data, "file", Limits()).size == RGB.size
        assert time.process_time() - start < 2


# -------------------------------------------------------------------------------------------------------- damage


def png_parts(png: bytes) -> list[tuple[bytes, bytes]]:
    parts, position = [], 8
    while position < len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        parts.append((png[position + 4 : position + 8], png[position + 8 : position + 8 + length]))
        position += 12 + length
    return parts


def test_a_palette_image_without_its_palette_is_an_image_error(tmp_path: Path) -> None:
    whole = encoded(RGB.quantize(16), "PNG")
    data = whole[:8] + b"".join(png_chunk(kind, body) for kind, body in png_parts(whole) if kind != b"PLTE")
    with pytest.raises(ImageError, match=r"a\.png: cannot be decoded"):
        open_image(put(tmp_path, "a.png", data))


def test_chunks_dropped_swapped_doubled_and_changed_give_an_image_or_an_image_error() -> None:
    draw = random.Random(5)
    seeds = [RGB, RGB.quantize(16), RGB.convert("L"), RGB.convert("1"), GREY16, RGB.convert("RGBA"), RGB.convert("LA")]
    files = [encoded(seed, "PNG") for seed in seeds] + [encoded(RGB.quantize(16), "PNG", transparency=3)]
    opened = 0
    for _ in range(1500):
        parts = png_parts(draw.choice(files))
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(parts))
            kind, body = parts[place]
            if (what := draw.randrange(5)) == 0 and len(parts) > 1:
                del parts[place]
            elif what == 1:
                other = draw.randrange(len(parts))
                parts[place], parts[other] = parts[other], parts[place]
            elif what == 2:
                parts.insert(draw.randrange(len(parts) + 1), (kind, body))
            elif what == 3:
                parts[place] = (kind, body[: draw.randrange(len(body) + 1)])
            else:
                extra = draw.choice((b"tRNS", b"PLTE", b"acTL", b"fdAT", b"iCCP", b"eXIf", b"IDAT"))
                parts.insert(place, (extra, draw.randbytes(draw.randrange(30))))
        opened += outcome(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in parts))
    assert 100 < opened < 1400


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "AVIF"])
def test_random_damage_in_the_other_formats_gives_an_image_or_an_image_error(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    draw = random.Random(kind)
    images = [RGB.quantize(16)] if kind == "GIF" else [RGB] if kind == "AVIF" else [RGB, RGB.quantize(16), GREY16]
    options = [{"compression": c} for c in ("raw", "tiff_lzw", "tiff_adobe_deflate")] if kind == "TIFF" else [{}]
    files = [encoded(i, kind, **o) for i in images if not (kind == "BMP" and i is GREY16) for o in options]
    opened = 0
    for _ in range(400):
        damaged = bytearray(draw.choice(files))
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(4, draw.choice((60, 200, len(damaged))))
            damaged[place] = draw.choice((0, 255, draw.randrange(256)))
        opened += outcome(bytes(damaged))
    assert 0 < opened < 400


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "AVIF"])
def test_a_file_of_the_other_formats_that_is_cut_is_refused(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data = encoded(RGB.quantize(64) if kind == "GIF" else RGB, kind)
    for share in (0.2, 0.5, 0.9):
        assert not outcome(data[: int(len(data) * share)])


def outcome(data: bytes) -> bool:
    """Whether an image came out; anything but an image or an ImageError ends the test."""
    try:
        check_bytes(data, "file", Limits())
        assert decode_image(data, "file", Limits()).mode == "RGB"
    except ImageError:
        return False
    return True


# ----------------------------------------------------------------------------------------------- what is not read


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", "a web page or XML file"),
        ("\ufeff<html>".encode("utf-16"), "unknown data"),
        ("<html>".encode("utf-16"), "a web page or XML file"),
        (b'{"error": "not found"}', "JSON text"),
        (b'\xef\xbb\xbf[{"a": 1}]', "JSON text"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41isom", "a video"),
        (b"PK\3\4", "a zip archive"),
        (b"GIF89a", "GIF"),
    ],
)
def test_files_are_named_by_their_first_bytes(head: bytes, name: str) -> None:
    assert format_of(head) == name


def test_heic_is_read_by_the_extra_package(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    assert isinstance(pillow_heif, ModuleType) and "pillow_heif" in sys.modules
    pillow_heif.from_pillow(RGB.resize((64, 64))).save(tmp_path / "a.heic", quality=90)
    source = FolderSource(tmp_path, seed=0)
    (ref,) = source.take(0, 9)
    assert source.open(ref).size == (64, 64)
