"""From a setting to a source, and the control that shows another image."""

from pathlib import Path

import pytest
from PIL import Image

from selfsight.images import (
    FolderSource,
    ImageError,
    ImageRef,
    ManifestSource,
    ShuffledImages,
    image_source,
)
from selfsight.images.shuffled import BLOCK


class Numbers:
    """A source whose image number i is a picture of the grey value i mod 256."""

    name = "numbers"

    def __init__(self, count: int | None) -> None:
        self._count = count
        self.damaged: set[str] = set()

    def describe(self) -> dict[str, object]:
        return {"source": self.name, "images": self._count}

    def size(self) -> int | None:
        return self._count

    def take(self, start: int, count: int) -> list[ImageRef]:
        end = start + count if self._count is None else min(start + count, self._count)
        return [ImageRef(f"n-{index}", f"numbers:{index}") for index in range(start, end)]

    def usable(self, ref: ImageRef) -> bool:
        return ref.id not in self.damaged

    def open(self, ref: ImageRef) -> Image.Image:
        shade = int(ref.id[2:]) % 256
        return Image.new("RGB", (1, 1), (shade, shade, shade))


@pytest.mark.parametrize("count", [2, 3, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 2, 3 * BLOCK + 1, None])
def test_every_image_meets_another_one_and_each_is_shown_once(count: int | None) -> None:
    shuffled = ShuffledImages(Numbers(count), seed=5)
    assert shuffled.size() == count
    refs = shuffled.take(0, 3 * BLOCK if count is None else count)
    partners = [shuffled.partner(ref).id for ref in refs]
    assert all(partner != ref.id for partner, ref in zip(partners, refs, strict=True))
    assert sorted(partners) == sorted(ref.id for ref in refs)


def test_opening_gives_the_pixels_of_the_partner() -> None:
    shuffled = ShuffledImages(Numbers(None), seed=5)
    for ref in shuffled.take(40, 50):
        shade = int(shuffled.partner(ref).id[2:]) % 256
        assert shuffled.open(ref).getpixel((0, 0)) == (shade, shade, shade)


def test_pairs_depend_on_the_seed_and_not_on_what_was_asked_before() -> None:
    ref = Numbers(None).take(1000, 1)[0]
    fresh = ShuffledImages(Numbers(None), seed=5)  # as after a resume: the reference was not taken here
    used = ShuffledImages(Numbers(None), seed=5)
    for earlier in used.take(0, 200):
        used.partner(earlier)
    assert fresh.partner(ref) == used.partner(ref)
    pairs = [[ShuffledImages(Numbers(None), seed).partner(r) for r in Numbers(9).take(0, 9)] for seed in (5, 6)]
    assert pairs[0] != pairs[1]


@pytest.mark.parametrize("count", [2, BLOCK, BLOCK + 2, None])
def test_damaged_images_are_passed_over_and_the_others_still_meet_one_another_once(count: int | None) -> None:
    source = Numbers(count)
    whole = ShuffledImages(Numbers(count), seed=5)
    refs = source.take(0, 2 * BLOCK if count is None else count)
    if count != 2:
        source.damaged = {"n-3", "n-4", "n-17", "n-40"}
    good = [ref for ref in refs if ref.id not in source.damaged]
    partners = [ShuffledImages(source, seed=5).partner(ref).id for ref in good]
    assert all(partner != ref.id for partner, ref in zip(partners, good, strict=True))
    assert sorted(partners) == sorted(ref.id for ref in good)
    unmoved = sum(whole.partner(ref).id == partner for ref, partner in zip(good, partners, strict=True))
    assert unmoved >= len(good) - len(source.damaged)


def test_an_image_without_a_usable_partner_is_an_error_that_names_it() -> None:
    source = Numbers(3)
    source.damaged = {"n-0", "n-2"}
    with pytest.raises(ImageError, match="numbers:1: no other image of its block of 3"):
        ShuffledImages(source, seed=5).partner(source.take(1, 1)[0])


def test_a_reference_of_another_source_has_no_partner() -> None:
    with pytest.raises(ImageError, match=r"w-1 is not among the first 9 of numbers"):
        ShuffledImages(Numbers(9), seed=0).partner(ImageRef("w-1", "elsewhere"))
    with pytest.raises(ImageError, match="at least 2 images"):
        ShuffledImages(Numbers(1), seed=0)


def test_a_setting_names_a_folder_a_manifest_or_a_world(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.jsonl").write_text('{"image": "a.png"}\n')
    assert isinstance(image_source(str(tmp_path), seed=0), FolderSource)
    assert isinstance(image_source(str(tmp_path / "list.jsonl"), seed=0), ManifestSource)
    for spec in ("worlds", "worlds:scenes", "worlds:charts"):
        source = image_source(spec, seed=3, size=64)
        assert source.size() is None
        image = source.open(source.take(7, 1)[0])
        assert image.mode == "RGB"
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("worlds:moon", "there is no world"),
        ("https://example.org/a.zip", "is a URL; nothing is downloaded"),
        ("no/such/folder", "does not exist"),
        ("notes.txt", "is a text file"),
    ],
)
def test_any_other_setting_is_an_error_that_lists_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no")
    with pytest.raises(ImageError, match=message) as refusal:
        image_source(spec, seed=0)
    assert "worlds:charts" in str(refusal.value.hint)


def test_real_photographs_pass_as_they_are() -> None:
    import skimage

    source = FolderSource(Path(skimage.__file__).parent / "data", seed=0)
    images = [source.open(ref) for ref in source.take(0, 100)]
    assert len(images) >= 5
    assert all(image.mode == "RGB" and min(image.size) > 1 for image in images)
