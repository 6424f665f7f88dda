"""What the spy sees is again an image with an id, of the same size, and never the citizens' image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from selfsight.images import (
    DEGRADATIONS,
    BlankView,
    Degradation,
    DegradedView,
    FolderSource,
    ImageError,
    ImageRef,
    PairFolder,
    spy_images,
)
from selfsight.images.views import blank, degraded
from selfsight.images.worlds import WorldSource
from selfsight.policy.open import read_image


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with an edge in each direction, so that cutting and blurring show."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.NEAREST)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    for number, size in enumerate([(60, 40), (60, 40), (33, 57)]):
        photograph(*size, seed=number).save(tmp_path / f"{number}.png")
    return FolderSource(tmp_path, seed=0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_blank_image_has_the_size_and_mode_of_the_real_one_and_one_colour(mode: str) -> None:
    image = photograph(7, 5).convert(mode)
    nothing = blank(image)
    assert (nothing.size, nothing.mode) == ((7, 5), mode)
    assert (pixels(nothing) == 255).all()


def test_the_blank_spy_gets_an_image_of_the_citizens_size_whatever_size_that_is(folder: FolderSource) -> None:
    source = BlankView(folder)
    refs = source.take(0, 3)
    assert refs == folder.take(0, 3)
    for ref in refs:
        real, seen = source.open(ref), source.open(source.spy_view(ref))
        assert (seen.size, seen.mode) == (real.size, real.mode)
        assert seen.tobytes() == blank(real).tobytes() != real.tobytes()


def test_blank_views_of_one_size_are_one_image_that_says_nothing_about_the_real_one(folder: FolderSource) -> None:
    source = BlankView(folder)
    views = {source.spy_view(ref) for ref in source.take(0, 3)}
    assert {view.id for view in views} == {"blank-60x40", "blank-33x57"}
    assert not any(ref.id in f"{view}" or ref.origin in f"{view}" for ref in source.take(0, 3) for view in views)


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_a_degraded_view_keeps_the_size_and_loses_something(folder: FolderSource, degradation: Degradation) -> None:
    source = DegradedView(folder, degradation, seed=3)
    for ref in source.take(0, 3):
        view = source.spy_view(ref)
        real, seen = source.open(ref), source.open(view)
        assert view.id == f"{degradation}-3~{ref.id}" and view.origin == f"{degradation}-3~{ref.origin}"
        assert (seen.size, seen.mode) == (real.size, "RGB")
        assert 5 < np.abs(pixels(seen) - pixels(real)).mean() < 120
        assert seen.tobytes() == DegradedView(folder, degradation, seed=3).open(view).tobytes()
        other = DegradedView(folder, degradation, seed=4)
        assert other.open(other.spy_view(ref)).tobytes() != seen.tobytes()


def test_a_mask_covers_20_to_40_percent_and_leaves_the_rest_as_it_was() -> None:
    image, rng = Image.new("RGB", (80, 80), (10, 20, 30)), np.random.default_rng(0)
    for _ in range(20):
        covered = (pixels(degraded(image, "mask", rng)) == 128).all(axis=2)
        kept = (pixels(degraded(image, "mask", rng)) == (10, 20, 30)).all(axis=2)
        assert 0.19 < covered.mean() < 0.41
        assert 0.59 < kept.mean() < 0.81


def test_a_crop_is_a_window_of_the_image_and_a_blur_removes_detail() -> None:
    image = photograph(96, 96)
    window = degraded(image, "crop", np.random.default_rng(1))
    edges = [pixels(i.convert("L").filter(ImageFilter.FIND_EDGES)).mean() for i in (image, window)]
    assert edges[1] < edges[0]  # half as many cells on the same area
    blurred = degraded(image, "blur", np.random.default_rng(1))
    step = [np.abs(np.diff(pixels(i), axis=0)).max() for i in (image, blurred)]
    assert step[1] < step[0] / 2


@pytest.mark.parametrize("degradation", DEGRADATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_images_can_be_degraded(degradation: Degradation, size: tuple[int, int]) -> None:
    for seed in range(5):
        assert degraded(photograph(*size), degradation, np.random.default_rng(seed)).size == size


def test_views_say_what_they_are_in_the_runs_record(folder: FolderSource) -> None:
    assert BlankView(folder).describe()["spy_view"] == "blank"
    record = DegradedView(folder, "blur", seed=5).describe()
    assert (record["degradation"], record["seed"], record["of"]) == ("blur", 5, folder.describe())
    assert BlankView(folder).size() == DegradedView(folder, "blur", seed=5).size() == 3


def test_policies_open_worlds_their_twins_and_views_by_reference_alone() -> None:
    world = WorldSource("scenes", seed=1)
    (ref,) = world.take(0, 1)
    twin, hidden = world.spy_view(ref), DegradedView(world, "mask", seed=0)
    assert read_image(world)(twin).tobytes() == world.open(twin).tobytes() != world.open(ref).tobytes()
    assert read_image(hidden)(hidden.spy_view(ref)).tobytes() == hidden.open(hidden.spy_view(ref)).tobytes()
    assert read_image(BlankView(world))(BlankView(world).spy_view(ref)).size == (112, 112)


def test_a_setting_becomes_the_source_of_its_view(folder: FolderSource, tmp_path: Path) -> None:
    assert isinstance(spy_images(str(tmp_path), "blank", seed=0), BlankView)
    assert spy_images(str(tmp_path), "degraded", seed=2, degradation="crop").name == f"crop({folder.name})"
    assert isinstance(spy_images("worlds:charts", "modified", seed=0), WorldSource)
    with pytest.raises(ImageError, match="neither"):
        spy_images(str(tmp_path), "modified", seed=0)
    for number in range(2):
        (tmp_path / f"{number}.png").rename(tmp_path / f"a_{('original', 'modified')[number]}.png")
    (tmp_path / "2.png").unlink()
    assert isinstance(spy_images(str(tmp_path), "modified", seed=0), PairFolder)


def test_a_setting_that_cannot_be_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no modified twins") as refusal:
        spy_images(str(tmp_path / "list.jsonl"), "modified", seed=0)
    assert "worlds:scenes" in str(refusal.value)
    with pytest.raises(ImageError, match="no spy view 'upside down'"):
        spy_images("worlds", "upside down", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="mask, crop, blur"):
        spy_images("worlds", "degraded", seed=0, degradation="burn")  # type: ignore[arg-type]


def test_an_ordinary_reference_opens_as_before_through_every_view(folder: FolderSource) -> None:
    (ref,) = folder.take(0, 1)
    for source in (BlankView(folder), DegradedView(folder, "mask", seed=0)):
        assert source.open(ref).tobytes() == folder.open(ref).tobytes()
    with pytest.raises(ImageError):
        BlankView(folder).open(ImageRef("blank-0x5", "blank:0x5"))
