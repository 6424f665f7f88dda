"""What the starter reads: careful authors are right and show why, careless ones err as often as they should."""

import re
from dataclasses import replace

import numpy as np
import pytest

from selfsight.images.source import ImageRef
from selfsight.images.views import BlankView
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.grammar import Described, Query, read
from selfsight.images.worlds.scene import Chart, Scene, Thing
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.images.worlds.truth import truth
from selfsight.language.parse import last_box
from selfsight.language.prompts import get_pack
from selfsight.methods.vision_zero import read_clue, read_vote
from selfsight.starter.corpus import (
    BLANK_PAGES,
    CAREFUL,
    MIXTURE,
    Page,
    Segment,
    boxed,
    cell,
    describe,
    guess,
    page,
    working,
)  # fmt: skip

from .tables import is_game, read_request

PACK = get_pack("compact")
IMAGE = ImageRef("i-0", "test")
JUDGE = PACK.supervisor(IMAGE, "Is it red?").user.removesuffix("Is it red?")
SCENE = Scene(4, 4, (
    Thing("circle", "red", "small", 0, 0), Thing("star", "blue", "large", 0, 3), Thing("circle", "red", "large", 2, 1),
))  # fmt: skip
PIE = Chart("pie", ("yellow", "red", "blue"), (50, 20, 30))


def picture(index: int, seed: int = 0) -> Scene | Chart:
    return sample_picture("mixed", picture_rng("mixed", "build", seed, index))


@pytest.fixture(scope="module")
def careful() -> list[Page]:
    return [page(i, seed=0, authors=CAREFUL) for i in range(300)]


@pytest.fixture(scope="module")
def mixed() -> list[Page]:
    return [page(i, seed=0, authors=MIXTURE) for i in range(600)]


def is_blank(one: Page) -> bool:
    return one.image.getextrema() == ((255, 255),) * 3


def drawn(pages: list[Page]) -> list[tuple[Page, Scene | Chart]]:
    """The pages that show something, with what they show."""
    return [(one, picture(i)) for i, one in enumerate(pages) if not is_blank(one)]


def game_turns(pages: list[Page], votes: bool) -> list[Segment]:
    return [s for one in pages for s in one.segments if is_game(s.user) and read_request(s.user).votes is votes]


def answers(pages: list[Page]) -> list[tuple[Segment, Scene | Chart]]:
    """The segments that answer a question, with the picture they are about."""
    asked = [
        (segment, about)
        for one, about in drawn(pages)
        for segment in one.segments
        if segment.user not in (PACK.describer_user, PACK.questioner_user)
        and not segment.user.startswith(JUDGE)
        and not is_game(segment.user)
    ]
    assert len(asked) > 4.5 * len(pages)
    return asked


# --- pages ---------------------------------------------------------------------------------------------------------


def test_a_page_is_a_function_of_its_arguments() -> None:
    one, again = (page(7, seed=3, authors=MIXTURE) for _ in range(2))
    assert one.segments == again.segments and one.image.tobytes() == again.image.tobytes()
    for other in (page(8, seed=3, authors=MIXTURE), page(7, seed=4, authors=MIXTURE)):
        assert other.segments != one.segments and other.image.tobytes() != one.image.tobytes()


def test_authors_write_about_the_same_pictures() -> None:
    assert page(5, seed=0, authors=CAREFUL).image.tobytes() == page(5, seed=0, authors=MIXTURE).image.tobytes()
    assert page(5, seed=0, authors=CAREFUL, size=224).image.size == (224, 224)


def test_a_page_has_a_description_first_a_question_and_as_many_segments_as_asked_for(careful: list[Page]) -> None:
    assert {len(one.segments) for one in careful} == {9}
    for one, about in drawn(careful):
        assert one.segments[0] == Segment("Describe the image.", describe(about))
        assert one.segments[1].user == PACK.questioner_user
    assert [len(page(3, seed=0, authors=CAREFUL, segments=n).segments) for n in (1, 3, 5)] == [1, 3, 5]


@pytest.mark.parametrize("authors", [CAREFUL, MIXTURE])
def test_every_turn_is_worded_as_in_use(authors: object, request: pytest.FixtureRequest) -> None:
    """Prompts of training and of use come from one place: a word's difference would cost accuracy silently."""
    seen = set()
    for one in request.getfixturevalue("careful" if authors is CAREFUL else "mixed"):
        for segment in one.segments:
            if segment.user in (PACK.questioner(IMAGE).user, PACK.describer(IMAGE).user):
                seen.add(segment.user)
                continue
            if is_game(segment.user):
                seen.add("vote" if read_request(segment.user).votes else "clue")
                continue  # test_starter_games.py has what they are asked
            question = segment.user.removeprefix(JUDGE)
            prompt = PACK.reasoner if question == segment.user else PACK.supervisor
            assert segment.user == prompt(IMAGE, question).user
            assert PACK.read_question(question).text == question and read(question) is not None
            seen.add(prompt.__name__)
    assert seen == {PACK.questioner_user, PACK.describer_user, "supervisor", "reasoner", "clue", "vote"}


# --- games and blank pages -----------------------------------------------------------------------------------------


def test_pages_hold_clues_and_votes_in_their_shares(mixed: list[Page]) -> None:
    """Beside a clue and a vote at most there is room for questions on every page."""
    kinds = [[read_request(s.user).votes for s in one.segments if is_game(s.user)] for one, _ in drawn(mixed)]
    assert all(kind in ([], [False], [True], [False, True]) for kind in kinds)
    assert np.mean([False in kind for kind in kinds]) == pytest.approx(0.6, abs=0.07)
    assert np.mean([True in kind for kind in kinds]) == pytest.approx(0.6, abs=0.07)


def test_votes_on_pages_are_as_careless_as_their_authors(careful: list[Page], mixed: list[Page]) -> None:
    def bare(pages: list[Page]) -> float:
        votes = [segment.completion for segment in game_turns(pages, votes=True)]
        assert len(votes) > 100
        return float(np.mean([vote == boxed(last_box(vote) or "") for vote in votes]))

    assert bare(careful) == 0.0
    assert bare(mixed) == pytest.approx(MIXTURE.players.careless_votes, abs=0.08)


def test_one_page_in_twenty_is_blank_whoever_writes_and_none_of_the_stage_of_descriptions(
    careful: list[Page], mixed: list[Page]
) -> None:
    blank = [is_blank(one) for one in mixed]
    assert BLANK_PAGES == 0.05 and np.mean(blank) == pytest.approx(BLANK_PAGES, abs=0.025)
    assert [is_blank(one) for one in careful] == blank[: len(careful)]
    for i in np.flatnonzero(blank):
        assert not is_blank(page(int(i), seed=0, authors=CAREFUL, segments=1))
        assert page(int(i), seed=0, authors=CAREFUL, segments=1).segments[0].completion == describe(picture(int(i)))


def test_a_blank_page_shows_what_a_blank_spy_sees(mixed: list[Page]) -> None:
    source = BlankView(WorldSource("mixed", seed=0, split="build"))
    index = next(i for i, one in enumerate(mixed) if is_blank(one))
    (ref,) = source.take(index, 1)
    seen = source.open(source.spy_view(ref))
    assert (seen.mode, seen.size) == (mixed[index].image.mode, mixed[index].image.size)
    assert seen.tobytes() == mixed[index].image.tobytes()
    assert page(index, seed=0, authors=CAREFUL, size=224).image.size == (224, 224)


@pytest.mark.parametrize("authors", [CAREFUL, MIXTURE])
def test_on_a_blank_page_there_is_nothing_and_the_spy_still_has_something_to_say(
    authors: object, request: pytest.FixtureRequest
) -> None:
    pages = [one for one in request.getfixturevalue("careful" if authors is CAREFUL else "mixed") if is_blank(one)]
    assert len(pages) > 8
    for one in pages:
        nothing, *clues = one.segments
        assert nothing == Segment(PACK.describer_user, "nothing.") and len(clues) == 8
        for segment in clues:
            table = read_request(segment.user)
            assert (table.view, table.is_spy, table.votes) == ("blank", True, False)
            assert read_clue(segment.completion, table.heard).valid
    requests = [segment.user for one in pages for segment in one.segments[1:]]
    assert len(set(requests)) > 0.6 * len(requests)  # one game after the other; many have no clue yet


def test_what_players_write_on_pages_is_read_by_the_game(mixed: list[Page]) -> None:
    for segment in game_turns(mixed, votes=False):
        clue = read_clue(segment.completion)
        assert segment.completion == f"{clue.note} {boxed(clue.text)}".strip()
    for segment in game_turns(mixed, votes=True):
        table = read_request(segment.user)
        assert read_vote(segment.completion, players=table.players, voter=table.seat).kind != "invalid"


# --- careful authors -----------------------------------------------------------------------------------------------


def test_careful_authors_box_the_truth_after_their_working(careful: list[Page]) -> None:
    for segment, about in answers(careful):
        reading = PACK.read_answer(segment.completion)
        assert reading.text == truth(segment.user, about).answer
        note, box = segment.completion.rsplit(" ", 1)
        assert box == boxed(reading.text) and note.endswith(".") and len(note) > 4


def test_careful_notes_name_the_cells_and_values_that_are_there(careful: list[Page]) -> None:
    """Every note of every working is checked against the picture, not only its conclusion."""
    cells = sums = 0
    for segment, about in answers(careful):
        if isinstance(about, Chart):
            shown = dict(zip(about.colours, about.values, strict=True))
            noted = re.findall(r"\b([a-z]+) (\d+)", segment.completion)
            assert noted and all(shown[colour] == int(value) for colour, value in noted if colour in shown)
        else:
            for group, places in re.findall(r"([a-z ]+): ((?:[a-d][1-4] ?)+|none)", segment.completion):
                wanted = set(group.split()) - {"object"}
                found = [f"{'abcd'[t.col]}{t.row + 1}" for t in about.things if wanted <= {t.size, t.colour, t.shape}]
                assert places.split() == (found or ["none"])
                cells += 1
        for left, sign, right, result in re.findall(r"(\d+) ([+-]) (\d+) = (-?\d+)", segment.completion):
            assert int(result) == (int(left) + int(right) if sign == "+" else int(left) - int(right)) >= 0
            assert segment.completion.endswith(boxed(result))
            sums += 1
    assert cells > 1000 and sums > 100


def test_careful_authors_ask_what_can_be_answered_and_judge_truly(careful: list[Page]) -> None:
    verdicts = []
    for one, about in drawn(careful):
        for segment in one.segments:
            if segment.user == PACK.questioner_user:
                assert truth(segment.completion, about).well_posed
                assert PACK.read_question(segment.completion).text == segment.completion
            elif segment.user.startswith(JUDGE):
                well_posed = truth(segment.user.removeprefix(JUDGE), about).well_posed
                assert PACK.read_verdict(segment.completion) is well_posed
                verdicts.append(well_posed)
    assert 0.5 < np.mean(verdicts) < 0.85  # both verdicts are there to be learned


@pytest.mark.parametrize(
    ("query", "about", "note"),
    [
        (Query("exists", Described(colour="green")), SCENE, "green object: none."),
        (Query("attribute", Described(shape="star"), word="colour"), SCENE, "star: d1."),
        (Query("count", Described(colour="red", shape="circle")), SCENE, "red circle: a1 b3, so 2."),
        (
            Query("more", Described(shape="circle"), Described(shape="star")), SCENE,
            "circle: a1 b3, star: d1, so 2 against 1.",
        ),
        (
            Query("relation", Described(shape="star"), Described("large", "red"), "above"), SCENE,
            "star: d1, large red object: b3.",
        ),
        (
            Query("total", Described(shape="circle"), Described(shape="star")), SCENE,
            "circle: a1 b3, star: d1, so 2 + 1 = 3.",
        ),
        (
            Query("difference", Described(shape="circle"), Described(shape="square")), SCENE,
            "circle: a1 b3, square: none, so 2 - 0 = 2.",
        ),
        (Query("value", colours=("red",), mark="slice"), PIE, "red 20."),
        (Query("greater", colours=("red", "blue"), mark="slice"), PIE, "red 20, blue 30."),
        (Query("extreme", word="largest", mark="slice"), PIE, "yellow 50, red 20, blue 30."),
        (Query("sum", colours=("red", "blue"), mark="slice"), PIE, "red 20, blue 30, so 30 + 20 = 50."),
        (Query("gap", colours=("red", "blue"), mark="slice"), PIE, "red 20, blue 30, so 30 - 20 = 10."),
    ],
)  # fmt: skip
def test_working_is_what_a_careful_reader_would_note(query: Query, about: Scene | Chart, note: str) -> None:
    assert working(query, about) == note


def test_a_description_names_everything_in_reading_order() -> None:
    assert describe(SCENE) == "a1 small red circle, d1 large blue star, b3 large red circle."
    assert describe(PIE) == "a pie chart: yellow 50, red 20, blue 30."
    assert [cell(0, 0), cell(3, 0), cell(0, 3), cell(2, 1)] == ["a1", "a4", "d1", "b3"]


# --- careless authors ----------------------------------------------------------------------------------------------


def test_careless_authors_answer_without_working_and_guess_half_of_the_time(mixed: list[Page]) -> None:
    bare, guessed_wrong = [], []
    for segment, about in answers(mixed):
        is_bare = segment.completion == boxed(last_box(segment.completion) or "")
        correct = last_box(segment.completion) == truth(segment.user, about).answer
        bare.append(is_bare)
        assert correct or is_bare  # who shows working is right
        if is_bare:
            guessed_wrong.append(not correct)
    assert np.mean(bare) == pytest.approx(MIXTURE.careless, abs=0.03)
    # Half of the careless answers are guesses, and most guesses are wrong.
    assert 0.5 * MIXTURE.guessing < np.mean(guessed_wrong) < MIXTURE.guessing


def test_the_share_of_guesses_is_the_one_that_is_set() -> None:
    def wrong(guessing: float) -> float:
        pages = [page(i, seed=1, authors=replace(MIXTURE, careless=1.0, guessing=guessing)) for i in range(120)]
        asked = [(s, picture(i, 1)) for i, one in enumerate(pages) for s in one.segments if "\\boxed" in s.completion]
        asked = [(s, p) for s, p in asked if not s.user.startswith(JUDGE) and not is_game(s.user)]
        return float(np.mean([last_box(s.completion) != truth(s.user, p).answer for s, p in asked]))

    none, half, all_of_them = wrong(0.0), wrong(0.5), wrong(1.0)
    assert none == 0.0
    assert half == pytest.approx(all_of_them / 2, abs=0.06)
    assert 0.5 < all_of_them < 0.85


def test_only_careless_authors_ask_what_has_no_answer_and_seldom() -> None:
    careless = replace(CAREFUL, careless_questions=1.0)
    pages = [page(i, seed=0, authors=careless, segments=3) for i in range(600)]
    ill_posed = [not truth(one.segments[1].completion, about).well_posed for one, about in drawn(pages)]
    assert 0.0 < np.mean(ill_posed) < 0.15


def test_careless_judges_err_on_the_kind_side(mixed: list[Page]) -> None:
    lenient = strict = 0
    for one, about in drawn(mixed):
        for segment in one.segments:
            if segment.user.startswith(JUDGE):
                said = PACK.read_verdict(segment.completion)
                well_posed = truth(segment.user.removeprefix(JUDGE), about).well_posed
                lenient += said is True and not well_posed
                strict += said is False and well_posed
    assert lenient > 10 and strict == 0


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        (Query("exists", Described()), r"yes|no"),
        (Query("greater", colours=("red", "blue"), mark="bar"), r"yes|no"),
        (Query("attribute", Described(), word="colour"), r"red|green|blue|yellow|purple|orange"),
        (Query("attribute", Described(), word="shape"), r"circle|square|triangle|star|diamond"),
        (Query("attribute", Described(), word="size"), r"small|large"),
        (Query("extreme", word="largest", mark="slice"), r"red|green|blue|yellow|purple|orange"),
        (Query("value", colours=("red",), mark="slice"), r"[1-9]0"),
        (Query("sum", colours=("red", "blue"), mark="row"), r"[1-9]"),
        (Query("count", Described()), r"[1-5]"),
    ],
)
def test_a_guess_is_of_the_right_kind_and_not_always_the_same(query: Query, kind: str) -> None:
    guesses = {guess(query, np.random.default_rng(seed)) for seed in range(80)}
    assert all(re.fullmatch(kind, one) for one in guesses)
    assert len(guesses) >= 2
