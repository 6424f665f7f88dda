"""Manifests: which rows are read, and that no row reaches a file outside the manifest's folder."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.images import ImageError, ManifestSource
from selfsight.images.manifest import inside


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    return folder


def jsonl(folder: Path, rows: list[object]) -> Path:
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def good_rows() -> list[object]:
    return [{"image": f"images/{index}.png", "answer": "ignored"} for index in range(6)]


def test_jsonl_and_parquet_give_the_same_images_in_the_same_order(data: Path) -> None:
    from_jsonl = ManifestSource(jsonl(data, good_rows()), seed=1)
    pq.write_table(pa.Table.from_pylist(good_rows()), data / "list.parquet")
    from_parquet = ManifestSource(data / "list.parquet", seed=1)
    assert from_jsonl.take(0, 9) == from_parquet.take(0, 9)
    assert from_jsonl.size() == 6
    assert [ref.id for ref in from_jsonl.take(0, 9)] != [
        ref.id for ref in ManifestSource(data / "list.jsonl", seed=2).take(0, 9)
    ]
    assert from_jsonl.open(from_jsonl.take(0, 1)[0]).size == (8, 8)


def test_given_ids_name_the_images(data: Path) -> None:
    rows = [{"image": f"images/{index}.png", "id": index} for index in range(3)]
    source = ManifestSource(jsonl(data, [*rows, {"image": "images/4.png", "id": "cat.1_x-2"}]), seed=0)
    assert {ref.id for ref in source.take(0, 9)} == {"m-0", "m-1", "m-2", "m-cat.1_x-2"}
    for bad in ("a/b", "", "x" * 65, True and [1], 1.5, "a b"):
        with pytest.raises(ImageError, match="row 2: id"):
            ManifestSource(jsonl(data, [rows[0], {"image": "images/4.png", "id": bad}]), seed=0)
    with pytest.raises(ImageError, match="row 3: id '0' was used in row 1"):
        ManifestSource(jsonl(data, [rows[0], rows[1], {"image": "images/4.png", "id": "0"}]), seed=0)


def test_missing_and_damaged_files_are_quarantined_and_copies_dropped(data: Path) -> None:
    (data / "images" / "0.png").write_text("damaged")
    rows = [*good_rows(), {"image": "images/gone.png"}, {"image": "images/1.png"}]
    source = ManifestSource(jsonl(data, rows), seed=0)
    assert {Path(bad.path).name for bad in source.quarantined} == {"0.png", "gone.png"}
    assert source.duplicates == 1
    assert source.size() == 5


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "images/../../secret.png",
        "images/..",
        "/etc/passwd",
        "//server/share/a.png",
        "\\\\server\\share\\a.png",
        "images\\0.png",
        "C:\\a.png",
        "c:/a.png",
        "~/a.png",
        "~root/a.png",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.png",
        "data:image/png;base64,AAAA",
        "s3://bucket/a.png",
        "images/0.png\0.jpg",
        "images/0\n.png",
        "leak/secret.png",
        "leak.png",
        "\ud800.png",
    ],
)
def test_a_row_that_leaves_the_folder_is_refused_by_number(data: Path, path: str) -> None:
    (data / "leak").symlink_to(data.parent)
    (data / "leak.png").symlink_to(data.parent / "secret.png")
    with pytest.raises(ImageError, match="row 3") as refusal:
        ManifestSource(jsonl(data, [*good_rows()[:2], {"image": path}]), seed=0)
    assert refusal.value.hint


def test_ten_thousand_hostile_paths_never_leave_the_folder(data: Path) -> None:
    (data / "leak").symlink_to(data.parent)
    root = data.resolve()
    draw = random.Random(0)
    pieces = (
        "..", ".", "/", "//", "\\", "~", "images", "0.png", "leak", "secret.png", "\0", "file:", "http://",
        "C:", "%2e%2e", "%2f", "\u2024\u2024", "\uff0f", " ", "\n", "\x7f", "é", "\U0001f600", "...", "a",
        "-", str(root), "\ud800", "$HOME", "*",
    )  # fmt: skip
    accepted = 0
    for _ in range(10_000):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 7)))
        try:
            path = inside(root, text)
        except ImageError:
            continue
        accepted += 1
        assert path.resolve().is_relative_to(root), text
        assert ".." not in path.parts
        assert not any(mark in text for mark in ("\\", "\0", "\n", "http://")) or "://" in text[1:], text
    assert accepted > 100


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"image": "images/0.png"', "row 2: is not JSON"),
        ("[1]", "row 2: is no object"),
        ('{"image": {"bytes": "x"}}', 'row 2: column "image" holds dict'),
        ('{"image": {"url": "x"}}', 'row 2: column "image" holds dict'),
        ('{"image": 7}', 'row 2: column "image" holds int'),
        ('{"image": ["images/1.png", 7]}', 'row 2: column "image" holds int'),
        ('{"image": "' + "a" * 5000 + '.png"}', "row 2: a path of 5,004 characters"),
        ('{"image": "' + "a" * 1_000_000 + '.png"}', "row 2: is longer than 1,000,000 bytes"),
        ("[" * 100_000, "row 2: is not JSON"),
    ],
)
def test_a_row_that_is_not_understood_is_in_quarantine_by_its_number(data: Path, row: str, message: str) -> None:
    (data / "list.jsonl").write_text('{"image": "images/0.png"}\n' + row + '\n{"image": "images/2.png"}\n')
    source = ManifestSource(data / "list.jsonl", seed=0)
    assert source.size() == 2
    (bad,) = source.quarantined
    assert message in bad.reason
    assert len(bad.reason) < 1000
    with pytest.raises(ImageError, match="1 of 3 images cannot be used, 0 are allowed"):
        ManifestSource(data / "list.jsonl", seed=0, max_bad_fraction=0.0)


@pytest.mark.parametrize("row", [{"image": None}, {"image": ""}, {"image": "  "}, {"image": []}, {"messages": "hi"}])
def test_rows_without_an_image_are_passed_over_and_counted(data: Path, row: dict[str, object]) -> None:
    source = ManifestSource(jsonl(data, [*good_rows(), *[row] * 20]), seed=0, max_bad_fraction=0.0)
    assert source.size() == 6
    assert source.quarantined == []
    assert source.describe()["rows_without_image"] == 20
    assert source.passed_over.notes() == ["without an image: 20 rows, which are passed over"]
    with pytest.raises(ImageError, match="lists no images, only 3 rows without one"):
        ManifestSource(jsonl(data, [row] * 3), seed=0)


def test_damaged_or_empty_manifests_are_clear_errors(data: Path) -> None:
    (data / "list.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ImageError, match="not a readable Parquet file"):
        ManifestSource(data / "list.parquet", seed=0)
    pq.write_table(pa.table({"answer": ["a"]}), data / "list.parquet")
    with pytest.raises(ImageError, match='no column "image", only answer'):
        ManifestSource(data / "list.parquet", seed=0)
    with pytest.raises(ImageError, match="lists no images"):
        ManifestSource(jsonl(data, []), seed=0)
    with pytest.raises(ImageError, match="is not a file"):
        ManifestSource(data / "none.jsonl", seed=0)
