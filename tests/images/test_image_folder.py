"""Folders of photographs: order, ids, copies, quarantine."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.images import FolderSource, ImageError, ImageRef
from selfsight.images.files import allowed_bad


def picture(path: Path, shade: int, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(shade).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for index in range(12):
        picture(root / f"{index:02}.png", index)
    picture(root / "deep" / "er" / "a.JPG", 100, "JPEG")
    picture(root / "deep" / "b.jpeg", 101, "JPEG")
    picture(root / "c.WebP", 102, "WEBP")
    (root / "notes.txt").write_text("not an image")
    picture(root / ".hidden.png", 103)
    picture(root / ".trash" / "d.png", 104)
    return root


def test_all_images_below_the_folder_are_found_by_extension_in_any_case(photos: Path) -> None:
    source = FolderSource(photos, seed=0)
    assert source.size() == 15
    names = {Path(ref.origin).name for ref in source.take(0, 100)}
    assert {"a.JPG", "b.jpeg", "c.WebP", "00.png"} <= names
    assert source.describe()["images"] == 15
    for ref in source.take(0, 15):
        assert source.open(ref).mode == "RGB"


def test_the_order_depends_on_the_seed_only(photos: Path, tmp_path: Path) -> None:
    ids = [ref.id for ref in FolderSource(photos, seed=3).take(0, 15)]
    assert ids == [ref.id for ref in FolderSource(photos, seed=3).take(0, 15)]
    assert ids != [ref.id for ref in FolderSource(photos, seed=4).take(0, 15)]
    assert len(set(ids)) == 15
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    assert ids == [ref.id for ref in FolderSource(moved, seed=3).take(0, 15)]


def test_slices_join_to_the_whole_and_end_with_the_files(photos: Path) -> None:
    source = FolderSource(photos, seed=3)
    whole = source.take(0, 15)
    assert source.take(0, 4) + source.take(4, 8) + source.take(12, 50) == whole
    assert source.take(15, 5) == []


def test_removing_a_file_leaves_the_order_of_the_others(photos: Path) -> None:
    before = FolderSource(photos, seed=3).take(0, 15)
    Path(before[4].origin).unlink()
    assert FolderSource(photos, seed=3).take(0, 15) == before[:4] + before[5:]


def test_ids_are_hashes_of_the_content(photos: Path) -> None:
    before = {Path(ref.origin).name: ref.id for ref in FolderSource(photos, seed=0).take(0, 15)}
    (photos / "00.png").rename(photos / "renamed.png")
    after = {Path(ref.origin).name: ref.id for ref in FolderSource(photos, seed=0).take(0, 15)}
    assert after["renamed.png"] == before["00.png"]
    assert before["00.png"].startswith("f-")
    assert len(before["00.png"]) == 18


def test_copies_are_dropped_and_counted(photos: Path) -> None:
    shutil.copy(photos / "00.png", photos / "copy.png")
    shutil.copy(photos / "00.png", photos / "deep" / "again.png")
    source = FolderSource(photos, seed=0)
    assert source.duplicates == 2
    assert source.size() == 15
    assert len({ref.id for ref in source.take(0, 15)}) == 15


def test_a_bad_file_is_quarantined_and_named_and_never_given_out(photos: Path) -> None:
    whole = (photos / "00.png").read_bytes()
    (photos / "00.png").write_bytes(whole[:-20])
    (photos / "fake.jpg").write_text("hello")
    source = FolderSource(photos, seed=0)
    assert {Path(bad.path).name for bad in source.quarantined} == {"00.png", "fake.jpg"}
    assert any("cut short" in bad.reason for bad in source.quarantined)
    assert source.size() == 14
    assert not {"00.png", "fake.jpg"} & {Path(ref.origin).name for ref in source.take(0, 99)}
    described = source.describe()["quarantined"]
    assert isinstance(described, list)
    assert len(described) == 2


def test_too_many_bad_files_end_with_an_error_that_names_them(photos: Path) -> None:
    for index in range(4):
        (photos / f"bad{index}.png").write_text("hello")
    with pytest.raises(ImageError, match="4 of 19 images cannot be used, 3 are allowed") as refusal:
        FolderSource(photos, seed=0)
    assert "bad0.png" in refusal.value.message
    assert "max_bad_fraction" in str(refusal.value.hint)
    assert len(FolderSource(photos, seed=0, max_bad_fraction=0.3).quarantined) == 4


@pytest.mark.parametrize(
    ("total", "fraction", "allowed"),
    [(1, 0.01, 0), (2, 0.01, 1), (4, 0.01, 2), (20, 0.01, 3), (300, 0.01, 3), (1000, 0.01, 10), (50, 0.0, 0)],
)
def test_three_bad_files_are_always_forgiven_but_never_more_than_half(
    total: int, fraction: float, allowed: int
) -> None:
    assert allowed_bad(total, fraction) == allowed


def test_an_empty_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("no images")
    with pytest.raises(ImageError, match=r"holds no \.png.* \(1 other files\)"):
        FolderSource(tmp_path, seed=0)
    with pytest.raises(ImageError, match="is not a folder"):
        FolderSource(tmp_path / "missing", seed=0)


def test_links_that_leave_the_folder_are_refused(photos: Path, tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png", 200)
    (photos / "leak.png").symlink_to(secret)
    (photos / "inner.png").symlink_to(photos / "00.png")
    (photos / "loop.png").symlink_to(photos / "loop.png")
    outside = tmp_path / "outside"
    picture(outside / "e.png", 201)
    (photos / "linked").symlink_to(outside)
    source = FolderSource(photos, seed=0)
    assert [Path(bad.path).name for bad in source.quarantined] == ["leak.png", "loop.png"]
    assert "leads outside" in source.quarantined[0].reason
    assert source.duplicates == 1  # inner.png
    assert "e.png" not in {Path(ref.origin).name for ref in source.take(0, 99)}
    with pytest.raises(ImageError, match="lies outside"):
        source.open(ImageRef("f-0000000000000000", str(secret)))


def test_a_file_that_changes_or_vanishes_later_is_named(photos: Path) -> None:
    source = FolderSource(photos, seed=0)
    first, second, third = source.take(0, 3)
    picture(Path(first.origin), 999)
    with pytest.raises(ImageError, match="has changed since it was taken") as refusal:
        source.open(first)
    assert first.origin in refusal.value.message
    Path(second.origin).unlink()
    with pytest.raises(ImageError, match="cannot be opened") as refusal:
        source.open(second)
    assert second.origin in refusal.value.message
    assert source.open(third).mode == "RGB"


def test_damage_inside_a_file_is_an_error_that_names_it_when_it_is_opened(photos: Path) -> None:
    data = bytearray((photos / "05.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (photos / "05.png").write_bytes(data)
    source = FolderSource(photos, seed=0)
    ref = next(ref for ref in source.take(0, 99) if ref.origin.endswith("05.png"))
    with pytest.raises(ImageError, match=r"05\.png: cannot be decoded"):
        source.open(ref)


def test_a_name_that_is_not_utf8_is_quarantined(photos: Path) -> None:
    shutil.copy(photos / "00.png", os.fsencode(photos) + b"/bad\xff.png")
    source = FolderSource(photos, seed=0)
    assert "not UTF-8" in source.quarantined[0].reason


def test_thousands_of_files_are_listed_quickly(tmp_path: Path) -> None:
    data = picture(tmp_path / "seed.png", 0).read_bytes()
    for index in range(3000):
        # Bytes after the end mark make each file different in size, as photographs are.
        (tmp_path / f"{index}.png").write_bytes(data + bytes(index))
    start = time.process_time()
    source = FolderSource(tmp_path, seed=0)
    source.take(0, 512)
    assert source.size() == 3000
    assert time.process_time() - start < 3
