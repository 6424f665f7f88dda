"""Games whose clues or votes cannot be read stop the run at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfsight.methods.readings import Readings, Unreadable
from selfsight.methods.vision_zero.game import Completion
from selfsight.methods.vision_zero.run import evolve, read_games
from selfsight.policy import Policy
from watching import Watcher

from .game_runs import config
from .playing import new_game


@pytest.mark.parametrize(
    ("text", "done", "kind", "advice"),
    [
        ("just prose, " * 9, True, "clues", "instruction-tuned"),
        ("\\boxed{round}", False, "clues", "vision_zero.max_clue_length=16"),
    ],
)
def test_a_run_whose_clues_cannot_be_read_stops_in_its_first_step(
    player: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, done: bool, kind: str, advice: str
) -> None:
    watcher, original = Watcher(), Policy.sample

    def sample(self: Policy, requests: Any, sampling: Any) -> Any:
        found = original(self, requests, sampling)
        if not watcher.phases[-1].endswith("games"):
            return found
        return {id: [replace(one, text=text, finished=done) for one in own] for id, own in found.items()}

    monkeypatch.setattr(Policy, "sample", sample)
    with pytest.raises(Unreadable, match=f"18 of the player's first 18 {kind} cannot be read") as refusal:
        evolve(config(player, tmp_path), progress=watcher)
    assert advice in str(refusal.value.hint)
    left = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert (left["stage"], left["step"]) == ("round-1/games", 0)
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()  # nothing was learned


def test_a_clue_that_only_repeats_another_could_be_read() -> None:
    game = new_game()
    for _ in range(game.settings.clues):
        game = game.with_clue(Completion("\\boxed{It is round.}", True))
    assert [turn.reading.valid for turn in game.turns].count(True) == 1
    clues, votes = Readings("clues"), Readings("votes")
    read_games([game, game], clues, votes)
    assert (clues.total, clues.unreadable, votes.total) == (2 * game.settings.clues, 0, 0)
