"""The arena with players whose win rates are known exactly."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_players import Scripted, bluffed, few, guessed, told

from selfsight.errors import SelfsightError
from selfsight.evaluate.arena import (
    Match,
    arena_matches,
    arena_result,
    play_matches,
    read_matches,
    win_by_guessing,
    write_matches,
)
from selfsight.methods.vision_zero import GameSettings

RULES = GameSettings(players=5, clue_rounds=1)


def meet(a: Scripted, b: Scripted, games: int = 20, rules: GameSettings = RULES) -> tuple[Match, ...]:
    return play_matches(arena_matches(games, rules, few(games), seed=0), {"A": a, "B": b})


def result_of(a: Scripted, b: Scripted, games: int = 20, rules: GameSettings = RULES) -> dict[str, Any]:
    return arena_result(meet(a, b, games, rules))


def test_both_directions_are_about_the_same_images_with_the_spy_in_the_same_seats() -> None:
    matches = arena_matches(20, RULES, few(20), seed=5)
    sides = {side: [m.game for m in matches if m.citizens == side] for side in ("A", "B")}
    assert [(g.secret.image, g.secret.spy) for g in sides["A"]] == [(g.secret.image, g.secret.spy) for g in sides["B"]]
    assert Counter(g.secret.spy for g in sides["A"]) == dict.fromkeys(range(1, 6), 4)
    assert len({m.game.id for m in matches}) == 40
    with pytest.raises(SelfsightError, match="12 games with 5 players"):
        arena_matches(12, RULES, few(12), seed=5)


@pytest.mark.parametrize("voter", ["referee", "seated"])
def test_a_bluffing_spy_with_a_reading_voter_wins_everything_against_an_honest_one(voter: Any) -> None:
    rules = GameSettings(players=5, clue_rounds=1, voter=voter, votes=2)
    result = result_of(Scripted(clue=bluffed), Scripted(clue=told), rules=rules)
    assert (result["a_citizens"]["rate"], result["a_spy"]["rate"], result["a"]["rate"]) == (1.0, 1.0, 1.0)
    assert (result["b_citizens"]["rate"], result["b_spy"]["rate"]) == (0.0, 0.0)
    # 20 wins of 20 and one each way: (20 - 0) / 22 +- z sqrt((22/22 - (20/22)^2) / 22), cut at 1.
    assert result["citizens_gain"] == {"difference": 1.0, "ci95": [pytest.approx(0.73500897), 1.0]}
    assert (result["a"]["n"], result["a_citizens"]["n"], result["images"]) == (40, 20, 20)
    assert result["a_citizens"]["ci95"][0] > 0.8
    assert all(seat["a_citizens"]["rate"] == 1.0 for seat in result["by_spy_seat"].values())


def test_who_is_worse_as_spy_and_better_as_voter_is_shown_on_both_sides() -> None:
    """A finds every spy but bluffs badly; B bluffs as badly and cannot vote."""
    result = result_of(Scripted(), Scripted(vote=lambda request, k: "\\boxed{n/a}"))
    assert (result["a_citizens"]["rate"], result["a_spy"]["rate"]) == (1.0, 1.0)
    mute = result["form"]["b"]
    assert (mute["abstentions"], mute["invalid_votes"], mute["refused_clues"], mute["cut_off"]) == (1.0, 0.0, 0.0, 0.0)
    assert result["form"]["a"]["clues"] + mute["clues"] == 2 * 20 * 5


def test_a_player_against_itself_is_symmetric_within_its_interval() -> None:
    result = result_of(Scripted(vote=guessed), Scripted(vote=guessed), games=200)
    low, high = result["a"]["ci95"]
    assert low < 0.5 < high
    gain_low, gain_high = result["citizens_gain"]["ci95"]
    assert gain_low <= 0 <= gain_high
    for side in ("a_citizens", "b_citizens"):
        low, high = result[side]["ci95"]
        assert low < win_by_guessing(5, 8) < high
    assert result["guessing"] == win_by_guessing(5, 8)


def test_two_deterministic_copies_win_exactly_half() -> None:
    result = result_of(Scripted(), Scripted())
    assert result["a"]["rate"] == 0.5
    assert result["citizens_gain"]["difference"] == 0.0


@pytest.mark.parametrize(("players", "votes"), [(3, 1), (3, 4), (4, 5), (5, 4)])
def test_the_win_rate_of_guessing_is_that_of_all_ways_to_vote(players: int, votes: int) -> None:
    won = total = 0
    for ballot in itertools.product(range(players), repeat=votes):
        counts = Counter(ballot)
        won += all(counts[0] > counts[other] for other in range(1, players))
        total += 1
    assert win_by_guessing(players, votes) == pytest.approx(won / total, abs=1e-12)


def test_matches_come_back_from_their_file_with_the_same_result(tmp_path: Path) -> None:
    matches = meet(Scripted(vote=guessed), Scripted())
    write_matches(tmp_path / "arena.jsonl", matches, {"A": "mine", "B": "starter"})
    again = read_matches(tmp_path / "arena.jsonl")
    assert again == matches
    assert arena_result(again) == arena_result(matches)


def test_a_transcript_that_was_changed_or_is_no_arena_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arena.jsonl"
    write_matches(path, meet(Scripted(), Scripted(), games=5), {"A": "a", "B": "b"})
    text = path.read_text()
    path.write_text(text.replace('"citizens_win":true', '"citizens_win":false'))
    with pytest.raises(SelfsightError, match=r"arena\.jsonl: game 'arena-0-0-A': 'score' does not follow"):
        read_matches(path)
    path.write_text(text.replace("citizens_held_by", "somebody"))
    with pytest.raises(SelfsightError, match="does not say who held the citizens"):
        read_matches(path)


def test_half_an_arena_is_not_a_result() -> None:
    matches = meet(Scripted(), Scripted(), games=5)
    with pytest.raises(SelfsightError, match="not the same games in both directions"):
        arena_result([match for match in matches if match.citizens == "A"])
