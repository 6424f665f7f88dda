"""Decisions on held-out games, by voters whose accuracy is known exactly."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_players import Scripted, always, bluffed, few, guessed

from selfsight.errors import SelfsightError
from selfsight.evaluate.games import (
    compare,
    decide,
    draw_clues,
    heldout_games,
    heldout_images,
    read_games,
    summarise,
    usable_images,
    write_games,
)
from selfsight.images.worlds.source import parse_world_id
from selfsight.methods.vision_zero import Game, GameSettings

REFEREE = GameSettings(players=5, clue_rounds=1)
SEATED = GameSettings(players=5, clue_rounds=1, voter="seated", votes=2)


def told_games(count: int = 20, settings: GameSettings = REFEREE) -> tuple[Game, ...]:
    return draw_clues(Scripted(), heldout_games(count, settings, few(count), seed=0))


def test_the_spy_sits_in_every_seat_equally_often_and_a_game_follows_from_its_id() -> None:
    games = heldout_games(20, REFEREE, few(20), seed=1)
    assert Counter(game.secret.spy for game in games) == dict.fromkeys(range(1, 6), 4)
    assert games == heldout_games(20, REFEREE, few(20), seed=1)
    assert games[:5] == heldout_games(5, REFEREE, few(20), seed=1)
    assert {game.seed for game in games}.isdisjoint(g.seed for g in heldout_games(20, REFEREE, few(20), seed=2))


@pytest.mark.parametrize(("count", "hint"), [(7, "such as 10"), (0, "such as 5"), (-3, "such as 5")])
def test_a_number_of_games_that_favours_a_seat_is_refused_with_the_next_one_that_does_not(
    count: int, hint: str
) -> None:
    with pytest.raises(SelfsightError) as refused:
        heldout_games(count, REFEREE, few(3), seed=0)
    assert hint in str(refused.value)


def test_held_out_games_are_about_pictures_that_training_never_draws() -> None:
    images = heldout_images("worlds", "modified", seed=4, size=56)
    for ref in usable_images(images, 5):
        world, split, seed, _ = parse_world_id(ref.id)
        assert (world, split) == ("mixed", "heldout")
        assert seed != 4
    with pytest.raises(SelfsightError, match="does not exist"):
        heldout_images("no-such-folder", "blank", seed=0, size=56)


def test_images_that_cannot_be_opened_are_passed_over_and_few_images_serve_again() -> None:
    refs = usable_images(few(4, bad=[1]), 5)
    assert [ref.id.rpartition("-")[2] for ref in refs] == ["0", "2", "3", "0", "2"]
    with pytest.raises(SelfsightError, match="no image can be used"):
        usable_images(few(2, bad=[0, 1]), 5)


def test_a_voter_that_reads_the_clues_finds_every_spy_that_gives_itself_away() -> None:
    result = summarise(decide(Scripted(), told_games(), samples=3))
    assert (result["accuracy"], result["sampled"], result["majority"]) == (1.0, 1.0, 1.0)
    assert result["chance"] == pytest.approx(0.2)
    assert result["n"] == 20
    assert result["accused"] == dict.fromkeys("12345", pytest.approx(0.2))
    assert {seat: entry["accuracy"] for seat, entry in result["by_spy_seat"].items()} == dict.fromkeys("12345", 1.0)  # type: ignore[attr-defined]


def test_a_voter_that_always_names_one_seat_is_at_chance_and_the_seats_show_it() -> None:
    result = summarise(decide(Scripted(vote=always(2)), told_games(), samples=3))
    assert (result["accuracy"], result["chance"]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert result["by_spy_seat"]["2"]["accuracy"] == 1.0  # type: ignore[index]
    assert result["by_spy_seat"]["3"]["accuracy"] == 0.0  # type: ignore[index]
    assert result["accused"] == {"1": 0.0, "2": 1.0, "3": 0.0, "4": 0.0, "5": 0.0}


def test_an_accuracy_of_one_has_an_interval_of_some_width_with_a_vote_per_image_and_images_are_not_counted_twice() -> (
    None
):
    result = summarise(decide(Scripted(), told_games(), samples=2))
    assert result["ci95"] == result["majority_ci95"] == [pytest.approx(0.8389, abs=1e-4), 1.0]
    right_on_one = Scripted(vote=always(1))
    few_images = draw_clues(Scripted(), heldout_games(20, REFEREE, few(5), seed=0))  # the spy of image k in seat k + 1
    low, high = summarise(decide(right_on_one, few_images))["ci95"]  # type: ignore[misc]
    assert (low, high) == (0.0, pytest.approx(0.62037215))  # of five images, not of twenty games


def test_an_abstention_is_not_an_invalid_vote() -> None:
    half = Scripted(vote=lambda request, k: ("\\boxed{n/a}", "\\boxed{9}")[k % 2])
    result = summarise(decide(half, told_games(5), samples=4))
    assert (result["accuracy"], result["sampled"], result["majority"]) == (0.0, 0.0, 0.0)
    assert (result["abstentions"], result["invalid"]) == (1.0, 0.0)  # greedy is sample 0
    assert (result["sampled_abstentions"], result["sampled_invalid"]) == (0.5, 0.5)


def test_the_majority_needs_more_samples_than_any_other_seat_and_than_abstentions() -> None:
    games = [game for game in told_games() if game.secret.spy == 1]

    def majority(*votes: str) -> object:
        script = Scripted(vote=lambda request, k: f"\\boxed{{{votes[k % len(votes)]}}}")
        return summarise(decide(script, games, samples=len(votes)))["majority"]

    assert majority("1", "1", "2") == 1.0
    assert majority("1", "2") == 0.0
    assert majority("1", "n/a") == 0.0
    assert majority("1", "9", "9") == 1.0  # an invalid vote counts for nobody


def test_seated_citizens_each_vote_and_their_chance_leaves_out_themselves() -> None:
    decisions = decide(Scripted(), told_games(5, SEATED), samples=2)
    assert len(decisions) == 5 * 4
    assert all(d.voter != d.spy for d in decisions)
    result = summarise(decisions)
    assert result["chance"] == pytest.approx(0.25)
    assert result["accuracy"] == 1.0


def test_votes_take_two_sampling_rounds_whatever_the_number_of_games() -> None:
    voter = Scripted()
    decide(voter, told_games(), samples=6)
    assert [({r.n for r in requests}, greedy) for requests, greedy in voter.calls] == [({1}, True), ({6}, False)]


def test_games_come_back_from_the_disk_and_two_voters_are_compared_on_the_same_clues(tmp_path: Path) -> None:
    games = told_games()
    write_games(tmp_path / "clues.jsonl", games)
    assert read_games(tmp_path / "clues.jsonl") == games
    write_games(tmp_path / "clues.jsonl", games[:5])  # replaced, not appended
    assert read_games(tmp_path / "clues.jsonl") == games[:5]
    before, after = decide(Scripted(vote=always(1)), games), decide(Scripted(), read_games(tmp_path / "clues.jsonl"))
    assert before[:5] != after
    change = compare(before[:5], after)
    assert change["accuracy"] == change["sampled"] == pytest.approx(0.8)
    same = compare(after, after)
    assert same["ci95"] == pytest.approx([-0.39597252, 0.39597252])  # z sqrt(2) / 7: five games are few


def test_voters_that_heard_other_clues_are_not_compared() -> None:
    dealt = heldout_games(5, REFEREE, few(5), seed=0)
    honest, bluffing = draw_clues(Scripted(), dealt), draw_clues(Scripted(clue=bluffed), dealt)
    with pytest.raises(SelfsightError, match="not judged the same clues"):
        compare(decide(Scripted(), honest), decide(Scripted(), bluffing))


def test_a_file_that_holds_no_games_or_a_changed_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clues.jsonl"
    with pytest.raises(SelfsightError, match=r"clues\.jsonl: holds no games"):
        read_games(path)
    write_games(path, told_games(5))
    path.write_text(path.read_text().replace('"clue":"I see nothing', '"clue":"I see all'))
    with pytest.raises(SelfsightError, match=r"clues\.jsonl: game 'held-out-0-0'"):
        read_games(path)


def test_a_decision_needs_all_clues() -> None:
    with pytest.raises(ValueError, match="all their clues"):
        decide(Scripted(), heldout_games(5, REFEREE, few(5), seed=0))


def test_votes_that_a_game_holds_already_are_not_looked_at() -> None:
    games = told_games(5)
    other = [replace(game, ballots=()) for game in games]
    assert decide(Scripted(vote=guessed), games) == decide(Scripted(vote=guessed), other)
