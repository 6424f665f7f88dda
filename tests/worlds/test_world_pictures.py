"""A world is a fixed stream: an id is a picture, and streams of different splits and seeds never meet."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.scene import CHARTS, COLOURS, Chart, Scene, Thing, sample_chart, sample_scene
from selfsight.images.worlds.source import SPLITS, WORLDS, parse_world_id, picture_rng, sample_picture
from selfsight.images.worlds.truth import scene_of

FIRST_SCENE = Scene(
    4,
    4,
    (
        Thing("circle", "orange", "small", 0, 2),
        Thing("circle", "orange", "small", 0, 3),
        Thing("square", "red", "small", 1, 1),
        Thing("square", "orange", "small", 1, 2),
        Thing("square", "orange", "small", 2, 0),
    ),
)
SOME_CHART = Chart("line", ("purple", "yellow", "orange", "red"), (2, 4, 8, 5))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.int64)


def picture(world: str, split: str, seed: int, index: int) -> Scene | Chart:
    return sample_picture(world, picture_rng(world, split, seed, index))


@pytest.mark.parametrize("world", WORLDS)
def test_an_id_is_a_picture_whatever_came_before_it(world: str) -> None:
    one, other = WorldSource(world, seed=3), WorldSource(world, seed=3)
    forward = {ref.id: one.open(ref).tobytes() for ref in one.take(0, 6)}
    for ref in reversed([*other.take(0, 4), *other.take(4, 2)]):
        assert other.open(ref).tobytes() == forward[ref.id]
    assert len(set(forward.values())) == 6


def test_any_source_opens_any_id_so_held_out_pictures_need_no_source_of_their_own() -> None:
    (ref,) = WorldSource("charts", seed=9, split="heldout").take(4, 1)
    expected = WorldSource("charts", seed=9, split="heldout").open(ref)
    assert WorldSource("scenes", seed=0).open(ref).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [56, 84, 112, 224])
def test_a_layout_is_the_same_at_any_size(size: int) -> None:
    """Drawn at 448 and shrunk, it looks like the one drawn small, and like no other. Charts: test_drawings.py."""
    large, small = WorldSource("scenes", seed=1, size=448), WorldSource("scenes", seed=1, size=size)
    refs = large.take(0, 12)
    for ref, other in pairwise(refs):
        shrunk = pixels(large.open(ref).resize((size, size), Image.Resampling.BOX))
        assert small.open(ref).size == (size, size) and small.open(ref).mode == "RGB"
        assert np.abs(pixels(small.open(ref)) - shrunk).mean() < 2.0
        assert np.abs(pixels(small.open(other)) - shrunk).mean() > 6.0


def test_no_picture_is_in_two_splits_or_seeds() -> None:
    seen: dict[bytes, str] = {}
    for split in SPLITS:
        for seed in (0, 1):
            source = WorldSource("mixed", seed=seed, size=56, split=split)
            for ref in source.take(0, 150):
                digest = hashlib.blake2b(source.open(ref).tobytes(), digest_size=16).digest()
                assert seen.setdefault(digest, ref.id) == ref.id
    assert len(seen) == 2 * 4 * 150


def test_no_layout_is_in_two_splits_even_as_data() -> None:
    drawn = {split: {picture("scenes", split, 0, i) for i in range(1500)} for split in SPLITS}
    for split in SPLITS:
        assert len(drawn[split]) > 1490
        assert not any(drawn[split] & drawn[other] for other in SPLITS if other != split)


def test_the_stream_is_the_published_one() -> None:
    """The starter and every stored run name pictures by id; another numpy must not turn them into others."""
    assert picture("scenes", "train", 0, 0) == FIRST_SCENE
    assert picture("charts", "heldout", 7, 123) == SOME_CHART


def test_layouts_hold_what_they_promise() -> None:
    for seed in range(200):
        scene = sample_scene(np.random.default_rng(seed))
        cells = [(t.row, t.col) for t in scene.things]
        assert 3 <= len(cells) <= 8 and cells == sorted(set(cells))
        assert all(0 <= row < scene.rows and 0 <= col < scene.cols for row, col in cells)
    assert len(sample_scene(np.random.default_rng(0), rows=2, cols=2, least=4, most=4).things) == 4


@pytest.mark.parametrize("kind", CHARTS)
def test_charts_hold_what_they_promise(kind: str) -> None:
    for seed in range(200):
        chart = sample_chart(np.random.default_rng(seed), kind)
        assert chart.kind == kind
        assert len(set(chart.colours)) == len(chart.colours) == len(chart.values)
        assert set(chart.colours) <= set(COLOURS)
        if kind == "pie":
            assert sum(chart.values) == 100 and min(chart.values) >= 10 and 2 <= len(chart.values) <= 4
        else:
            assert set(chart.values) <= set(range(1, 10)) and 3 <= len(chart.values) <= 5
        if kind in ("bar", "line"):
            assert len(set(chart.values)) == len(chart.values)


def test_a_mixed_world_has_two_layouts_for_each_chart() -> None:
    drawn = [picture("mixed", "train", 0, i) for i in range(3000)]
    assert sum(isinstance(p, Scene) for p in drawn) / 3000 == pytest.approx(2 / 3, abs=0.03)
    kinds = [p.kind for p in drawn if isinstance(p, Chart)]
    assert all(kinds.count(kind) / len(kinds) == pytest.approx(1 / 4, abs=0.05) for kind in CHARTS)


def test_a_reference_names_world_split_seed_and_index() -> None:
    source = WorldSource("charts", seed=12, size=224, split="audit")
    first, second = source.take(5, 2)
    assert (first.id, second.id) == ("w-charts-audit-12-5", "w-charts-audit-12-6")
    assert first.origin == "world:charts?split=audit&seed=12&size=224&index=5"
    assert parse_world_id(first.id) == ("charts", "audit", 12, 5)
    assert scene_of(first) == picture("charts", "audit", 12, 5)
    assert source.size() is None
    assert source.describe() == {"kind": "worlds", "world": "charts", "seed": 12, "size": 224, "split": "audit"}


@pytest.mark.parametrize(
    "image_id",
    ["f-0011223344556677", "w-mixed-train-0", "w-mixed-train-0-x", "w-mixed-train--1-0", "w-mixed-train-0-",
     "w-sea-train-0-0", "w-mixed-test-0-0", "w-mixed-train-0-07",
     "w-mixed-train- 1-0", "w-mixed-train-1-0\n", "w-mixed-train-١-0", "W-mixed-train-0-0", ""],
)  # fmt: skip
def test_an_id_that_names_no_picture_is_refused_by_name(image_id: str) -> None:
    with pytest.raises(SelfsightError) as refused:
        WorldSource(seed=0).open(ImageRef(image_id, "test"))
    assert repr(image_id) in str(refused.value)


def test_a_source_that_cannot_exist_is_refused() -> None:
    with pytest.raises(SelfsightError, match="no world named 'sea'"):
        WorldSource("sea", seed=0)
    with pytest.raises(SelfsightError, match="no split named 'test'"):
        WorldSource(seed=0, split="test")
    with pytest.raises(SelfsightError, match="0 or more, not -1"):
        WorldSource(seed=-1)


def test_a_reference_can_be_drawn_in_its_own_size_by_any_source() -> None:
    (large,) = WorldSource("mixed", seed=3, size=224, split="heldout").take(4, 1)
    assert WorldSource.open_any(large).size == (224, 224)
    assert WorldSource.open_any(large).tobytes() == WorldSource("mixed", seed=3, size=224).open(large).tobytes()
    with pytest.raises(SelfsightError, match="states no size"):
        WorldSource.open_any(ImageRef(large.id, "elsewhere"))
