"""Bombs, damage and odd formats: what is refused, what is opened, and what that costs."""

import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.images import ImageError, Limits, open_image
from selfsight.images.safe import check_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(side: int, *, depth: int = 1, colour: int = 0, extra: bytes = b"") -> bytes:
    """A few kB that decode to side x side pixels of one colour."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row = b"\0" + bytes((side * depth * channels + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra
        + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    )  # fmt: skip


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


OPEN_AND_MEASURE = """
import json, re, sys, time
from selfsight.images import ImageError, open_image
start = time.process_time()
try:
    image = open_image(sys.argv[1])
    verdict = [image.mode, *image.size]
except ImageError as error:
    verdict = str(error)
seconds = time.process_time() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"verdict": verdict, "seconds": seconds, "peak_mb": peak}))
"""


def measured(path: Path) -> dict[str, object]:
    """Open in a process of its own, so that its peak memory is this image's."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def bombs() -> dict[str, tuple[bytes, str]]:
    thin = encoded(Image.new("L", (65500, 1)), "JPEG")
    profile = png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(200_000_000), 9))
    return {
        "9000.png": (png_bomb(9000), "81.0 million pixels"),
        "20000.png": (png_bomb(20000), "400.0 million pixels"),
        "thin.jpg": (thin, "more than 200 times as long as wide"),
        "sky.fits": (b"SIMPLE  =                    T" + bytes(3000), "FITS"),
        "layers.psd": (b"8BPS\0\1" + bytes(3000), "Photoshop"),
        "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(300), "EPS"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "drawing.svgz": (b"\x1f\x8b\x08\0" + bytes(300), "gzip"),
        "page.pdf": (b"%PDF-1.7\n" + bytes(300), "PDF"),
        "words.jpg": (b"this is not a picture at all", "unknown data"),
        "profile.png": (png_bomb(16, extra=profile), "cannot be decoded"),
        "large.jpg": (thin + bytes(50_000_001), "more than the limit of 50,000,000"),
        "empty.png": (b"", "is empty"),
    }


@pytest.fixture(scope="module")
def bomb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    for name, (data, _) in bombs().items():
        put(folder, name, data)
    return folder


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, (_, reason) in bombs().items()])
def test_a_bomb_is_refused_by_name_with_its_reason(bomb_folder: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageError) as refusal:
        open_image(bomb_folder / name)
    assert name in refusal.value.message
    assert reason in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize("name", ["9000.png", "20000.png", "profile.png", "large.jpg"])
def test_refusing_a_bomb_costs_neither_time_nor_memory(bomb_folder: Path, name: str) -> None:
    cost = measured(bomb_folder / name)
    assert isinstance(cost["verdict"], str)
    assert cost["seconds"] < 2, cost
    assert cost["peak_mb"] < 200, cost


def test_the_largest_allowed_image_stays_below_512_mb(tmp_path: Path) -> None:
    """16 bits, four channels, 32 million pixels, and sideways: everything that costs memory at once."""
    side = 5656
    exif = Image.Exif()
    exif[0x0112] = 6
    orientation = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path = put(tmp_path, "large.png", png_bomb(side, depth=16, colour=6, extra=orientation))
    cost = measured(path)
    assert cost["verdict"] == ["RGB", side, side]
    assert cost["peak_mb"] < 512, cost
    assert cost["seconds"] < 5, cost


def test_the_largest_allowed_webp_stays_near_half_a_gigabyte(tmp_path: Path) -> None:
    """Pillow's WebP decoder holds two canvases and a copy beside the image; 34 bytes are enough for that."""
    data = encoded(Image.new("RGB", (5656, 5656)), "WEBP", lossless=True, method=0)
    assert len(data) < 100
    cost = measured(put(tmp_path, "large.webp", data))
    assert cost["verdict"] == ["RGB", 5656, 5656]
    assert cost["peak_mb"] < 560, cost
    assert cost["seconds"] < 5, cost


def test_an_animation_of_thousands_of_frames_costs_no_more_than_its_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), (shade % 256, shade // 256, 0)) for shade in range(2000)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0)
    cost = measured(put(tmp_path, "film.webp", data))
    assert cost["verdict"] == ["RGB", 32, 32]
    assert cost["seconds"] < 0.5, cost


def test_a_jpeg_of_a_thousand_scans_is_refused(tmp_path: Path) -> None:
    data = encoded(noise(), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    end = data.index(b"\xff\xda", first + 2)
    path = put(tmp_path, "scans.jpg", data[:end] + data[first:end] * 1000 + data[end:])
    with pytest.raises(ImageError, match="scans"):
        open_image(path)
    assert open_image(put(tmp_path, "progressive.jpg", data)).size == (64, 48)


def test_bytes_after_the_end_of_a_jpeg_do_not_count_as_scans(tmp_path: Path) -> None:
    """Cameras append films and second pictures to their photographs."""
    data = encoded(noise(), "JPEG") + b"\xff\xda\0\x08" * 500
    assert open_image(put(tmp_path, "motion.jpg", data)).size == (64, 48)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_a_truncated_file_is_refused_before_and_when_it_is_decoded(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(noise(), kind)
    path = put(tmp_path, "cut.img", data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cut\.img"):
        check_image(path, Limits())
    with pytest.raises(ImageError, match=r"cut\.img"):
        open_image(path)


def with_valid_sums(png: bytearray) -> bytes:
    """Recompute the check sums of a damaged PNG, so that the damage gets past them."""
    position = 8
    while position + 12 <= len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(png):
            break
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[position + 4 : end]))
        position = end + 4
    return bytes(png)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's remarks on damaged EXIF
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_random_damage_gives_an_image_or_an_image_error_and_nothing_else(tmp_path: Path, kind: str) -> None:
    draw = random.Random(kind)
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = encoded(noise(24, 24), kind, exif=exif)
    outcomes = {"opened": 0, "refused": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            # Headers and metadata lie in the first part of the file.
            damaged[draw.randrange(12, draw.choice((120, len(whole))))] = draw.randrange(256)
        path = put(tmp_path, "damaged", with_valid_sums(damaged) if kind == "PNG" else bytes(damaged))
        try:
            assert open_image(path).mode == "RGB"
            outcomes["opened"] += 1
        except ImageError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0, outcomes


# The picture as it should be seen: red above left, green above right, blue below left, white below right.
UPRIGHT = np.array([[RED, GREEN], [BLUE, WHITE]], dtype=np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    stored = stored.resize((64, 64), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path, "turned", encoded(stored, kind, exif=exif, quality=95))
    seen = np.asarray(open_image(path).resize((2, 2), Image.Resampling.BOX), dtype=int)
    assert np.abs(seen - UPRIGHT).max() < 12


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_an_unreadable_exif_block_leaves_the_image_as_it_is(tmp_path: Path) -> None:
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_image(put(tmp_path, "exif.jpg", data)).size == (64, 48)


def test_a_huge_colour_profile_is_ignored(tmp_path: Path) -> None:
    data = encoded(noise(), "JPEG", icc_profile=bytes(16_000_000))
    image = open_image(put(tmp_path, "profile.jpg", data))
    assert image.size == (64, 48)
    assert not image.info


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    pixels = np.asarray(open_image(put(tmp_path, "print.jpg", encoded(cyan, "JPEG", quality=95))))
    assert pixels.shape == (32, 32, 3)
    assert pixels[..., 0].max() < 30
    assert pixels[..., 1:].min() > 225


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    pixels = np.asarray(open_image(put(tmp_path, "deep.png", encoded(Image.fromarray(ramp), "PNG"))))
    assert np.array_equal(pixels[..., 0], np.arange(256).reshape(16, 16))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_a_palette_becomes_its_colours_and_its_transparent_entry_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putdata([0, 1])
    plain = open_image(put(tmp_path, "plain.png", encoded(picture, "PNG")))
    assert [plain.getpixel((x, 0)) for x in (0, 1)] == [RED, GREEN]
    clear = open_image(put(tmp_path, "clear.png", encoded(picture, "PNG", transparency=1)))
    assert [clear.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(tmp_path: Path, kind: str) -> None:
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    half.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image = open_image(put(tmp_path, "glass", encoded(half, kind, lossless=True)))
    assert image.getpixel((0, 0)) == WHITE
    assert image.getpixel((6, 0)) == (255, 127, 127)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_only_the_first_frame_of_an_animation_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert open_image(put(tmp_path, "film", data)).getpixel((4, 4)) == RED


def test_one_bit_images_open_as_black_and_white(tmp_path: Path) -> None:
    board = Image.fromarray(np.eye(8, dtype=bool))
    pixels = np.asarray(open_image(put(tmp_path, "bits.png", encoded(board, "PNG"))))
    assert np.array_equal(pixels[..., 1], np.eye(8) * 255)


def test_pipes_folders_and_missing_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: is not a regular file"):
        open_image(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is not a regular file"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match=r"gone\.png: cannot be opened"):
        open_image(tmp_path / "gone.png")


def test_tighter_limits_are_obeyed(tmp_path: Path) -> None:
    path = put(tmp_path, "a.webp", encoded(noise(), "WEBP"))
    assert open_image(path).size == (64, 48)
    for limits in (Limits(max_pixels=3000), Limits(max_bytes=100), Limits(max_aspect=1.2)):
        with pytest.raises(ImageError):
            open_image(path, limits)
    with pytest.raises(ImageError, match="is WEBP, by its content; only PNG are read"):
        open_image(path, Limits(formats=("PNG",)))
