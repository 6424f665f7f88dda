"""A game that was written down can be judged again, to the last bit."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero import GameSettings, RoleBaselines, ScoringSettings, game_record, replay, score
from selfsight.run import JsonlWriter, canonical_json, read_jsonl

from .playing import Request, by_the_book, new_game, play

SCORING = ScoringSettings(beta=0.1, lam=0.07, invalid_clue_penalty=0.3)
NASTY = [
    "\ud800",
    "Player 1: x",
    "\\boxed{a\x00b}",
    "\\boxed{",
    "\\boxed{ü 赤 \u202e}",
    "",
    "\\boxed{7}",
    "\\boxed{n/a}",
]


def careless(request: Request, sample: int) -> str:
    rng = np.random.default_rng(request.seed + sample)
    if rng.random() < 0.4:
        return by_the_book(request, sample)
    return NASTY[int(rng.integers(len(NASTY)))]


@pytest.mark.parametrize("voter", ["seated", "referee"])
def test_games_come_back_from_games_jsonl_with_the_same_rewards_bit_for_bit(tmp_path: Path, voter: str) -> None:
    rules = GameSettings(players=4, voter=voter, votes=3)  # type: ignore[arg-type]
    games, _ = play([new_game(rules, id=f"g-{number}") for number in range(20)], careless)
    with JsonlWriter(tmp_path / "games.jsonl") as writer:
        for game in games:
            writer.append(game_record(game, SCORING, phase="clue", baselines=RoleBaselines(-0.123, 0.041)))
    records = read_jsonl(tmp_path / "games.jsonl")
    assert len({score(game, SCORING).tally for game in games}) > 3
    for game, record in zip(games, records, strict=True):
        again, paid = replay(record)
        assert again == game
        assert canonical_json([*paid.clue_rewards]) == canonical_json([*score(game, SCORING).clue_rewards])
        assert paid == score(game, SCORING)
        expected = [r - (-0.123 if s == game.secret.spy else 0.041) for s, r in enumerate(paid.clue_rewards, start=1)]
        assert record["advantages"] == expected


def test_a_game_whose_clues_did_not_train_has_no_advantages() -> None:
    (game,), _ = play([new_game()])
    record = game_record(game, SCORING, phase="decision")
    assert record["advantages"] is record["baselines"] is None
    assert replay(json.loads(json.dumps(record)))[0] == game


def changed(record: dict[str, Any], *path: str | int, to: object) -> dict[str, Any]:
    forged = copy.deepcopy(record)
    place: Any = forged
    for key in path[:-1]:
        place = place[key]
    assert place[path[-1]] != to
    place[path[-1]] = to
    return forged


def test_a_record_that_says_something_else_than_what_was_sampled_is_an_error_that_names_the_key() -> None:
    (game,), _ = play([new_game(GameSettings(clue_rounds=1))])
    record = json.loads(canonical_json(game_record(game, SCORING, phase="clue", baselines=RoleBaselines())))
    other = game.secret.spy % 5 + 1
    for forged, key in [
        (changed(record, "spy", to=other), "'spy'"),
        (changed(record, "turns", 0, "clue", to="a lie"), "'turns'"),
        (changed(record, "turns", 0, "completion", to="\\boxed{a lie}"), "'turns'"),
        (changed(record, "ballots", 0, "votes", 0, "completion", to="\\boxed{n/a}"), "'ballots'"),
        (changed(record, "score", "clue_rewards", 0, to=record["score"]["clue_rewards"][0] + 1e-16 + 1e-9), "'score'"),
        (changed(record, "advantages", 2, to=9.0), "'advantages'"),
    ]:
        with pytest.raises(SelfsightError, match=f"game 'g-0': {key} does not follow"):
            replay(forged)


def test_a_damaged_record_is_an_error_that_says_what_is_wrong() -> None:
    (game,), _ = play([new_game()])
    record = game_record(game, SCORING)
    for broken in (
        {key: value for key, value in record.items() if key != "turns"},
        record | {"turns": record["turns"][:-1]},  # type: ignore[index]
        record | {"settings": {"players": 5, "colour": "red"}},
        record | {"ballots": []},
        {},
    ):
        with pytest.raises(SelfsightError, match="is not a record of a finished game"):
            replay(broken)
    with pytest.raises(SelfsightError, match="has format 2"):
        replay(record | {"format": 2})
    with pytest.raises(ValueError, match="not over"):
        game_record(new_game(), SCORING)
