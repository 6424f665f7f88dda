"""Players of "Who is the spy" in the corpus: the careful see what is there, the careless err as often as they should.

What a player was asked and wrote is read back by the game's own readers and played in a real game (tables.py).
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from selfsight.images.worlds.grammar import MARKS, Described
from selfsight.images.worlds.scene import Chart, Picture, Scene, Thing
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.images.worlds.statements import assert_that, holds, read_statement
from selfsight.language.game_prompts import PublicClue
from selfsight.language.parse import last_box
from selfsight.methods.vision_zero import read_clue, read_vote
from selfsight.methods.vision_zero.clues import PLACEHOLDER
from selfsight.starter import games
from selfsight.starter.games import (
    Game,
    Players,
    clue,
    clue_turn,
    sample_game,
    vote_turn,
)

from .tables import Table, in_use, read_request

VIEWS = ("blank", "modified", "degraded")
SCENE = Scene(4, 4, (
    Thing("circle", "red", "small", 0, 0), Thing("star", "blue", "large", 0, 3), Thing("circle", "red", "large", 2, 1),
))  # fmt: skip
PIE = Chart("pie", ("yellow", "red", "blue"), (50, 20, 30))
# The game refuses none of their clues; those that it does refuse are in a section of their own.
CAREFUL_PLAYERS = replace(games.CAREFUL_PLAYERS, refused=0.0)
CARELESS_PLAYERS = replace(games.CARELESS_PLAYERS, refused=0.0)
WHO = pytest.mark.parametrize("players", [CAREFUL_PLAYERS, CARELESS_PLAYERS], ids=["careful", "careless"])

Written = tuple[Picture, Table, str]  # the picture, the table, and what somebody there wrote


def pictures(count: int, seed: int) -> list[tuple[Picture, np.random.Generator]]:
    generators = [picture_rng("mixed", "build", seed, index) for index in range(count)]
    return [(sample_picture("mixed", rng), rng) for rng in generators]


def clues(players: Players, count: int, seed: int) -> list[Written]:
    found = []
    for about, rng in pictures(count, seed):
        asked, completion = clue_turn(about, players, rng)
        found.append((about, read_request(asked), completion))
    return found


def votes(players: Players, count: int, seed: int) -> list[Written]:
    found = []
    for about, rng in pictures(count, seed):
        asked, completion = vote_turn(about, players, rng)
        found.append((about, read_request(asked), completion))
    return found


@pytest.fixture(scope="module")
def careful_clues() -> list[Written]:
    return clues(CAREFUL_PLAYERS, 450, seed=2)


@pytest.fixture(scope="module")
def careless_clues() -> list[Written]:
    return clues(CARELESS_PLAYERS, 450, seed=2)


@pytest.fixture(scope="module")
def careless_votes() -> list[Written]:
    return votes(CARELESS_PLAYERS, 450, seed=2)


def true_of(text: str, about: Picture) -> bool:
    statement = read_statement(text)
    if text == PLACEHOLDER:  # by somebody at a loss
        return False
    assert statement is not None, text
    return holds(statement, about)


# --- what players are asked ----------------------------------------------------------------------------------------


@WHO
def test_requests_are_those_of_the_real_game_word_for_word(players: Players) -> None:
    """The clues at the table are given in a real game, read there, and the same player is asked."""
    seen = set()
    for about, rng in pictures(150, seed=1):
        for asked, _ in (clue_turn(about, players, rng), clue_turn(None, players, rng), vote_turn(about, players, rng)):
            table = read_request(asked)
            assert in_use(table) == asked
            seen.add((table.votes, table.view, table.is_spy, table.seat is None))
    as_citizen = {(votes, view, False, False) for view in VIEWS for votes in (True, False)}
    as_spy = {(False, view, True, False) for view in ("blank", "modified")}
    assert seen == as_citizen | as_spy | {(True, view, False, True) for view in VIEWS}


def test_a_vote_is_asked_for_after_whole_rounds_and_a_clue_of_the_player_whose_turn_it_is(
    careless_clues: list[Written], careless_votes: list[Written]
) -> None:
    shapes, turns = Counter(), Counter()
    for _, table, _ in careless_votes:
        rounds, rest = divmod(len(table.clues), table.players)
        assert rest == 0 and [seat for seat, _ in table.clues] == [*range(1, table.players + 1)] * rounds
        shapes[table.players, rounds] += 1
    for _, table, _ in careless_clues:
        rounds, before = divmod(len(table.clues), table.players)
        assert table.seat == before + 1
        turns[table.players, rounds, table.seat] += 1
    assert set(shapes) == {(players, rounds) for players in (3, 4, 5) for rounds in (1, 2)}
    assert set(turns) == {(n, rounds, seat) for n in (3, 4, 5) for rounds in (0, 1) for seat in range(1, n + 1)}


def test_views_and_roles_occur_in_their_shares(careless_clues: list[Written], careless_votes: list[Written]) -> None:
    """Most games are about blank spies, as the recipe's are; a spy who sees a whole picture sees a twin."""
    asked = [table for _, table, _ in careless_clues]
    citizens = [table.view for table in asked if not table.is_spy]
    spies = [table.view for table in asked if table.is_spy]
    assert len(citizens) / len(asked) == pytest.approx(0.85, abs=0.05)
    assert np.mean([table.seat is None for _, table, _ in careless_votes]) == pytest.approx(0.75, abs=0.06)
    for views in (citizens, [table.view for _, table, _ in careless_votes]):
        for view, share in zip(VIEWS, (0.6, 0.25, 0.15), strict=True):
            assert np.mean([one == view for one in views]) == pytest.approx(share, abs=0.08)
    assert set(spies) == {"modified"}


def test_every_draw_is_a_function_of_the_generator() -> None:
    def everything(seed: int) -> list[object]:
        rng = np.random.default_rng(seed)
        game = sample_game(SCENE, "modified", CARELESS_PLAYERS, rng)
        turns = [clue_turn(SCENE, CARELESS_PLAYERS, rng), clue_turn(None, CARELESS_PLAYERS, rng)]
        return [game, *turns, vote_turn(SCENE, CARELESS_PLAYERS, rng), rng.random()]

    for seed in range(10):
        assert everything(seed) == everything(seed)
    assert len({str(everything(seed)) for seed in range(10)}) == 10


# --- clues ---------------------------------------------------------------------------------------------------------


@WHO
def test_every_clue_is_heard_by_the_others_as_it_was_written(
    players: Players, careful_clues: list[Written], careless_clues: list[Written]
) -> None:
    """The game's reader refuses none of them: no repetition, no speaker, no markup."""
    seeing = careful_clues if players == CAREFUL_PLAYERS else careless_clues
    blank = [clue_turn(None, players, np.random.default_rng(seed)) for seed in range(250)]
    written = [(table.heard, completion) for _, table, completion in seeing]
    written += [(read_request(asked).heard, completion) for asked, completion in blank]
    for heard, completion in written:
        reading = read_clue(completion, heard)
        assert completion == f"{reading.note}{' ' if reading.note else ''}\\boxed{{{reading.text}}}"
        assert reading.valid
        assert read_statement(reading.text) is not None
    for about, rng in pictures(80, seed=4):
        said = [one.text for one in sample_game(about, "blank", players, rng).public.clues]
        assert len(set(said)) == len(said)


@pytest.mark.parametrize("view", VIEWS)
def test_clues_of_careful_citizens_hold(view: str) -> None:
    checked = 0
    for about, rng in pictures(80, seed=5):
        game = sample_game(about, view, CAREFUL_PLAYERS, rng)
        for said in game.public.clues:
            if said.seat != game.spy and said.text != PLACEHOLDER:
                assert true_of(said.text, about)
                checked += 1
    assert checked > 250


def test_careful_players_with_a_picture_say_what_holds_of_their_own(careful_clues: list[Written]) -> None:
    """Citizens of theirs, and spies of their twin: what they do not share they do not know."""
    spies = 0
    for about, table, completion in careful_clues:
        said = last_box(completion) or ""
        assert true_of(said, about)
        spies += table.is_spy
    assert spies > 40


def test_careful_clues_tell_something(careful_clues: list[Written]) -> None:
    """They mostly name two attributes of a thing, or a value: not what is in every other picture."""
    kinds, named = Counter(), []
    for _, _, completion in careful_clues:
        said = read_statement(last_box(completion) or "")
        assert said is not None
        kinds[said.query.kind] += 1
        if said.query.kind == "exists" and said.claim == "yes":
            a = said.query.a
            assert a is not None
            named.append(3 - (a.size, a.colour, a.shape).count(None))
    assert set(kinds) == {"exists", "value", "extreme", "greater"}
    assert min(kinds.values()) > 5
    assert min(named) == 1 and np.mean([count >= 2 for count in named]) > 0.75


def test_who_looks_notes_first_what_the_clue_then_tells_of(careful_clues: list[Written]) -> None:
    """A thing with its place and all its attributes, or a chart's values, truly and at the table unheard."""
    kinds = Counter()
    for about, table, completion in careful_clues:
        reading = read_clue(completion, table.heard)
        said = read_statement(reading.text)
        assert said is not None
        kinds[said.query.kind] += 1
        if said.claim in ("no", "none"):
            assert reading.note == ""
        elif isinstance(about, Scene):
            fitting = [thing for thing in about.things if said.query.a is not None and said.query.a.matches(thing)]
            assert reading.note in [
                f"{'abcdefgh'[thing.col]}{thing.row + 1} {thing.size} {thing.colour} {thing.shape}."
                for thing in fitting
            ]
        else:
            seen = said.query.colours or about.colours
            assert reading.note == ", ".join(f"{colour} {about.value(colour)}" for colour in seen) + "."
    assert kinds["exists"] > 100 and kinds["value"] > 50


def test_who_makes_something_up_notes_nothing() -> None:
    players = replace(CAREFUL_PLAYERS, careless_citizens=1.0, careless_spies=1.0)
    turns = [clue_turn(about, players, rng) for about, rng in pictures(60, seed=6)]
    turns += [clue_turn(None, players, np.random.default_rng(seed)) for seed in range(60)]
    assert all(completion.startswith("\\boxed{") for _, completion in turns)


@WHO
def test_a_spy_with_a_blank_picture_speaks_of_what_is_spoken_of(players: Players) -> None:
    """Once a citizen has told it: of things or of a chart, and of a chart's bars, points, slices or rows."""
    checked = Counter()
    for seed in range(250):
        asked, completion = clue_turn(None, players, np.random.default_rng(seed))
        table, said = read_request(asked), read_statement(last_box(completion) or "")
        assert said is not None and table.is_spy
        if table.clues and table.clues[0][0] != table.seat:
            told = read_statement(table.heard[0])
            assert told is not None and said.query.mark == told.query.mark
            checked[said.query.mark] += 1
    assert set(checked) == {None, *MARKS.values()}


def test_a_careful_spy_with_a_blank_picture_mostly_says_again_what_it_heard_in_less_detail() -> None:
    vaguer = []
    for seed in range(250):
        asked, completion = clue_turn(None, CAREFUL_PLAYERS, np.random.default_rng(seed))
        said = read_statement(last_box(completion) or "")
        told = [
            statement.query.a for text in read_request(asked).heard if (statement := read_statement(text)) is not None
        ]
        things = [a for a in told if a is not None]
        if things and said is not None:
            claimed = words(said.query.a or Described())
            vaguer.append(said.query.kind == "exists" and any(claimed <= words(a) for a in things))
    assert len(vaguer) > 60
    assert 0.6 < np.mean(vaguer) < 0.97  # sometimes it makes something up: repeating all the time is conspicuous


def words(described: Described) -> set[str]:
    return set(described.singular.split()) - {"object"}


@pytest.mark.parametrize("role", ["citizens", "spies"])
def test_the_share_of_clues_that_are_made_up_is_the_one_that_is_set(role: str) -> None:
    """What is made up may be true, so false clues are in proportion. Degraded spies: all see one picture."""

    def false(share: float) -> float:
        players = replace(CAREFUL_PLAYERS, **{f"careless_{role}": share})
        found = []
        for about, rng in pictures(150, seed=8):
            game = sample_game(about, "degraded", players, rng)
            said = [one.text for one in game.public.clues if (one.seat == game.spy) == (role == "spies")]
            found += [not true_of(text, about) for text in said if text != PLACEHOLDER]
        return float(np.mean(found))

    none, half, all_of_them = false(0.0), false(0.5), false(1.0)
    assert none == 0.0
    assert half == pytest.approx(all_of_them / 2, abs=0.09)
    assert 0.6 < all_of_them < 0.95


def test_who_writes_the_clue_of_a_turn_is_careless_as_often_as_its_role() -> None:
    reckless = Players(careless_citizens=0.0, careless_spies=1.0, careless_votes=0.0, guessing=0.0)
    false: dict[bool, list[bool]] = {True: [], False: []}
    for about, table, completion in clues(reckless, 400, seed=9):
        said = last_box(completion) or ""
        false[table.is_spy].append(not true_of(said, about))
    assert np.mean(false[False]) == 0.0
    assert 0.6 < np.mean(false[True]) < 0.95


# --- votes ---------------------------------------------------------------------------------------------------------


def seen(text: str, about: Picture) -> str:
    """Where a clue points: the cells of things, the values of a chart's colours, the colours that are the extreme."""
    said = read_statement(text)
    if text == PLACEHOLDER:  # by somebody at a loss
        return "none"
    assert said is not None
    query = said.query
    if isinstance(about, Chart):
        shown = dict(zip(about.colours, about.values, strict=True))
        if query.mark != {"bar": "bar", "line": "point", "pie": "slice", "table": "row"}[about.kind]:
            return "none"
        if query.kind != "extreme":
            return " ".join(str(shown.get(colour, "none")) for colour in query.colours)
        best = sorted(shown.values())[-1 if query.word == "largest" else 0]
        return " ".join(colour for colour in shown if shown[colour] == best)
    cells = []
    for described in (query.a, query.b):
        if described is not None:
            found = [t for t in about.things if words(described) <= {t.size, t.colour, t.shape}]
            cells += [f"{'abcd'[t.col]}{t.row + 1}" for t in found] or ["none"]
    return " ".join(cells) or "none"


@pytest.mark.parametrize("spies", [0.0, 1.0], ids=["careful spies", "careless spies"])
def test_a_careful_vote_notes_every_clue_with_what_is_seen_and_whether_it_holds(spies: float) -> None:
    players = replace(CAREFUL_PLAYERS, careless_spies=spies, careless_citizens=0.2)
    verdicts = Counter()
    for about, table, completion in votes(players, 250, seed=10):
        working, _, box = completion.rpartition(". ")
        assert box.startswith("\\boxed{")
        expected = [(seat, seen(text, about), true_of(text, about)) for seat, text in table.clues]
        assert working.split(", ") == [f"{seat} {at} {'yes' if true else 'no'}" for seat, at, true in expected]
        verdicts.update(
            (type(about), at == "none", true)
            for (_, at, true), (_, text) in zip(expected, table.clues, strict=True)
            if not text.startswith("There is no ")
        )
    for kind in (Scene, Chart):
        assert verdicts[kind, False, True] > 100
        assert verdicts[kind, True, False] > 5 and not verdicts[kind, True, True]
    assert verdicts[Chart, False, False] > 20  # a colour that is there, with another value
    assert not verdicts[Scene, False, False]  # of a thing nothing is said but that it is there


def false_clues(about: Picture, table: Table) -> dict[int, int]:
    """How many clues of each other player do not hold."""
    wrong = Counter(seat for seat, text in table.clues if not true_of(text, about))
    return {seat: wrong[seat] for seat in range(1, table.players + 1) if seat != table.seat}


def test_careful_voters_box_a_player_with_most_false_clues_and_nobody_when_all_hold() -> None:
    """And never themselves, even where they alone said what does not hold. Read by the game's own reader."""
    players = replace(CAREFUL_PLAYERS, careless_spies=0.5, careless_citizens=0.2)
    kinds, first_of_two = Counter(), []
    for about, table, completion in votes(players, 700, seed=11):
        vote, wrong = read_vote(completion, players=table.players, voter=table.seat), false_clues(about, table)
        most = [seat for seat, count in wrong.items() if count == max(wrong.values())]
        kinds[vote.kind] += 1
        if max(wrong.values()) == 0:
            assert vote.kind == "abstention"
        else:
            assert vote.kind == "accusation" and vote.seat in most and vote.seat != table.seat
            if len(most) == 2:
                first_of_two.append(vote.seat == most[0])
    assert kinds["abstention"] > 70 and kinds["accusation"] > 400
    assert len(first_of_two) > 100 and 0.35 < np.mean(first_of_two) < 0.65


def test_a_player_that_alone_said_something_false_does_not_vote_for_itself() -> None:
    players = replace(CAREFUL_PLAYERS, careless_citizens=0.3)
    alone = [
        (table, completion)
        for about, table, completion in votes(players, 700, seed=12)
        if table.seat is not None
        and not any(false_clues(about, table).values())
        and not all(true_of(text, about) for seat, text in table.clues if seat == table.seat)
    ]
    assert len(alone) > 3
    for table, completion in alone:
        assert f"{table.seat} " in completion and " no" in completion and completion.endswith("\\boxed{n/a}")


def test_every_vote_is_read_as_what_was_meant(careless_votes: list[Written]) -> None:
    for _, table, completion in [*careless_votes, *votes(CAREFUL_PLAYERS, 150, seed=13)]:
        boxed = last_box(completion)
        vote = read_vote(completion, players=table.players, voter=table.seat)
        assert boxed == ("n/a" if vote.kind == "abstention" else f"Player {vote.seat}")
        assert vote.kind != "invalid"


def test_the_share_of_votes_without_working_is_the_one_that_is_set() -> None:
    def bare(share: float, count: int) -> float:
        found = votes(replace(CARELESS_PLAYERS, careless_votes=share), count, seed=14)
        return float(np.mean([completion == f"\\boxed{{{last_box(completion)}}}" for _, _, completion in found]))

    assert (bare(0.0, 80), bare(1.0, 80)) == (0.0, 1.0)
    assert bare(0.85, 300) == pytest.approx(0.85, abs=0.07)
    assert bare(0.3, 300) == pytest.approx(0.3, abs=0.09)


def test_the_share_of_those_that_guess_is_the_one_that_is_set() -> None:
    """Where all clues hold, only a guess accuses anybody. Spies see what citizens see, so that all do."""

    def guesses(share: float, count: int) -> float:
        found = votes(replace(CAREFUL_PLAYERS, careless_votes=1.0, guessing=share), count, seed=15)
        honest = [vote for about, table, vote in found if not any(false_clues(about, table).values())]
        assert len(honest) > count / 4
        return float(np.mean([vote != "\\boxed{n/a}" for vote in honest]))

    assert (guesses(0.0, 100), guesses(1.0, 100)) == (0.0, 1.0)
    assert guesses(0.9, 400) == pytest.approx(0.9, abs=0.08)
    assert guesses(0.4, 400) == pytest.approx(0.4, abs=0.13)


def test_who_does_not_guess_boxes_the_same_players_without_working() -> None:
    for about, table, completion in votes(replace(CARELESS_PLAYERS, careless_votes=1.0, guessing=0.0), 150, seed=16):
        wrong, boxed = false_clues(about, table), last_box(completion)
        most = [f"Player {seat}" for seat, count in wrong.items() if count == max(wrong.values()) > 0]
        assert boxed in (most or ["n/a"])


def test_guesses_fall_on_all_others_alike() -> None:
    places = Counter()
    for _, table, completion in votes(replace(CARELESS_PLAYERS, careless_votes=1.0, guessing=1.0), 500, seed=17):
        others = [f"Player {seat}" for seat in range(1, table.players + 1) if seat != table.seat]
        if len(others) == 4:
            places[others.index(last_box(completion) or "")] += 1
    assert sum(places.values()) > 100
    assert all(count / sum(places.values()) == pytest.approx(0.25, abs=0.12) for count in places.values())


# --- what there is to win ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[bool, int], list[bool]]:
    """Whether the spy was found at tables of five as the mixture's, by (was there working, rounds)."""
    found: dict[tuple[bool, int], list[bool]] = {(bare, rounds): [] for bare in (True, False) for rounds in (1, 2)}
    played: list[Game] = []

    def recorded(*arguments: object) -> Game:
        played.append(sample_game(*arguments))  # type: ignore[arg-type]
        return played[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(games, "sample_game", recorded)
        for share in (0.0, 1.0):
            for about, rng in pictures(600, seed=18):
                _, completion = vote_turn(about, replace(CARELESS_PLAYERS, careless_votes=share), rng)
                game = played[-1]
                if game.public.players == 5:
                    hit = last_box(completion) == f"Player {game.spy}"
                    found[share == 1.0, game.public.clue_rounds].append(hit)
    return found


@pytest.mark.parametrize("rounds", [1, 2])
def test_careless_voters_are_near_chance_and_careful_ones_far_above_it(
    outcomes: dict[tuple[bool, int], list[bool]], rounds: int
) -> None:
    """Five players: a referee who guesses is right in 20 % of games, a citizen in 25 %."""
    careless, careful = outcomes[True, rounds], outcomes[False, rounds]
    assert min(len(careless), len(careful)) > 75
    assert 0.15 < np.mean(careless) < 0.4
    assert np.mean(careful) > 0.7
    assert np.mean(careful) > np.mean(careless) + 0.35


def test_any_seat_may_be_the_spys() -> None:
    spies = Counter()
    for about, rng in pictures(300, seed=19):
        game = sample_game(about, "blank", CARELESS_PLAYERS, rng)
        spies[game.public.players, game.spy] += 1
    for players in (3, 4, 5):
        counts = [spies[players, seat] for seat in range(1, players + 1)]
        assert sum(counts) == sum(count for (n, _), count in spies.items() if n == players)
        assert min(counts) > 0.4 * sum(counts) / players


# --- little left to say, and what the game refuses ------------------------------------------------------------------


def test_a_careful_citizen_that_has_nothing_new_to_say_says_what_is_not_there() -> None:
    """Two equal slices can be told of in two ways only, but there may be eight clues by citizens."""
    half = Chart("pie", ("red", "blue"), (50, 50))
    heard = [PublicClue(1, 1, "The red slice is 50."), PublicClue(2, 1, "The blue slice is 50.")]
    for seat in (3, 4, 5, 1):
        said = clue(half, heard, seat, False, np.random.default_rng(0))
        assert read_clue(f"\\boxed{{{said}}}", [one.text for one in heard]).valid
        assert true_of(said, half) and said.startswith("There is no ")
        heard.append(PublicClue(seat, 1, said))


def test_what_is_not_there_is_told_of_scenes_too() -> None:
    one = Scene(4, 4, (Thing("circle", "red", "small", 0, 0),))
    told = [games._absent(one, np.random.default_rng(seed)) for seed in range(200)]
    said = [assert_that(statement) for statement in told if statement is not None]
    assert 150 < len(said) < 200 and "There is no red circle." not in said
    assert all(true_of(text, one) for text in said)


def test_a_spy_with_a_twin_has_spoken_of_it_before(careful_clues: list[Written]) -> None:
    own = 0
    for about, table, _ in careful_clues:
        if table.is_spy:
            said = [text for seat, text in table.clues if seat == table.seat]
            own += len(said)
            assert all(true_of(text, about) for text in said)
    assert own > 10


def test_a_blank_spy_that_spoke_first_comes_round_to_what_the_citizens_speak_of() -> None:
    checked = 0
    for seed in range(300):
        asked, completion = clue_turn(None, CARELESS_PLAYERS, np.random.default_rng(seed))
        table, said = read_request(asked), read_statement(last_box(completion) or "")
        if table.seat == 1 and len(table.clues) > 1:
            told = read_statement(table.heard[1])
            assert said is not None and told is not None and said.query.mark == told.query.mark
            checked += 1
    assert checked > 8


def test_clues_that_the_game_refuses_stand_in_requests_as_the_game_writes_them() -> None:
    players = replace(games.CAREFUL_PLAYERS, refused=0.2)
    refused = texts = 0
    for about, rng in pictures(120, seed=20):
        asked, completion = vote_turn(about, players, rng)
        table, notes = read_request(asked), completion.rpartition(". ")[0].split(", ")
        for (seat, text), note in zip(table.clues, notes, strict=True):
            texts += 1
            refused += text == PLACEHOLDER
            assert (note == f"{seat} none no") or text != PLACEHOLDER
        assert clue_turn(about, players, rng)[1] != f"\\boxed{{{PLACEHOLDER}}}"
    assert refused / texts == pytest.approx(0.2, abs=0.05)
    assert 0 < games.CARELESS_PLAYERS.refused == games.CAREFUL_PLAYERS.refused < 0.1
