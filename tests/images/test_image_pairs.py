"""Folders of *_original and *_modified images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_image_quarantine import damage

from selfsight.images import ImageError, ImageRef, PairFolder, SpyView, spy_images


def save(path: Path, shade: int, size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade, dtype=np.uint8)).save(path)


def noise(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(path)


def test_the_published_layout_is_read_pair_by_pair(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"CLEVR_REPLACEMENT_replacement_{number:06d}_original.png", 10 * number)
        save(tmp_path / f"CLEVR_REPLACEMENT_replacement_{number:06d}_modified.png", 10 * number + 5)
    (tmp_path / "scenes.json").write_text("{}")
    source = PairFolder(tmp_path, seed=1)
    refs = source.take(0, 9)
    assert source.size() == len(refs) == 4 and len({ref.id for ref in refs}) == 4
    for ref in refs:
        shades = [source.open(r).getpixel((0, 0))[0] for r in (ref, source.spy_view(ref))]  # type: ignore[index]
        assert shades[1] == shades[0] + 5
        assert ref.origin.endswith("_original.png") and source.spy_view(ref).origin.endswith("_modified.png")
    assert PairFolder(tmp_path, seed=1).take(0, 4) == refs != PairFolder(tmp_path, seed=2).take(0, 4)


def test_extensions_may_differ_in_spelling_and_within_a_pair_and_so_may_sizes(tmp_path: Path) -> None:
    save(tmp_path / "a_original.JPG", 10)
    save(tmp_path / "a_modified.jpeg", 200, size=(31, 17))
    save(tmp_path / "deep" / "b_original.png", 30, size=(24, 10))
    save(tmp_path / "deep" / "b_modified.webp", 220)
    source = PairFolder(tmp_path, seed=0)
    assert source.size() == 2
    sizes = {source.open(ref).size: source.open(source.spy_view(ref)).size for ref in source.take(0, 2)}
    assert sizes == {(20, 10): (31, 17), (24, 10): (20, 10)}


@pytest.mark.parametrize(("alone", "missing"), [("original", "modified"), ("modified", "original")])
def test_a_half_without_its_partner_is_an_error_that_names_it(tmp_path: Path, alone: str, missing: str) -> None:
    for half in ("original", "modified"):
        save(tmp_path / f"a_{half}.png", 10 if half == "original" else 20)
    save(tmp_path / f"b_{alone}.png", 30)
    with pytest.raises(ImageError, match=rf"b_{alone}\.png: there is no b_{missing} beside it"):
        PairFolder(tmp_path, seed=0)


def test_pairs_are_not_made_across_folders(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a_original.png", 10)
    save(tmp_path / "two" / "a_modified.png", 20)
    with pytest.raises(ImageError, match=r"one/a_original\.png: there is no a_modified"):
        PairFolder(tmp_path, seed=0)


def test_other_images_and_two_files_for_one_half_are_errors(tmp_path: Path) -> None:
    save(tmp_path / "a_original.png", 10)
    save(tmp_path / "a_modified.png", 20)
    save(tmp_path / "a_original.jpg", 30)
    with pytest.raises(ImageError, match="is the original of this pair already"):
        PairFolder(tmp_path, seed=0)
    (tmp_path / "a_original.jpg").rename(tmp_path / "holiday.jpg")
    with pytest.raises(ImageError, match=r"holiday\.jpg: is neither"):
        PairFolder(tmp_path, seed=0)


def test_a_folder_without_pairs_says_how_to_name_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ImageError, match="holds no pairs") as refusal:
        PairFolder(tmp_path, seed=0)
    assert "NAME_original" in str(refusal.value)


def test_a_pair_with_a_damaged_half_or_two_equal_halves_is_put_aside_and_named(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / f"{number}_original.png", number)
        save(tmp_path / f"{number}_modified.png", 100 + number)
    whole = (tmp_path / "3_modified.png").read_bytes()
    (tmp_path / "3_modified.png").write_bytes(whole[:-20])
    (tmp_path / "4_original.png").write_bytes(b"not an image")
    (tmp_path / "5_modified.png").write_bytes((tmp_path / "5_original.png").read_bytes())
    source = PairFolder(tmp_path, seed=0)
    assert source.size() == 9
    reasons = "\n".join(bad.reason for bad in source.quarantined)
    assert all(name in reasons for name in ("3_modified.png: is cut short", "4_original.png", "5_modified.png: is the"))
    with pytest.raises(ImageError, match="3 of 12 images cannot be used, 0 are allowed"):
        PairFolder(tmp_path, seed=0, max_bad_fraction=0)


def test_a_modified_half_that_changed_since_is_not_opened(tmp_path: Path) -> None:
    save(tmp_path / "a_original.png", 10)
    save(tmp_path / "a_modified.png", 20)
    source = PairFolder(tmp_path, seed=0)
    (ref,) = source.take(0, 1)
    seen = source.spy_view(ref)
    save(tmp_path / "a_modified.png", 99)
    with pytest.raises(ImageError, match="has changed"):
        source.open(seen)
    with pytest.raises(ImageError, match="is not an original of"):
        source.spy_view(ImageRef(seen.id, seen.origin))


def test_a_pair_whose_modified_half_cannot_be_decoded_leaves_its_place_empty(tmp_path: Path) -> None:
    for number in range(3):
        noise(tmp_path / f"{number}_original.png", number)
        noise(tmp_path / f"{number}_modified.png", 10 + number)
    damage(tmp_path / "1_modified.png")
    source = PairFolder(tmp_path, seed=0)
    refs = source.take(0, 3)
    assert len(refs) == 3
    assert [source.usable(ref) for ref in refs] == [Path(ref.origin).name != "1_original.png" for ref in refs]
    (bad,) = source.quarantined
    assert bad.path.endswith("1_original.png") and "1_modified.png" in bad.reason
    assert len(source.take(0, 3)) == 2


@pytest.mark.parametrize("spy_view", ["blank", "degraded"])
def test_a_view_is_usable_where_its_image_is(tmp_path: Path, spy_view: SpyView) -> None:
    noise(tmp_path / "good.png", 1)
    noise(tmp_path / "bad.png", 2)
    damage(tmp_path / "bad.png")
    source = spy_images(str(tmp_path), spy_view, seed=0)
    usable = {Path(ref.origin).name: source.usable(ref) for ref in source.take(0, 2)}
    assert usable == {"good.png": True, "bad.png": False}
