"""The arena: two players meet in whole games of "Who is the spy", each on both sides (arXiv 2509.25541, section 4).

About every image there are two games with the spy in the same seat: A holds the citizens and the vote (the referee, or
the seated citizens) against B's spy, and B holds them against A's spy. Every seat is the spy's equally often. So what
an image or a seat is worth cancels, and a player against itself wins half of all games but for chance.

All games of both directions advance in one lock-step: players * rounds + 1 sampling rounds for each of A and B.

Win rates have Wilson intervals. The gain of A's citizens over B's is paired by image, with an interval over images
(`statistics`). The rate of all of A's games counts both of an image's games as independent, which they nearly are: it
is their sum, and a picture that is easy for citizens helps one side and hurts the other, so the true interval is rather
narrower.

Left out: tables of more than two players, and ratings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from typing import Literal, get_args

from selfsight.errors import SelfsightError
from selfsight.evaluate.games import check_balance, deal_to_seat, read_records, usable_images
from selfsight.evaluate.players import Player, play_out
from selfsight.evaluate.statistics import METHOD, paired_interval, wilson_interval
from selfsight.images import SpyImages
from selfsight.methods.vision_zero import Game, GameSettings, ScoringSettings, game_record, score
from selfsight.run import canonical_json, write_atomic

Side = Literal["A", "B"]


@dataclass(frozen=True)
class Match:
    """A game and who holds its citizens and the vote; the other side holds the spy."""

    game: Game
    citizens: Side

    def holder(self, seat: int | None) -> Side:
        """Who holds a seat; None is the referee's."""
        return _other(self.citizens) if seat == self.game.secret.spy else self.citizens

    @property
    def citizens_win(self) -> bool:
        """Whether a strict plurality of the votes named the spy."""
        return score(self.game, ScoringSettings()).citizens_win


def arena_matches(count: int, settings: GameSettings, images: SpyImages, *, seed: int) -> tuple[Match, ...]:
    """`count` games for each direction, about the same images and with the spy in the same seats."""
    check_balance(count, settings)
    return tuple(
        Match(
            deal_to_seat(
                settings, place % settings.players + 1, ref, images, seed=seed, id=f"arena-{seed}-{place}-{side}"
            ),
            side,
        )
        for place, ref in enumerate(usable_images(images, count))
        for side in get_args(Side)
    )


def play_matches(
    matches: Sequence[Match], players: Mapping[Side, Player], *, on_step: Callable[[], None] = lambda: None
) -> tuple[Match, ...]:
    """The matches, finished. The same player may hold both sides; it is then asked once per step."""
    by_id = {match.game.id: match for match in matches}
    distinct = list({id(player): player for player in players.values()}.values())
    finished = play_out(
        [match.game for match in matches],
        distinct,
        lambda game, seat: players[by_id[game.id].holder(seat)],
        on_step=on_step,
    )
    return tuple(replace(match, game=game) for match, game in zip(matches, finished, strict=True))


def arena_result(matches: Sequence[Match], *, seed: int = 0) -> dict[str, object]:
    """What finished matches show.

    `a_citizens` and `a_spy` are A's wins on either side, `b_citizens` and `b_spy` those of B, `a` and `b` all of each;
    `citizens_gain` is the win rate of A's citizens minus that of B's; `guessing` is the citizens' win rate if every
    vote were drawn uniformly (None with seated voters). `form` has each side's clues and votes.
    """
    sides: dict[Side, list[Match]] = {side: [m for m in matches if m.citizens == side] for side in get_args(Side)}
    keys = {side: [(m.game.secret.image.id, m.game.secret.spy) for m in ms] for side, ms in sides.items()}
    if not matches or keys["A"] != keys["B"]:
        raise SelfsightError(
            "the matches are not the same games in both directions",
            hint="use matches from `arena_matches`, all of them",
        )
    settings = matches[0].game.settings
    won = {side: [m.citizens_win for m in ms] for side, ms in sides.items()}
    n = len(sides["A"])
    wins_a, wins_b = sum(won["A"]), sum(won["B"])
    images = [image for image, _ in keys["A"]]
    gain = paired_interval(won["B"], won["A"], seed=seed, clusters=images)
    return {
        "games": 2 * n,
        "intervals": METHOD,
        "images": len(set(images)),
        "guessing": win_by_guessing(settings.players, settings.votes) if settings.voter == "referee" else None,
        "a": _rate(wins_a + n - wins_b, 2 * n),
        "b": _rate(wins_b + n - wins_a, 2 * n),
        "a_citizens": _rate(wins_a, n),
        "a_spy": _rate(n - wins_b, n),
        "b_citizens": _rate(wins_b, n),
        "b_spy": _rate(n - wins_a, n),
        "citizens_gain": {"difference": gain.mean, "ci95": [gain.low, gain.high]},
        "by_spy_seat": {
            str(seat): {
                "a_citizens": _rate(*_won_at(sides["A"], seat)),
                "b_citizens": _rate(*_won_at(sides["B"], seat)),
            }
            for seat in sorted({spy for _, spy in keys["A"]})
        },
        "form": {side.lower(): _form(matches, side) for side in get_args(Side)},
    }


def win_by_guessing(players: int, votes: int) -> float:
    """How often `votes` uniform votes among `players` give one seat a strict plurality, exactly."""
    ways = 0
    for mine in range(1, votes + 1):
        # others[k]: ways to give k labelled votes to the other seats, each less than `mine`
        others = [1] + [0] * (votes - mine)
        for _ in range(players - 1):
            others = [
                sum(comb(k, given) * others[k - given] for given in range(min(k, mine - 1) + 1))
                for k in range(votes - mine + 1)
            ]
        ways += comb(votes, mine) * others[votes - mine]
    return ways / players**votes


def write_matches(path: Path, matches: Sequence[Match], names: Mapping[Side, str]) -> None:
    """Finished matches as JSON lines: the record of each game, and who held which side."""
    lines = []
    for match in matches:
        held = {"citizens_held_by": match.citizens, "players": dict(names)}
        lines.append(canonical_json(game_record(match.game, ScoringSettings()) | held) + b"\n")
    write_atomic(path, b"".join(lines))


def read_matches(path: Path) -> tuple[Match, ...]:
    """The matches of a file, each game judged again from what was sampled."""
    matches = []
    for game, record in read_records(path):
        side = record.get("citizens_held_by")
        if side != "A" and side != "B":
            raise SelfsightError(
                f"{path}: game {game.id!r} does not say who held the citizens",
                hint="give a file that `selfsight arena --out` wrote",
            )
        matches.append(Match(game, "A" if side == "A" else "B"))
    return tuple(matches)


def _other(side: Side) -> Side:
    return "B" if side == "A" else "A"


def _rate(wins: int, n: int) -> dict[str, object]:
    estimate = wilson_interval(wins, n)
    return {"wins": wins, "n": n, "rate": estimate.mean, "ci95": [estimate.low, estimate.high]}


def _won_at(matches: Sequence[Match], seat: int) -> tuple[int, int]:
    there = [match.citizens_win for match in matches if match.game.secret.spy == seat]
    return sum(there), len(there)


def _form(matches: Sequence[Match], side: Side) -> dict[str, object]:
    """How one side's clues and votes read; shares are over all that it gave."""
    turns = [turn for match in matches for turn in match.game.turns if match.holder(turn.seat) == side]
    ballots = [ballot for match in matches if match.citizens == side for ballot in match.game.ballots]
    votes = [vote for ballot in ballots for vote in ballot.votes]
    said = [turn.completion for turn in turns] + [one for ballot in ballots for one in ballot.completions]
    return {
        "clues": len(turns),
        "refused_clues": sum(not turn.reading.valid for turn in turns) / len(turns),
        "votes": len(votes),
        "abstentions": sum(vote.kind == "abstention" for vote in votes) / len(votes),
        "invalid_votes": sum(vote.kind == "invalid" for vote in votes) / len(votes),
        "cut_off": sum(not one.finished for one in said) / len(said),
    }
