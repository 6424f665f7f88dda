"""What is measured of a round besides the held-out questions, which no game has trained (transfer): the spy found in
held-out games, and the round's own games.

The held-out games have their clues from the starting model, drawn once (rounds/0/clues.jsonl), so the rounds' voters
are compared on the very same clues. Left out: whole games against the starting model, which tell whether the clues got
better, too; `selfsight arena` plays them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.evaluate.games import (
    balanced,
    compare,
    decide,
    draw_clues,
    heldout_games,
    heldout_images,
    read_decisions,
    read_games,
    summarise,
    write_decisions,
    write_games,
)
from selfsight.evaluate.players import ModelPlayer
from selfsight.methods.measuring import picture_size
from selfsight.methods.stream import image_options
from selfsight.methods.vision_zero.game import Game
from selfsight.methods.vision_zero.rules import game_settings
from selfsight.methods.vision_zero.scoring import vote_rates
from selfsight.methods.vision_zero.table import Table
from selfsight.methods.vision_zero.transcript import replay
from selfsight.run import RunDirectory

CLUES = "clues.jsonl"


def measure_decisions(
    config: EvolveConfig, table: Table, directory: RunDirectory, round: int, pause: Callable[[], None]
) -> tuple[dict[str, Any] | None, list[Path]]:
    """How the model votes on the clues of the starting model, with its paired change, and the files written; None where
    none is wanted. `pause` is called between batches: it may raise.
    """
    own, base = config.vision_zero, directory.round(0)
    if own.eval_games == 0:
        return None, []
    length = max(own.max_clue_length, own.max_vote_length)
    player = ModelPlayer(table.policy, table.pack, max_completion_length=length)
    written = [directory.round(round) / "decisions.jsonl"]
    if round == 0:
        # Now, because the policy still is the starting model.
        games = draw_clues(player, _deal(config, table), on_step=pause)
        write_games(base / CLUES, games)
        written.append(base / CLUES)
    else:
        games = read_games(base / CLUES)
    pause()
    found = decide(player, games, samples=own.votes, on_step=pause)
    write_decisions(written[0], found)
    seed = config.evaluation.seed
    change = None if round == 0 else compare(read_decisions(base / "decisions.jsonl"), found, seed=seed)
    return {**summarise(found), "change": change}, written


def _deal(config: EvolveConfig, table: Table) -> tuple[Game, ...]:
    settings, seed = game_settings(config), config.evaluation.seed
    images = heldout_images(
        config.images,
        settings.spy_view,
        seed=seed,
        size=picture_size(config, table.questions),
        degradation=config.vision_zero.degradation,
        **image_options(config),
    )
    return heldout_games(balanced(config.vision_zero.eval_games, settings), settings, images, seed=seed)


def games_summary(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What a round's games add up to; shares are None without any game."""
    replayed = [(record["phase"], *replay(record)) for record in records]
    games, paid = [game for _, game, _ in replayed], [score for _, _, score in replayed]
    if not games:
        return {"n": 0, "accuracy": None, "abstention": None, "invalid_votes": None, "citizens_win": None} | {
            "invalid_clues": None,
            "phases": {},
        }
    rates = vote_rates(games)
    samples = sum(len(ballot.votes) for game in games for ballot in game.ballots)
    turns = [turn for game in games for turn in game.turns]
    return {
        "n": len(games),
        "accuracy": rates.accuracy,
        "abstention": rates.abstention,
        "invalid_votes": sum(score.tally.invalid for score in paid) / samples,
        "citizens_win": sum(score.citizens_win for score in paid) / len(games),
        "invalid_clues": sum(not turn.reading.valid for turn in turns) / len(turns),
        "phases": dict(sorted(Counter(phase for phase, _, _ in replayed).items())),
    }
