"""Whether clues are true, by the scenes behind worlds: for measurement only, nothing of it reaches a player.

What a sentence says is decided by whoever is given as `read` and `holds`: a grammar of statements and their truth.
A clue is judged against the citizens' picture, the spy's clues too: that is what the others compare it with. Beside
it stands a voter that knows the scene and accuses whoever has said most that is false, drawing lots where several have,
or nobody. With the spy's ordinary clues its accuracy is about what a voter can reach that reads every clue and sees
everything. (What clues give away beside their truth it does not use.)

Left out: whether a clue tells much. "There is a shape" is as true as a clue can be.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selfsight.errors import SelfsightError
from selfsight.evaluate.oracle import knows
from selfsight.evaluate.statistics import share_interval, wilson_interval
from selfsight.images.worlds.scene import Picture
from selfsight.images.worlds.truth import scene_of
from selfsight.methods.vision_zero import Game

Statement = TypeVar("Statement")


@dataclass(frozen=True)
class JudgedClue:
    """A clue and what is true of it; `readable` False outside the grammar, `true` None where nothing is decided."""

    game_id: str
    seat: int
    round: int
    role: str
    text: str
    valid: bool
    readable: bool
    true: bool | None


def judge_clues(
    games: Sequence[Game],
    read: Callable[[str], Statement | None],
    holds: Callable[[Statement, Picture], bool | None],
) -> list[JudgedClue]:
    """Every clue of games on worlds, judged against the citizens' picture."""
    judged = []
    for game in games:
        if not knows(game.secret.image):
            raise SelfsightError(
                f"game {game.id!r}: nothing is known about the image {game.secret.image.id}",
                hint="only clues about worlds can be checked",
            )
        picture = scene_of(game.secret.image)
        for turn in game.turns:
            statement = read(turn.reading.text) if turn.reading.valid else None
            judged.append(
                JudgedClue(
                    game_id=game.id,
                    seat=turn.seat,
                    round=turn.round,
                    role="spy" if turn.seat == game.secret.spy else "citizen",
                    text=turn.reading.text,
                    valid=turn.reading.valid,
                    readable=statement is not None,
                    true=None if statement is None else holds(statement, picture),
                )
            )
    return judged


def clue_truth(games: Sequence[Game], judged: Sequence[JudgedClue]) -> dict[str, object]:
    """By role: shares of valid, readable, true and false clues. Beside them the accuracy of the voter that knows the
    scene, with an interval over games.

    `true` is over all clues, `true_of_decided` over those that are either true or false, with Wilson's interval (None
    where there are none).
    """
    found: dict[str, object] = {}
    for role in ("citizen", "spy"):
        clues = [clue for clue in judged if clue.role == role]
        if clues:
            found[role] = _shares(clues)
    said: dict[str, list[JudgedClue]] = {game.id: [] for game in games}
    for clue in judged:
        said[clue.game_id].append(clue)
    named = []
    for game in games:
        accused = most_false(said[game.id]) or range(1, game.settings.players + 1)
        named.append((game.secret.spy in accused) / len(accused))
    estimate = share_interval(named)
    return found | {
        "knowing_voter": {
            "chance": sum(1 / game.settings.players for game in games) / len(games),
            "accuracy": estimate.mean,
            "ci95": [estimate.low, estimate.high],
            "n": len(games),
        }
    }


def most_false(clues: Sequence[JudgedClue]) -> list[int]:
    """The seats that have said more false things than any other; none where nothing false was said."""
    counts = Counter(clue.seat for clue in clues if clue.true is False)
    most = max(counts.values(), default=0)
    return sorted(seat for seat, count in counts.items() if count == most)


def _shares(clues: Sequence[JudgedClue]) -> dict[str, object]:
    decided = [clue for clue in clues if clue.true is not None]
    estimate = wilson_interval(sum(clue.true is True for clue in decided), len(decided)) if decided else None
    return {
        "n": len(clues),
        "valid": sum(clue.valid for clue in clues) / len(clues),
        "readable": sum(clue.readable for clue in clues) / len(clues),
        "true": sum(clue.true is True for clue in clues) / len(clues),
        "false": sum(clue.true is False for clue in clues) / len(clues),
        "true_of_decided": None if estimate is None else estimate.mean,
        "true_of_decided_ci95": None if estimate is None else [estimate.low, estimate.high],
    }
