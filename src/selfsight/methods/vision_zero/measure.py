"""What is measured after every round: question answering on held-out worlds, which no game has trained (transfer), and
the round's games.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.evaluate.heldout import summarise
from selfsight.methods.measuring import HeldOut
from selfsight.methods.vision_zero.scoring import vote_rates
from selfsight.methods.vision_zero.table import Table
from selfsight.methods.vision_zero.transcript import replay
from selfsight.run import RunDirectory, pretty_json, read_jsonl, write_atomic


class Measurer:
    """Measures the policy of a run. `pause` is called between batches: it may raise."""

    def __init__(self, config: EvolveConfig, table: Table, directory: RunDirectory, pause: Callable[[], None]) -> None:
        self.directory = directory
        self.heldout = HeldOut(
            table.policy, table.questions, config, max_length=config.vision_zero.max_answer_length, pause=pause
        )

    def measure(self, round: int) -> tuple[dict[str, Any], list[Path]]:
        """The round's entry for the summary and the files written (round 0 is the base model)."""
        folder = self.directory.round(round)
        answered, table = self.heldout.measure(folder)
        entry: dict[str, Any] = {"round": round, "heldout": summarise(answered), **self.measure_games(round)}
        write_atomic(folder / "round.json", pretty_json(entry))
        return entry, [table, folder / "round.json"]

    def measure_games(self, round: int) -> dict[str, Any]:
        """The game part of a round's entry: the games it was trained on, judged again from their records.

        Games against a frozen opponent, on held-out images, belong here too.
        """
        if round == 0:
            return {}
        return {"games": games_summary(read_jsonl(self.directory.round(round) / "games.jsonl"))}


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
