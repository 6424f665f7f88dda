"""Modified twins: two facts changed, everything else drawn as it was, and a log that says which."""

from dataclasses import replace

import numpy as np
import pytest

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.modified import ColourChange, ThingChange, ValueChange, modify
from selfsight.images.worlds.scene import Chart, Scene, Thing, sample_chart, sample_scene
from selfsight.images.worlds.truth import changes_of, scene_of


@pytest.mark.parametrize("seed", range(60))
def test_two_things_change_colour_and_shape_and_keep_place_and_size(seed: int) -> None:
    scene = sample_scene(np.random.default_rng(seed))
    twin = modify(scene, np.random.default_rng(seed + 1000))
    assert isinstance(twin.picture, Scene)
    changed = [(a, b) for a, b in zip(scene.things, twin.picture.things, strict=True) if a != b]
    assert len(changed) == 2
    assert twin.changes == tuple(ThingChange(a, b) for a, b in changed)
    for before, after in changed:
        assert before.colour != after.colour and before.shape != after.shape
        assert replace(after, colour=before.colour, shape=before.shape) == before


@pytest.mark.parametrize("seed", range(60))
def test_two_colours_of_a_chart_swap_their_values(seed: int) -> None:
    chart = sample_chart(np.random.default_rng(seed))
    twin = modify(chart, np.random.default_rng(seed + 1000))
    assert isinstance(twin.picture, Chart) and twin.picture != chart
    if len(set(chart.values)) == 1:
        return  # the test below
    assert (twin.picture.kind, twin.picture.colours) == (chart.kind, chart.colours)
    assert sorted(twin.picture.values) == sorted(chart.values)
    first, second = twin.changes
    assert isinstance(first, ValueChange) and isinstance(second, ValueChange)
    assert (first.before, first.after) == (second.after, second.before)
    for change in (first, second):
        assert chart.value(change.colour) == change.before != change.after == twin.picture.value(change.colour)


def test_a_chart_of_equal_values_shows_another_colour_instead() -> None:
    chart = Chart("pie", ("red", "blue"), (50, 50))
    twin = modify(chart, np.random.default_rng(0))
    (change,) = twin.changes
    assert isinstance(change, ColourChange) and isinstance(twin.picture, Chart)
    assert twin.picture.values == chart.values
    assert chart.colours[change.place] == change.before and twin.picture.colours[change.place] == change.after
    assert change.after not in chart.colours and len(set(twin.picture.colours)) == 2


def test_a_lone_thing_changes_alone() -> None:
    scene = Scene(4, 4, (Thing("circle", "red", "small", 0, 0),))
    assert len(modify(scene, np.random.default_rng(0)).changes) == 1


def test_a_twin_is_found_drawn_and_judged_by_its_id_alone() -> None:
    world = WorldSource("mixed", seed=7, split="heldout")
    for ref in world.take(0, 20):
        twin = world.spy_view(ref)
        assert twin == ImageRef(f"{ref.id}-modified", f"{ref.origin}-modified")
        again = ImageRef(twin.id, "")
        assert WorldSource("charts", seed=0).open(again).tobytes() == world.open(twin).tobytes()
        assert world.open(twin).tobytes() != world.open(ref).tobytes()
        assert scene_of(again) != scene_of(ref)
        assert changes_of(again) == changes_of(ref) != ()


def test_only_the_changed_things_are_drawn_differently() -> None:
    """The shade of the ground, the tints and the places inside the cells are those of the original."""
    world = WorldSource("scenes", seed=3, size=112)
    for ref in world.take(0, 20):
        differs = (np.asarray(world.open(ref)) != np.asarray(world.open(world.spy_view(ref)))).any(axis=2)
        by_cell = differs.reshape(4, 28, 4, 28).any(axis=(1, 3))
        changed = [change.before for change in changes_of(ref) if isinstance(change, ThingChange)]
        assert {(thing.row, thing.col) for thing in changed} == set(
            zip(*map(np.ndarray.tolist, by_cell.nonzero()), strict=True)
        )


@pytest.mark.parametrize("bad", ["w-mixed-train-0-1-modified-modified", "w-mixed-train-0-modified", "f-12-modified"])
def test_an_id_that_names_no_twin_is_refused(bad: str) -> None:
    with pytest.raises(SelfsightError, match="does not name a picture"):
        WorldSource(seed=0).open(ImageRef(bad, ""))


def test_a_twin_has_no_twin() -> None:
    world = WorldSource(seed=0)
    (ref,) = world.take(0, 1)
    with pytest.raises(SelfsightError, match="does not name a picture"):
        world.spy_view(world.spy_view(ref))
