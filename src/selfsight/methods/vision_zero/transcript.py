"""A finished game as a line of games.jsonl, and back: what was sampled, how it was read, and what it paid.

A record holds the completions themselves, so it can be judged again: `replay` deals the game anew from its seed and
id, reads every completion again and computes the rewards again, to the last bit. What the record says must be what
follows from it; a difference is an error that names the game and the key.

Left out: pixels (images are named by reference) and token ids (a checkpoint needs them no more once a step is done).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.methods.vision_zero.game import Ballot, Completion, Game, GameSettings, Turn, deal
from selfsight.methods.vision_zero.scoring import RoleBaselines, Score, ScoringSettings, score
from selfsight.methods.vision_zero.switching import Phase

FORMAT = 1


def game_record(
    game: Game, scoring: ScoringSettings, *, phase: Phase | None = None, baselines: RoleBaselines | None = None
) -> dict[str, object]:
    """A finished game as JSON. `phase` is the one it was played in; `baselines` are those that were subtracted
    from its clue rewards, when its clues trained.
    """
    paid = score(game, scoring)
    return {
        "format": FORMAT,
        "id": game.id,
        "seed": game.seed,
        "settings": asdict(game.settings),
        "scoring": asdict(scoring),
        "phase": phase,
        "image": asdict(game.secret.image),
        "spy_image": asdict(game.secret.spy_image),
        "spy": game.secret.spy,
        "turns": [_turn_record(turn) for turn in game.turns],
        "ballots": [_ballot_record(ballot) for ballot in game.ballots],
        "score": _score_record(paid),
        "baselines": None if baselines is None else asdict(baselines),
        "advantages": None if baselines is None else [*baselines.advantages(paid.clue_rewards, game.secret.spy)],
    }


def replay(record: Mapping[str, Any]) -> tuple[Game, Score]:
    """The game of a record and its score, both computed anew; SelfsightError where the record disagrees."""
    name = f"game {record.get('id')!r}"
    try:
        if record["format"] != FORMAT:
            known = f"this version reads format {FORMAT}"
            raise SelfsightError(f"{name}: has format {record['format']!r}; {known}", hint="use the one that wrote it")
        scoring = ScoringSettings(**record["scoring"])
        game = _played(record)
        baselines = None if record["baselines"] is None else RoleBaselines(**record["baselines"])
        anew = game_record(game, scoring, phase=record["phase"], baselines=baselines)
    except (KeyError, TypeError, ValueError) as error:
        raise SelfsightError(
            f"{name}: is not a record of a finished game ({type(error).__name__}: {error})",
            hint="the file is damaged or was written by another version",
        ) from error
    for key, value in anew.items():
        if record[key] != value:
            raise SelfsightError(
                f"{name}: {key!r} does not follow from what was sampled",
                hint="the record was changed, or the rules of the version that wrote it were others",
            )
    return game, score(game, scoring)


def _played(record: Mapping[str, Any]) -> Game:
    game = deal(
        GameSettings(**record["settings"]),
        seed=record["seed"],
        id=record["id"],
        image=ImageRef(**record["image"]),
        spy_image=ImageRef(**record["spy_image"]),
    )
    for turn in record["turns"]:
        game = game.with_clue(_completion(turn))
    return game.with_votes({b["voter"]: [_completion(vote) for vote in b["votes"]] for b in record["ballots"]})


def _completion(record: Mapping[str, Any]) -> Completion:
    return Completion(record["completion"], record["finished"])


def _turn_record(turn: Turn) -> dict[str, object]:
    return {
        "seat": turn.seat,
        "round": turn.round,
        "completion": turn.completion.text,
        "finished": turn.completion.finished,
        "clue": turn.reading.text,
        "note": turn.reading.note,
        "valid": turn.reading.valid,
        "reason": turn.reading.reason,
    }


def _ballot_record(ballot: Ballot) -> dict[str, object]:
    read = zip(ballot.completions, ballot.votes, strict=True)
    return {
        "voter": ballot.voter,
        "votes": [{"completion": said.text, "finished": said.finished, **asdict(vote)} for said, vote in read],
    }


def _score_record(paid: Score) -> dict[str, object]:
    return {
        "votes": [*paid.tally.for_seat],
        "abstentions": paid.tally.abstentions,
        "invalid": paid.tally.invalid,
        "citizens_win": paid.citizens_win,
        "clue_rewards": [*paid.clue_rewards],
        "clue_penalties": [*paid.clue_penalties],
        "decision_rewards": [[*rewards] for rewards in paid.decision_rewards],
    }
