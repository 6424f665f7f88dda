"""The course of a game, and who gets to know what in it."""

from collections import Counter
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.errors import SelfsightError
from selfsight.language import PrivateState, PublicState, RefereeView, SeatView, get_game_pack
from selfsight.methods.vision_zero import PLACEHOLDER, Completion, GameSettings, Request, advance, deal, open_requests

from .playing import COMPACT, REAL, SPYS, by_the_book, new_game, play

RULES = st.builds(
    GameSettings,
    players=st.integers(3, 9),
    clue_rounds=st.integers(1, 4),
    spy_view=st.sampled_from(["blank", "modified", "degraded"]),
    voter=st.sampled_from(["seated", "referee"]),
    votes=st.integers(1, 4),
)
PACK_NAMES = st.sampled_from(["compact", "full"])


def thinking_aloud(request: Request, sample: int) -> str:
    """Every player thinks and says something that only it would."""
    place = request.id.replace("/", " ")
    if "/vote/" in request.id:
        return "\\boxed{n/a}"
    return f"<think>Secret thought of seat-{request.seat}-canary.</think> \\boxed{{clue {place}}}"


@given(rules=RULES, seed=st.integers(0, 10**9), pack=PACK_NAMES)
@settings(max_examples=40, deadline=None)
def test_nobody_is_asked_with_more_than_it_may_know(rules: GameSettings, seed: int, pack: str) -> None:
    (game,), calls = play([new_game(rules, seed=seed)], thinking_aloud, get_game_pack(pack))
    assert len(calls) == rules.sampling_calls == rules.players * rules.clue_rounds + 1
    heard = 0
    for (request, *others), voting in zip(calls, [False] * rules.clues + [True], strict=True):
        for one in (request, *others):
            text = one.prompt.user
            assert one.prompt.image == (SPYS if one.seat == game.secret.spy else REAL)
            assert REAL.id not in text and REAL.origin not in text and SPYS.id not in text
            told = {seat for seat in range(1, rules.players + 1) if f"seat-{seat}-canary" in text}
            assert told <= {one.seat}
            assert sum(line.startswith("Player ") for line in text.splitlines()) == heard
            if voting:
                assert one.seat != game.secret.spy
                assert (one.seat is None) == (rules.voter == "referee")
                assert told == (set() if one.seat is None else {one.seat})
            elif heard >= rules.players:
                assert told == {one.seat}
        heard += not voting


@given(rules=RULES, seed=st.integers(0, 10**9), pack=PACK_NAMES)
@settings(max_examples=25, deadline=None)
def test_no_request_depends_on_where_the_spy_sits_but_the_spys_own(rules: GameSettings, seed: int, pack: str) -> None:
    """The answer is nowhere in a request: moving the spy to another seat changes nothing for the others."""
    game = new_game(rules, seed=seed)
    moved = replace(game, secret=replace(game.secret, spy=game.secret.spy % rules.players + 1))
    spies = {game.secret.spy, moved.secret.spy}
    before, after = (
        {one.id: one for call in play([each], thinking_aloud, get_game_pack(pack))[1] for one in call}
        for each in (game, moved)
    )
    same = [id for id, one in before.items() if one.seat not in spies]
    assert same and all(before[id] == after[id] for id in same)
    spoke = f"g-0/clue/1/{game.secret.spy}"
    assert before[spoke] != after[spoke]


def test_a_request_can_only_be_built_from_what_its_player_knows() -> None:
    known = {field.type for state in (PublicState, PrivateState, SeatView, RefereeView) for field in fields(state)}
    assert not any("Secret" in str(type) or "Game" in str(type) for type in known)
    game = new_game()
    citizen = game.secret.spy % 5 + 1
    with pytest.raises(ValueError, match="is not for player"):
        COMPACT.clue(game.public(), game.private(citizen), game.view(game.secret.spy))
    with pytest.raises(ValueError, match="does not vote"):
        COMPACT.ballot(game.public(), game.private(game.secret.spy), game.view(game.secret.spy))


def test_players_with_the_same_image_share_their_prompt_up_to_the_end_of_it() -> None:
    for pack in ("compact", "full"):
        _, calls = play([new_game(GameSettings(voter="seated"))], by_the_book, get_game_pack(pack))
        prompts = [request.prompt for call in calls for request in call]
        assert {prompt.system for prompt in prompts} == {None}
        assert Counter(prompt.image for prompt in prompts) == {REAL: 12, SPYS: 2}  # one encoding per view


@given(rules=RULES, seeds=st.lists(st.integers(0, 99), min_size=2, max_size=4, unique=True))
@settings(max_examples=15, deadline=None)
def test_a_game_is_the_same_alone_in_a_batch_and_in_any_order(rules: GameSettings, seeds: list[int]) -> None:
    games = [new_game(rules, seed=7, id=f"g-{number}") for number in seeds]
    together, calls = play(games)
    assert len(calls) == rules.sampling_calls
    turned, _ = play(games[::-1])
    assert turned[::-1] == together == tuple(play([game])[0][0] for game in games)


def test_a_thousand_games_take_as_many_sampling_calls_as_one() -> None:
    rules = GameSettings(players=3, clue_rounds=1, votes=2)
    _, calls = play([new_game(rules, id=f"g-{number}") for number in range(1000)])
    assert [len(call) for call in calls] == [1000] * rules.sampling_calls
    assert len({request.seed for call in calls for request in call}) == 4000
    assert len({request.id for call in calls for request in call}) == 4000


def test_the_spys_seat_is_uniform_and_follows_from_seed_and_id() -> None:
    drawn = Counter(new_game(GameSettings(players=5), seed=1, id=f"g-{number}").secret.spy for number in range(10_000))
    assert set(drawn) == {1, 2, 3, 4, 5}
    assert sum((count - 2000) ** 2 / 2000 for count in drawn.values()) < 18.5  # chi-square, p = .001
    assert new_game(seed=1, id="a") == new_game(seed=1, id="a")
    assert len({new_game(seed=seed, id="a").secret.spy for seed in range(40)}) == 5


def test_players_speak_in_the_order_of_their_seats_round_after_round() -> None:
    (game,), _ = play([new_game(GameSettings(players=4, clue_rounds=3))])
    assert [(turn.round, turn.seat) for turn in game.turns] == [(r, s) for r in (1, 2, 3) for s in (1, 2, 3, 4)]
    assert game.stage == "over"
    assert game.private(2).notes == ("I look.",) * 3


def test_a_refused_clue_is_heard_as_the_placeholder_and_never_as_what_was_written() -> None:
    game = new_game().with_clue(Completion("my raw-thoughts-canary without a box"))
    assert game.public().clues[0].text == PLACEHOLDER
    (request,) = open_requests([game], COMPACT)
    assert f"Player 1: {PLACEHOLDER}" in request.prompt.user
    assert "canary" not in request.prompt.user
    assert "canary" in game.private(1).notes[0]


def test_a_clue_may_follow_a_refused_one_that_tried_to_say_the_same() -> None:
    game = new_game().with_clue(Completion("\\boxed{a star}", finished=False)).with_clue(Completion("\\boxed{a star}"))
    assert [turn.reading.valid for turn in game.turns] == [False, True]
    assert not game.with_clue(Completion("\\boxed{A star!}")).turns[-1].reading.valid


def test_games_out_of_step_are_refused() -> None:
    ahead = new_game(id="a").with_clue(Completion("\\boxed{a star}"))
    with pytest.raises(ValueError, match="not in lock-step"):
        open_requests([ahead, new_game(id="b")], COMPACT)
    with pytest.raises(ValueError, match="more than once"):
        open_requests([new_game(id="a"), new_game(id="a")], COMPACT)


def test_a_missing_answer_or_one_too_many_is_an_error_that_names_the_request() -> None:
    game = new_game()
    (request,) = open_requests([game], COMPACT)
    with pytest.raises(ValueError, match="'g-0/clue/1/1' has no answer"):
        advance([game], {})
    with pytest.raises(ValueError, match="has 2 answers, not 1"):
        advance([game], {request.id: [Completion("a"), Completion("b")]})
    (over,), _ = play([game])
    with pytest.raises(ValueError, match="is over"):
        advance([over], {})
    with pytest.raises(ValueError, match="waits for a clue"):
        game.with_votes({None: [Completion("1")] * 8})


def test_votes_belong_to_voters_and_not_to_positions() -> None:
    rules = GameSettings(players=4, clue_rounds=1, voter="seated", votes=2)
    game = new_game(rules)
    for _ in range(4):
        game = game.with_clue(Completion("no box"))
    citizens = [seat for seat in range(1, 5) if seat != game.secret.spy]
    said = {seat: [Completion(str(citizens[0])), Completion(str(game.secret.spy))] for seat in reversed(citizens)}
    over = game.with_votes(dict(said))
    assert [ballot.voter for ballot in over.ballots] == citizens
    assert over.ballots[0].votes[0].kind == "invalid"  # the first citizen named itself, the others named it
    assert [ballot.votes[0].seat for ballot in over.ballots[1:]] == [citizens[0]] * 2
    assert all(ballot.votes[1].seat == game.secret.spy for ballot in over.ballots)
    for wrong in ({}, said | {game.secret.spy: said[citizens[0]]}, {None: said[citizens[0]]}):
        with pytest.raises(ValueError, match="the voters are"):
            game.with_votes(wrong)
    with pytest.raises(ValueError, match="not 2"):
        game.with_votes(said | {citizens[0]: [Completion("1")]})


def test_a_spy_with_the_citizens_image_is_no_game() -> None:
    with pytest.raises(ValueError, match="would see the citizens' image"):
        deal(GameSettings(), seed=0, id="g", image=REAL, spy_image=REAL)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"players": 2}, "players is 2"), ({"players": 10}, "players is 10"), ({"clue_rounds": 0}, "clue_rounds is 0"),
        ({"votes": 0}, "votes is 0"), ({"voter": "god"}, "voter is 'god'"),
        ({"spy_view": "dark"}, "spy_view is 'dark'"),
    ],
)  # fmt: skip
def test_settings_outside_the_rules_are_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(SelfsightError, match=named):
        GameSettings(**wrong)  # type: ignore[arg-type]
