"""Damage that only decoding shows: the file is left out, its place stays empty, and too many of them are an error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.images import BadImage, FolderSource, ImageError, ManifestSource, files


def damage(path: Path) -> None:
    """Header and end stay as they are, the pixels do not."""
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4
    path.write_bytes(data[:start] + b"\0\0" + data[start + 2 :])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(20):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index:02}.png")
    return root


def damaged_at(photos: Path, *places: int) -> list[Path]:
    refs = FolderSource(photos, seed=0).take(0, 20)
    paths = [Path(refs[place].origin) for place in places]
    for path in paths:
        damage(path)
    return paths


def looked_at(source: FolderSource) -> list[str]:
    return [ref.id for place in range(20) for ref in source.take(place, 1) if source.usable(ref)]


def test_a_damaged_file_leaves_its_place_empty_and_every_other_image_where_it_was(photos: Path) -> None:
    before = FolderSource(photos, seed=0).take(0, 20)
    (path,) = damaged_at(photos, 7)
    source, told = FolderSource(photos, seed=0), list[BadImage]()
    source.on_bad = told.append
    assert source.quarantined == []  # its header is fine
    assert looked_at(source) == [ref.id for ref in before if ref.origin != str(path)]
    assert told == source.quarantined
    assert [bad.path for bad in told] == [str(path)]
    assert "cannot be decoded" in told[0].reason
    assert source.take(7, 1) == []
    assert source.take(8, 1) == [before[8]]
    assert source.size() == 20
    assert source.describe()["quarantined"] == [{"path": str(path), "reason": told[0].reason}]
    looked_at(source)
    assert len(told) == 1


@pytest.mark.parametrize("change", [Path.unlink, damage, lambda path: path.write_bytes(b"")])
def test_a_file_that_vanishes_or_is_damaged_later_goes_the_same_way(
    photos: Path, change: Callable[[Path], object]
) -> None:
    source = FolderSource(photos, seed=0)
    refs = source.take(0, 10)
    change(Path(refs[3].origin))
    assert [ref.id for ref in refs if source.usable(ref)] == [ref.id for ref in refs if ref != refs[3]]
    change(Path(FolderSource(photos, seed=0).take(15, 1)[0].origin))
    looked_at(source)
    assert len(source.quarantined) == 2


def test_an_image_is_decoded_once_to_be_checked_and_used(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, decoded = files.decode_image, []
    monkeypatch.setattr(files, "decode_image", lambda *args: decoded.append(args[1]) or decode(*args))
    source = FolderSource(photos, seed=0)
    refs = source.take(0, 20)
    assert decoded == []
    assert all(source.usable(ref) for ref in refs)
    pictures = [source.open(ref).tobytes() for ref in refs for _ in range(2)]
    assert len(decoded) == 20
    # What does not fit is decoded again, and nothing else changes.
    monkeypatch.setattr(files, "_KEPT_BYTES", 4 * 12 * 16 * 5)
    small = FolderSource(photos, seed=0)
    assert all(small.usable(ref) for ref in small.take(0, 20))
    assert [small.open(ref).tobytes() for ref in refs for _ in range(2)] == pictures
    assert len(decoded) == 20 + 20 + 2 * 15


def test_too_many_among_the_places_reached_are_an_error_that_names_the_files(photos: Path) -> None:
    paths = damaged_at(photos, 0, 1, 2, 5, 12)
    source = FolderSource(photos, seed=0)
    looked_at(source)
    source.refuse_too_many(5)  # three are forgiven; the fourth is known, and does not count before its place
    with pytest.raises(ImageError, match="4 of 6 images cannot be used, 3 are allowed") as refusal:
        source.refuse_too_many(6)
    for path in paths[:4]:
        assert path.name in refusal.value.message
    assert paths[4].name not in refusal.value.message
    assert "max_bad_fraction" in str(refusal.value.hint)
    lax = FolderSource(photos, seed=0, max_bad_fraction=0.7)
    looked_at(lax)
    for reached in range(1, 21):
        lax.refuse_too_many(reached)


def test_a_single_bad_image_is_forgiven_in_a_first_step_of_one_but_not_when_none_is_allowed(photos: Path) -> None:
    damaged_at(photos, 0)
    source = FolderSource(photos, seed=0)
    looked_at(source)
    source.refuse_too_many(1)
    strict = FolderSource(photos, seed=0, max_bad_fraction=0.0)
    looked_at(strict)
    with pytest.raises(ImageError, match="1 of 20 images cannot be used, 0 are allowed"):
        strict.refuse_too_many(1)


def test_bad_headers_and_bad_pixels_count_together_over_the_whole_folder(photos: Path) -> None:
    damaged_at(photos, 0, 10)
    for name in ("empty.png", "text.png"):
        (photos / name).write_bytes(b"" if name == "empty.png" else b"hello")
    source = FolderSource(photos, seed=0)
    looked_at(source)
    source.refuse_too_many(10)
    with pytest.raises(ImageError, match="4 of 22 images cannot be used, 3 are allowed"):
        source.refuse_too_many(20)


def test_a_run_that_goes_on_keeps_its_places_whatever_happened_to_the_folder(photos: Path) -> None:
    (bad,) = damaged_at(photos, 2)
    first = FolderSource(photos, seed=0)
    refs = first.take(0, 20)
    looked_at(first)
    Path(refs[4].origin).unlink()
    for number in range(5):
        (photos / f"new{number}.png").write_bytes((photos / "00.png").read_bytes() + bytes(number + 1))
    again = FolderSource(photos, seed=0)
    assert again.take(5, 10) != refs[5:15]
    again.go_on(first.listing(), first.quarantined)
    assert again.size() == 20
    assert again.describe()["listing"] == first.describe()["listing"]
    assert looked_at(again) == [ref.id for place, ref in enumerate(refs) if place not in (2, 4)]
    assert [Path(image.path).name for image in again.quarantined] == [bad.name, Path(refs[4].origin).name]


def test_quarantine_is_kept_when_a_file_is_mended_and_lifted_when_the_record_is_gone(photos: Path) -> None:
    (photos / "text.png").write_text("hello")
    path = Path(FolderSource(photos, seed=0).take(6, 1)[0].origin)
    whole = path.read_bytes()
    damage(path)
    first = FolderSource(photos, seed=0)
    assert len(looked_at(first)) == 19
    path.write_bytes(whole)
    kept, lifted = FolderSource(photos, seed=0), FolderSource(photos, seed=0)
    kept.go_on(first.listing(), first.quarantined)
    assert len(looked_at(kept)) == 19
    lifted.go_on(first.listing(), None)
    assert len(looked_at(lifted)) == 20
    assert [Path(bad.path).name for bad in lifted.quarantined] == ["text.png"]


def test_ids_of_a_manifest_are_kept_too(photos: Path) -> None:
    manifest = photos / "list.jsonl"
    manifest.write_text("".join(f'{{"image": "{i:02}.png", "id": "p{i}"}}\n' for i in range(20)))
    first = ManifestSource(manifest, seed=0)
    refs = first.take(0, 20)
    manifest.write_text("".join(f'{{"image": "{i:02}.png"}}\n' for i in range(10)))
    again = ManifestSource(manifest, seed=0)
    again.go_on(first.listing(), [])
    assert again.take(0, 20) == refs


def test_a_link_that_leads_outside_by_now_is_not_read(photos: Path, tmp_path: Path) -> None:
    first = FolderSource(photos, seed=0)
    path = Path(first.take(3, 1)[0].origin)
    outside = tmp_path / "secret.png"
    path.rename(outside)
    path.symlink_to(outside)
    again = FolderSource(photos, seed=0)
    again.go_on(first.listing(), [])
    assert again.take(3, 1) == []
    assert "lies outside" in again.quarantined[0].reason
