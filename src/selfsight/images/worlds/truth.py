"""Exact answers: what a question about a world's picture is, and what is true.

For evaluation, for the audit of pseudo-labels and for the labelled control. A test walks the imports to prove that
no training path can see this module.
"""

from dataclasses import dataclass

from selfsight.images.source import ImageRef
from selfsight.images.worlds.grammar import MARKS, Described, Query, read
from selfsight.images.worlds.modified import Change
from selfsight.images.worlds.scene import Chart, Picture, Scene, Thing
from selfsight.images.worlds.source import MODIFIED, picture_and_nuisances, twin_of


@dataclass(frozen=True)
class Truth:
    """`answer` is None for an ill-posed question; `family` is None for a sentence outside the grammar."""

    answer: str | None
    family: str | None
    reason: str

    @property
    def well_posed(self) -> bool:
        """Whether the question has exactly one right answer."""
        return self.answer is not None


def scene_of(ref: ImageRef) -> Picture:
    """The scene or chart behind a world's reference, original or modified."""
    return picture_and_nuisances(ref.id)[0]


def changes_of(ref: ImageRef) -> tuple[Change, ...]:
    """What a picture's modified twin shows differently, for the reference of either."""
    original = ImageRef(ref.id.removesuffix(MODIFIED), ref.origin)
    return twin_of(original.id, scene_of(original)).changes


def truth(question: str, picture: Picture) -> Truth:
    """The exact answer to a sentence about a picture, or why there is none."""
    query = read(question)
    if query is None:
        return Truth(None, None, "not a sentence of the grammar")
    return answer(query, picture)


def answer(query: Query, picture: Picture) -> Truth:
    """The exact answer to a query about a picture, or why there is none."""
    wants_chart = query.family.startswith("chart_")
    if wants_chart != isinstance(picture, Chart):
        return Truth(None, query.family, "asks about a chart" if wants_chart else "asks about shapes")
    found, reason = _about_chart(query, picture) if isinstance(picture, Chart) else _about_scene(query, picture)
    return Truth(found, query.family, reason)


def _yes(condition: bool) -> str:
    return "yes" if condition else "no"


def _the_one(described: Described, scene: Scene) -> Thing | None:
    matching = [thing for thing in scene.things if described.matches(thing)]
    return matching[0] if len(matching) == 1 else None


def overlap(a: Described, b: Described) -> bool:
    """Whether one thing could fit both descriptions; then 'a and b' has no single count."""
    return all(
        x is None or y is None or x == y for x, y in ((a.size, b.size), (a.colour, b.colour), (a.shape, b.shape))
    )


def _about_scene(query: Query, scene: Scene) -> tuple[str | None, str]:
    a, b = query.a or Described(), query.b or Described()
    count_a = sum(map(a.matches, scene.things))
    count_b = sum(map(b.matches, scene.things))
    if query.kind == "exists":
        return _yes(count_a > 0), "counted"
    if query.kind == "count":
        return str(count_a), "counted"
    if query.kind in ("attribute", "relation"):
        return _about_the_one(query, a, b, scene)
    if overlap(a, b):
        return None, "the two groups overlap"
    if query.kind == "more":
        return _yes(count_a > count_b), "counted"
    if query.kind == "total":
        return str(count_a + count_b), "counted"
    if count_a < count_b:
        return None, "the first group is the smaller one"
    return str(count_a - count_b), "counted"


def _about_the_one(query: Query, a: Described, b: Described, scene: Scene) -> tuple[str | None, str]:
    first = _the_one(a, scene)
    if first is None:
        return None, f"there is not exactly one {a.singular}"
    if query.kind == "attribute":
        if getattr(a, str(query.word)) is not None:
            return None, f"the question names the {query.word} itself"
        return str(getattr(first, str(query.word))), "seen"
    second = _the_one(b, scene)
    if second is None or second == first:
        return None, f"there is not exactly one other {b.singular}"
    return {
        "left of": _yes(first.col < second.col),
        "right of": _yes(first.col > second.col),
        "above": _yes(first.row < second.row),
        "below": _yes(first.row > second.row),
    }[str(query.word)], "seen"


def _about_chart(query: Query, chart: Chart) -> tuple[str | None, str]:
    if query.mark is not None and MARKS[chart.kind] != query.mark:
        return None, f"a {chart.kind} chart has no {query.mark}s"
    if query.kind == "extreme":
        best = (max if query.word == "largest" else min)(chart.values)
        if chart.values.count(best) > 1:
            return None, f"several are the {query.word}"
        return chart.colours[chart.values.index(best)], "read"
    values = [chart.value(colour) for colour in query.colours]
    if None in values or len(set(query.colours)) < len(query.colours):
        return None, "a colour is not in the chart, or named twice"
    first, *rest = (v for v in values if v is not None)
    if query.kind == "value":
        return str(first), "read"
    if query.kind == "greater":
        return _yes(first > rest[0]), "read"
    return str(first + rest[0] if query.kind == "sum" else abs(first - rest[0])), "read"
