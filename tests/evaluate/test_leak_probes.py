"""What voters that are given less find out, and what their requests hold."""

from dataclasses import replace

import pytest
from scripted_players import Scripted, always, few, found

from selfsight.evaluate.games import draw_clues, heldout_games
from selfsight.evaluate.probes import leak_probes, position_only
from selfsight.methods.vision_zero import Game, GameSettings

NOTE = "private-note-canary"


def games_with_notes(voter: str = "referee") -> tuple[Game, ...]:
    rules = GameSettings(players=5, clue_rounds=1, voter=voter, votes=2)  # type: ignore[arg-type]
    noted = Scripted(clue=lambda request: f"{NOTE} \\boxed{{I see {spoken(request.prompt.user)} {request.seat}}}")
    return draw_clues(noted, heldout_games(10, rules, few(10), seed=0))


def spoken(text: str) -> str:
    return "nothing" if "the spy." in text.splitlines()[-1] else "something"


def test_a_voter_that_reads_clues_is_as_good_without_the_image_and_lost_without_clues() -> None:
    result = leak_probes(Scripted(vote=found), games_with_notes(), samples=2)
    assert result["clue_only"]["accuracy"] == 1.0  # type: ignore[index]
    assert result["image_only"]["accuracy"] == 0.0  # type: ignore[index]
    assert result["image_only"]["abstentions"] == 1.0  # type: ignore[index]
    assert result["position_only"]["accuracy"] == pytest.approx(0.2)  # type: ignore[index]
    for name in ("position_only", "clue_only", "image_only"):
        assert result[name]["chance"] == pytest.approx(0.2)  # type: ignore[index]


@pytest.mark.parametrize("voter", ["referee", "seated"])
def test_a_probe_takes_away_the_image_or_the_clues_and_the_notes_with_either(voter: str) -> None:
    player = Scripted(vote=always(1))
    leak_probes(player, games_with_notes(voter), samples=2)
    requests = [request for asked, _ in player.calls for request in asked]
    blind = [request for request in requests if request.prompt.image is None]
    deaf = [request for request in requests if request.prompt.image is not None]
    assert len(blind) == len(deaf) > 0
    assert all("Player 3: I see" in request.prompt.user for request in blind)
    assert not any("I see" in request.prompt.user for request in deaf)
    assert not any(NOTE in request.prompt.user for request in requests)


def test_an_uneven_seat_is_what_the_position_probe_finds() -> None:
    games = games_with_notes()
    uneven = [games[1]] * 3 + [games[0]]
    result = position_only(uneven)
    assert (result["accuracy"], result["seat"], result["n"]) == (0.75, games[1].secret.spy, 4)
    assert result["by_seat"][str(games[0].secret.spy)] == 0.25  # type: ignore[index]


def test_without_the_probe_the_notes_are_there() -> None:
    """So that their absence above means something."""
    game = replace(games_with_notes("seated")[0], ballots=())
    citizen = next(seat for seat in range(1, 6) if seat != game.secret.spy)
    assert game.private(citizen).notes == (NOTE,)
