"""The games of a Vision-Zero run as data of a page, so that they can be played again step by step.

Every record is judged again (`transcript.replay`): a game whose clues, votes or rewards do not follow from what was
sampled is named as a trouble and not shown. Of a round under way the parts are read that it has written.

Left out: the held-out games, in which nobody learns; `rounds/0/clues.jsonl` has them in the same format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.methods.vision_zero import Ballot, Game, Score, ScoringSettings, Vote, replay
from selfsight.report.gallery import Album, Columns, shortened
from selfsight.report.playing import rewards_as_arithmetic
from selfsight.report.reading import RunReading, Trouble, number, read_jsonl_lines, round_numbers

PIECE: Final = 50
_NOTE: Final = 600
_VOTE: Final = 300


@dataclass(frozen=True)
class Replays:
    """`columns` have a value per game, `details` are pieces of whole games in the same order."""

    columns: Columns
    details: tuple[tuple[dict[str, Any], ...], ...]
    shown: int
    played: int


def replays(run: RunReading, album: Album, troubles: list[Trouble], *, most: int) -> Replays:
    """The games of a run, at most about `most`; their pictures go into `album`."""
    records = [
        (round, file, place, record)
        for round in round_numbers(run.path)
        for file in _files(run.path, round)
        for place, record in _records(run.path, file, troubles)
    ]
    step = max(1, -(-len(records) // max(1, most)))
    columns: Columns = {}
    details: list[dict[str, Any]] = []
    for round, file, place, record in records[::step]:
        try:
            game, paid = replay(record)
            scoring = ScoringSettings(**record["scoring"])
        except SelfsightError as error:
            troubles.append(Trouble(f"{file.as_posix()}, line {place}", error.message))
            continue
        if not _named(game.secret.image) or not _named(game.secret.spy_image):
            troubles.append(Trouble(f"{file.as_posix()}, line {place}", "names no pictures"))
            continue
        row = _row(game, paid, round, record, album)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        details.append(_detail(game, paid, scoring, record))
    pieces = [tuple(details[start : start + PIECE]) for start in range(0, len(details), PIECE)]
    return Replays(columns, tuple(pieces), len(details), len(records))


def _files(path: Path, round: int) -> list[Path]:
    folder = Path("rounds", str(round))
    if (path / folder / "games.jsonl").exists():
        return [folder / "games.jsonl"]
    return [folder / "parts" / part.name for part in sorted((path / folder / "parts").glob("games-*.jsonl"))]


def _records(path: Path, file: Path, troubles: list[Trouble]) -> list[tuple[int, Mapping[str, Any]]]:
    found, damaged = read_jsonl_lines(path, file)
    troubles += damaged
    return found


def _named(image: ImageRef) -> bool:
    """The rules play about images of any name; here they are opened."""
    return isinstance(image.id, str) and isinstance(image.origin, str)


def _row(game: Game, paid: Score, round: int, record: Mapping[str, Any], album: Album) -> dict[str, Any]:
    return {
        "id": game.id,
        "round": round,
        "phase": record["phase"] if isinstance(record["phase"], str) else "",
        "image": album.number(game.secret.image),
        "spy_image": album.number(game.secret.spy_image),
        "spy": game.secret.spy,
        "players": game.settings.players,
        "citizens_win": int(paid.citizens_win),
        "refused": sum(not turn.reading.valid for turn in game.turns),
        "abstained": paid.tally.abstentions,
        "unread": paid.tally.invalid,
    }


def _detail(game: Game, paid: Score, scoring: ScoringSettings, record: Mapping[str, Any]) -> dict[str, Any]:
    advantages = record["advantages"]
    return {
        "voter": game.settings.voter,
        "view": game.settings.spy_view,
        "clues": [
            [turn.seat, turn.round, turn.reading.text, shortened(turn.reading.note, _NOTE), turn.reading.reason]
            for turn in game.turns
        ],
        "ballots": [_ballot(ballot, rewards) for ballot, rewards in
                    zip(game.ballots, paid.decision_rewards, strict=True)],
        "votes": list(paid.tally.for_seat),
        "rewards": list(paid.clue_rewards),
        "advantages": [number(value) for value in advantages] if isinstance(advantages, Sequence) else None,
        "lines": rewards_as_arithmetic(game, paid, scoring),
    }  # fmt: skip


def _ballot(ballot: Ballot, rewards: Sequence[float]) -> dict[str, Any]:
    return {
        "voter": ballot.voter,
        "votes": [
            [_vote(vote), reward, shortened(said.text, _VOTE)]
            for vote, reward, said in zip(ballot.votes, rewards, ballot.completions, strict=True)
        ],
    }


def _vote(vote: Vote) -> int:
    """The accused seat; 0 for n/a, -1 for what could not be read."""
    return vote.seat if vote.seat is not None else 0 if vote.kind == "abstention" else -1
