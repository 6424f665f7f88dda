"""Games whose seats belong to different players, in lock-step."""

from collections import Counter

import pytest
from scripted_players import Scripted, few, told

from selfsight.evaluate.arena import arena_matches, play_matches
from selfsight.evaluate.games import heldout_games
from selfsight.evaluate.players import play_out
from selfsight.methods.vision_zero import GameSettings


@pytest.mark.parametrize("count", [5, 100])
def test_a_player_is_asked_as_often_for_a_hundred_games_as_for_five(count: int) -> None:
    rules = GameSettings(players=5, clue_rounds=2)
    a, b = Scripted(), Scripted()
    play_matches(arena_matches(count, rules, few(5), seed=0), {"A": a, "B": b})
    for player in (a, b):
        assert len(player.calls) == rules.sampling_calls == 11
        assert all(len(requests) > 0 and not greedy for requests, greedy in player.calls)
    # Of a seat's turn in 2 * count games, each player takes one half.
    assert [len(requests) for requests, _ in a.calls] == [count] * 11


def test_a_player_that_holds_both_sides_is_asked_once_per_step_and_not_twice() -> None:
    rules = GameSettings(players=3, clue_rounds=1)
    player = Scripted()
    play_matches(arena_matches(6, rules, few(2), seed=0), {"A": player, "B": player})
    assert [len(requests) for requests, _ in player.calls] == [12] * 4


def test_each_player_is_asked_in_the_wording_of_its_own_pack() -> None:
    a, b = Scripted(pack="compact"), Scripted(pack="full")
    matches = play_matches(arena_matches(3, GameSettings(players=3), few(3), seed=0), {"A": a, "B": b})
    assert all(
        "Give a clue." in r.prompt.user or "Who is the spy?" in r.prompt.user for r, *_ in [c[0] for c in a.calls]
    )
    assert all("This is a game" in r.prompt.user for requests, _ in b.calls for r in requests)
    assert not any("This is a game" in r.prompt.user for requests, _ in a.calls for r in requests)
    heard = b.calls[-1][0][0].prompt.user
    assert "Player 1: I see" in heard
    assert all(match.game.stage == "over" for match in matches)


def test_every_request_goes_to_the_player_that_holds_the_seat() -> None:
    a, b = Scripted(), Scripted()
    matches = arena_matches(5, GameSettings(), few(5), seed=3)
    play_matches(matches, {"A": a, "B": b})
    by_id = {match.game.id: match for match in matches}
    for side, player in (("A", a), ("B", b)):
        asked = [request for requests, _ in player.calls for request in requests]
        assert all(by_id[request.game_id].holder(request.seat) == side for request in asked)
        roles = Counter("spy" if by_id[r.game_id].game.secret.spy == r.seat else "citizens" for r in asked)
        assert roles == {"spy": 5 * 2, "citizens": 5 * (4 * 2 + 1)}


def test_a_seat_that_nobody_holds_is_an_error_and_no_endless_game() -> None:
    games = heldout_games(3, GameSettings(players=3), few(3), seed=0)
    stranger = Scripted(clue=told)
    with pytest.raises(ValueError, match="has no answer"):
        play_out(games, [Scripted()], lambda game, seat: stranger)
