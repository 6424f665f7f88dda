"""The packer: rows hold every path once, share what is equal, and show each token exactly its own path."""

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.images.source import ImageRef
from selfsight.policy import trie
from selfsight.policy.trie import Path, Row, pack_rows


def path(ids: list[int], prompt: int = 1, images: str = "", numbers: list[int] | None = None) -> Path:
    """`images` are names, parted by spaces."""
    size = len(ids)
    return Path(
        ids=np.array(ids, dtype=np.int64),
        planes=np.arange(size)[None],
        numbers=np.zeros(size, dtype=np.int64) if numbers is None else np.array(numbers),
        images=tuple(ImageRef(name, "test") for name in images.split()),
        prompt=prompt,
    )


@st.composite
def forests(draw: st.DrawFn) -> list[Path]:
    """Random tries of depth 1 to 3: images, questions, answers; three tokens only, so that more is shared by chance."""
    tokens = st.lists(st.integers(1, 3), min_size=0, max_size=14)
    paths = []
    for number in range(draw(st.integers(1, 3))):
        names = [f"i-{draw(st.integers(0, 2))}" for _ in range(draw(st.integers(0, 2)))]
        root, marks = (
            ([7] * 9 * len(names), np.repeat(range(1, len(names) + 1), 9).tolist()) if names else (draw(tokens), [])
        )
        marks = marks or [0] * len(root)
        for _ in range(draw(st.integers(1, 2)) if number else 1):
            prompt = [*root, *draw(tokens), 4]
            for _ in range(draw(st.integers(1, 4))):
                whole = [*prompt, *draw(tokens)]
                paths.append(path(whole, len(prompt), " ".join(names), [*marks, *[0] * (len(whole) - len(root))]))
    return draw(st.permutations(paths))


def packed(paths: list[Path], budget: int, carry: bool) -> list[Row]:
    """Rows for prompts so short that a pass of its own must cost nothing, or no stem would be carried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trie, "_PASS", 0)
        return pack_rows(paths, budget, carry=carry)


def seen_from(row: Row, place: int) -> np.ndarray:
    """The places that a token may look at, by the rule of the layout."""
    places = np.arange(len(row))
    return places[(places <= place) & (place < row.reach)]


def places_of(row: Row, paths: list[Path]) -> dict[int, np.ndarray]:
    """The picked places of each member."""
    sizes = [len(paths[index]) - paths[index].prompt + 1 for index in row.members]
    return dict(zip(row.members, np.split(row.picked, np.cumsum(sizes)[:-1]), strict=True))


@settings(max_examples=200, deadline=None)
@given(forests(), st.integers(1, 120), st.booleans())
def test_every_scored_token_sees_its_own_path_and_nothing_else(paths: list[Path], budget: int, carry: bool) -> None:
    rows = packed(paths, budget, carry)
    assert sorted(index for row in rows for index in row.members) == list(range(len(paths)))
    for row in rows:
        for index, picked in places_of(row, paths).items():
            own = paths[index]
            for place, length in zip(picked, range(own.prompt, len(own) + 1), strict=True):
                seen = seen_from(row, place)
                assert seen[-1] == place
                assert row.ids[seen].tolist() == own.ids[:length].tolist()
                assert row.planes[:, seen].tolist() == own.planes[:, :length].tolist()


@settings(max_examples=200, deadline=None)
@given(forests(), st.integers(1, 120), st.booleans())
def test_a_row_keeps_the_budget_unless_one_path_alone_is_longer(paths: list[Path], budget: int, carry: bool) -> None:
    for row in packed(paths, budget, carry):
        alone = len(row) == max(len(paths[index]) for index in row.members)
        assert len(row) <= budget or alone or len(row) - row.begin <= budget // 4


@settings(max_examples=100, deadline=None)
@given(forests())
def test_images_are_named_in_the_order_of_their_tokens(paths: list[Path]) -> None:
    (row,) = pack_rows(paths, 10_000)
    assert len(row.images) * 9 == int((row.ids == 7).sum())
    for at, image in enumerate(row.images):
        first = np.flatnonzero(row.ids == 7)[at * 9]
        owners = set()
        for index, picked in places_of(row, paths).items():
            seen = seen_from(row, picked[-1])
            if first in seen:
                owners.add(paths[index].images[sum(row.ids[place] == 7 for place in seen if place < first) // 9].id)
        assert owners == {image.id}


@settings(max_examples=200, deadline=None)
@given(forests(), st.integers(1, 120))
def test_a_stem_is_what_its_rows_begin_with_and_no_row_has_its_images_again(paths: list[Path], budget: int) -> None:
    rows = packed(paths, budget, carry=True)
    stems = list({id(row.stem): row.stem for row in rows if row.stem is not None}.values())
    for row in rows:
        if row.stem is None:
            assert row.begin == 0
            continue
        assert row.begin == len(row.stem) == row.stops[0]
        assert row.ids[: row.begin].tolist() == row.stem.ids.tolist()
        assert row.planes[:, : row.begin].tolist() == row.stem.planes.tolist()
    # 7 stands for a ninth of an image
    for some in (*stems, *rows):
        begin = some.begin if isinstance(some, Row) else 0
        assert 9 * len(some.images) == int((some.ids[begin:] == 7).sum())
    computed = sum(len(row) - row.begin for row in rows) + sum(map(len, stems))
    assert computed <= sum(map(len, pack_rows(paths, budget)))
    numbers = [id(row.stem) for row in rows if row.stem is not None]
    assert len(list(groupby(numbers))) == len(stems)  # one after the other


def test_what_is_shared_is_computed_once() -> None:
    prompt = list(range(1, 21))
    answers = [[30 + k] * 5 for k in range(4)]
    (row,) = pack_rows([path(prompt + answer, 20) for answer in answers], 1000)
    assert len(row) == 20 + 4 * 5
    assert row.parents.tolist() == [-1, 0, 0, 0, 0]
    assert row.ends.tolist() == [40, 25, 30, 35, 40]


def test_questions_about_one_image_share_it_and_answers_share_their_question() -> None:
    image, marks = [7] * 50, [1] * 50
    paths = [
        path([*image, *[20 + q] * 10, *[40 + 8 * q + a] * 6], 60, "i-1", [*marks, *[0] * 16])
        for a in range(8)
        for q in range(4)
    ]
    (row,) = pack_rows(paths, 1000)
    assert len(row) == 50 + 4 * 10 + 32 * 6
    assert len(row.images) == 1 and sorted(np.unique(row.parents, return_counts=True)[1]) == [1, 4, 8, 8, 8, 8]


def test_answers_that_begin_alike_share_their_beginning() -> None:
    prompt, words = list(range(1, 21)), [50] * 9
    paths = [path([*prompt, *words, 60 + k], 20) for k in range(3)] + [path([*prompt, 99], 20)]
    (row,) = pack_rows(paths, 1000)
    assert len(row) == 20 + 9 + 3 + 1


def test_equal_tokens_of_two_images_are_not_merged() -> None:
    one, other = (path([7] * 20 + [1, 2], 21, name, [1] * 20 + [0, 0]) for name in ("i-1", "i-2"))
    (row,) = pack_rows([one, other], 1000)
    assert len(row) == 44 and len(row.images) == 2
    (row,) = pack_rows([one, one], 1000)
    assert len(row) == 22 and row.picked.tolist() == [20, 21, 20, 21]


def test_a_first_image_is_shared_by_prompts_whose_second_is_another() -> None:
    marks = [*[1] * 20, *[2] * 20, 0, 0]
    paths = [path([7] * 40 + [1, 2], 41, f"i-1 {second}", marks) for second in ("i-2", "i-3", "i-1")]
    (row,) = pack_rows(paths, 1000)
    assert len(row) == 20 + 3 * 22
    assert sorted(image.id for image in row.images) == ["i-1", "i-1", "i-2", "i-3"]


def test_equal_tokens_at_other_positions_are_not_merged() -> None:
    one, other = path([7] * 30, 29), path([7] * 30, 29)
    moved = Path(other.ids, other.planes + (np.arange(30) > 14), other.numbers, (), 29)
    (row,) = pack_rows([one, moved], 1000)
    assert len(row) == 15 + 2 * 15


def test_an_earlier_turn_of_a_game_lies_inside_the_later_transcript() -> None:
    later = path(list(range(1, 41)), 30)
    earlier = path(list(range(1, 16)), 10)
    (row,) = pack_rows([earlier, later], 1000)
    assert len(row) == 40 and row.members == (0, 1)
    assert places_of(row, [earlier, later])[0].tolist() == [*range(9, 15)]


def test_a_trie_above_the_budget_is_cut_and_each_part_repeats_what_it_shares_or_names_its_stem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = list(range(1, 21))
    paths = [path([*prompt, *[30 + k] * 10], 20) for k in range(5)]
    rows = pack_rows(paths, 45)
    assert [len(row) for row in rows] == [40, 40, 30]
    assert [row.members for row in rows] == [(0, 1), (2, 3), (4,)]
    assert [row.stem for row in pack_rows(paths, 45, carry=True)] == [None] * 3  # 20 tokens are not worth a pass
    monkeypatch.setattr(trie, "_PASS", 0)
    carried = pack_rows(paths, 45, carry=True)
    assert [row.members for row in carried] == [(0, 1), (2, 3), (4,)]
    assert [len(row) - row.begin for row in carried] == [20, 20, 10]
    assert len({id(row.stem) for row in carried}) == 1 and carried[0].begin == 20


@pytest.mark.parametrize("preamble", [0, 3, 7, 15])
def test_first_words_that_all_prompts_share_leave_every_prompt_its_stem(preamble: int) -> None:
    """As a chat template has them: the prompts are one trie, but what is worth carrying is each prompt."""
    paths = [
        path([*[1] * preamble, 100 + p, *[2] * 99, *[200 + a] * 20], preamble + 100)
        for p, a in product(range(6), range(8))
    ]
    rows = pack_rows(paths, 180, carry=True)
    stems = {id(row.stem): row.stem for row in rows}
    assert sorted(len(stem) for stem in stems.values() if stem is not None) == [100 + preamble] * 6
    computed = sum(len(row) - row.begin for row in rows) + 6 * (100 + preamble)
    assert computed == 6 * (100 + preamble) + 48 * 20
    assert sum(map(len, pack_rows(paths, 180))) > 1.3 * computed


def test_neighbours_that_fit_stay_together_behind_a_short_beginning() -> None:
    paths = [path([*[1] * 8, 100 + p, *[2] * 9, *[200 + a] * 4], 18) for p, a in product(range(12), range(3))]
    rows = pack_rows(paths, 120, carry=True)
    assert all(row.stem is None for row in rows)
    assert len(rows) == 3 and sum(map(len, rows)) == 3 * 8 + 12 * (10 + 3 * 4)


def test_a_trie_within_the_budget_has_no_stem() -> None:
    paths = [path([*range(1, 21), *[30 + k] * 10], 20) for k in range(5)]
    assert [row.stem for row in pack_rows(paths, 70, carry=True)] == [None]


def test_spans_not_worth_a_branch_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [path([1, 2, 3, *[10 + k] * 4], 3) for k in range(2)]
    assert len(pack_rows(paths, 1000)[0]) == 14
    monkeypatch.setattr(trie, "_WORTH", 1)
    assert len(pack_rows(paths, 1000)[0]) == 11
