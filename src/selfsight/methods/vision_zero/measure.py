"""What is measured after every round: the spy found in held-out games, question answering on held-out worlds, which no
game has trained (transfer), and the round's own games.

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
    write_decisions,
    write_games,
)
from selfsight.evaluate.games import summarise as summarise_decisions
from selfsight.evaluate.heldout import summarise
from selfsight.evaluate.players import ModelPlayer
from selfsight.methods.measuring import HeldOut, picture_size
from selfsight.methods.vision_zero.game import Game
from selfsight.methods.vision_zero.rules import game_settings
from selfsight.methods.vision_zero.scoring import vote_rates
from selfsight.methods.vision_zero.table import Table
from selfsight.methods.vision_zero.transcript import replay
from selfsight.run import RunDirectory, pretty_json, read_jsonl, write_atomic

CLUES = "clues.jsonl"


class Measurer:
    """Measures the policy of a run. `pause` is called between batches: it may raise."""

    def __init__(self, config: EvolveConfig, table: Table, directory: RunDirectory, pause: Callable[[], None]) -> None:
        self.config, self.table, self.directory, self.pause = config, table, directory, pause
        self.heldout = HeldOut(
            table.policy, table.questions, config, max_length=config.vision_zero.max_answer_length, pause=pause
        )

    def measure(self, round: int) -> tuple[dict[str, Any], list[Path]]:
        """The round's entry for the summary and the files written (round 0 is the base model)."""
        folder = self.directory.round(round)
        answered, table = self.heldout.measure(folder)
        decisions, files = self.measure_decisions(round)
        entry: dict[str, Any] = {"round": round, "heldout": summarise(answered), "decisions": decisions}
        if round > 0:
            # The games it was trained on, judged again from their records.
            entry["games"] = games_summary(read_jsonl(folder / "games.jsonl"))
        write_atomic(folder / "round.json", pretty_json(entry))
        return entry, [table, *files, folder / "round.json"]

    def measure_decisions(self, round: int) -> tuple[dict[str, Any] | None, list[Path]]:
        """How the model votes on the clues of the starting model, with its paired change, and the files written; None
        where none is wanted.
        """
        own, base = self.config.vision_zero, self.directory.round(0)
        if own.eval_games == 0:
            return None, []
        length = max(own.max_clue_length, own.max_vote_length)
        player = ModelPlayer(self.table.policy, self.table.pack, max_completion_length=length)
        written = [self.directory.round(round) / "decisions.jsonl"]
        if round == 0:
            # Now, because the policy still is the starting model.
            games = draw_clues(player, self._deal(), on_step=self.pause)
            write_games(base / CLUES, games)
            written.append(base / CLUES)
        else:
            games = read_games(base / CLUES)
        self.pause()
        found = decide(player, games, samples=own.votes, on_step=self.pause)
        write_decisions(written[0], found)
        seed = self.config.evaluation.seed
        change = None if round == 0 else compare(read_decisions(base / "decisions.jsonl"), found, seed=seed)
        return {**summarise_decisions(found, seed=seed), "change": change}, written

    def _deal(self) -> tuple[Game, ...]:
        config, settings = self.config, game_settings(self.config)
        seed = config.evaluation.seed
        images = heldout_images(
            config.images,
            settings.spy_view,
            seed=seed,
            size=picture_size(config, self.table.questions),
            degradation=config.vision_zero.degradation,
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
