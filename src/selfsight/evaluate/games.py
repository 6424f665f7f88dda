"""Held-out games of "Who is the spy": how often a voter finds the spy, on clues that somebody else gave.

The clues come from a frozen player and are drawn once. Games are written to a file in the format of a run's games.jsonl
and are judged again when read, so two voters are compared on the very same clues, pairwise. On worlds the images are of
the split `heldout`, which training never draws, under a seed of their own. Every seat is the spy's equally often, so a
voter that always names the same seat is right exactly 1/players of the time.

A voter is asked greedily once and sampled at temperature 1. `accuracy` is greedy, `sampled` the mean share of right
samples, `majority` whether most samples name the spy: more than name anybody else and more than say n/a, as in
training; a tie is not found. Intervals (95 %) take images as clusters; `statistics` says how they are made.

Left out: clues of a player that knows the voter. Against such a spy a voter may do worse than here; see `arena`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as naturals
from pathlib import Path
from typing import Any

import numpy as np

from selfsight.errors import SelfsightError
from selfsight.evaluate.players import Player, play_out
from selfsight.evaluate.statistics import paired_interval, share_interval
from selfsight.images import Choice, Degradation, ImageRef, Limits, SpyImages, SpyView, spy_images
from selfsight.language import GamePack, Prompt
from selfsight.methods.vision_zero import (
    Game,
    GameSettings,
    Request,
    ScoringSettings,
    Vote,
    deal,
    game_record,
    open_requests,
    read_vote,
    replay,
)
from selfsight.methods.vision_zero.scoring import citizens_win, tally
from selfsight.run import canonical_json, derive, hash_bytes, read_jsonl, write_atomic

SAMPLES = 8

PromptOf = Callable[[Game, Request, GamePack], Prompt]


@dataclass(frozen=True)
class Decision:
    """What one voter made of one game; `voter` is None for the referee. `clues` is a hash of what it had heard."""

    id: str
    game_id: str
    image_id: str
    clues: str
    players: int
    spy: int
    voter: int | None
    greedy: Vote
    greedy_text: str
    sampled: tuple[Vote, ...]

    @property
    def chance(self) -> float:
        """How often a guess is right; a citizen knows that it is not the spy."""
        return 1 / (self.players if self.voter is None else self.players - 1)

    @property
    def found(self) -> float:
        """1 when the greedy vote names the spy."""
        return float(self.greedy.seat == self.spy)

    @property
    def found_share(self) -> float:
        """Share of the samples that name the spy."""
        return sum(vote.seat == self.spy for vote in self.sampled) / len(self.sampled)

    @property
    def majority(self) -> float:
        """1 when more samples name the spy than anybody else, and than say n/a."""
        counted = tally(self.sampled, self.players)
        named = counted.for_seat[self.spy - 1]
        return float(citizens_win(counted.for_seat, self.spy) and named > counted.abstentions)

    def share(self, kind: str) -> float:
        """Share of the samples of a kind: accusation, abstention or invalid."""
        return sum(vote.kind == kind for vote in self.sampled) / len(self.sampled)


# Name of a measure, of its interval, and its value for one decision.
_MEASURES: tuple[tuple[str, str, Callable[[Decision], float]], ...] = (
    ("accuracy", "ci95", lambda d: d.found),
    ("sampled", "sampled_ci95", lambda d: d.found_share),
    ("majority", "majority_ci95", lambda d: d.majority),
)


# ------------------------------------------------------------------------------------------------------- games


def heldout_images(
    spec: str,
    spy_view: SpyView,
    *,
    seed: int,
    size: int,
    degradation: Degradation = "mask",
    limits: Limits = Limits(),  # noqa: B008 - frozen
    choice: Choice = Choice(),  # noqa: B008 - frozen
    max_bad_fraction: float = 0.01,
) -> SpyImages:
    """The images of held-out games: of worlds those that training never draws, of files all of them."""
    own = derive(seed, "held-out games")
    return spy_images(
        spec,
        spy_view,
        seed=own,
        degradation=degradation,
        size=size,
        split="heldout",
        limits=limits,
        choice=choice,
        max_bad_fraction=max_bad_fraction,
    )


def usable_images(images: SpyImages, wanted: int) -> list[ImageRef]:
    """The first `wanted` references that can be opened; from the front again when there are fewer."""
    size = images.size()
    refs: list[ImageRef] = []
    for place in range(size) if size is not None else naturals():
        if len(refs) == wanted:
            break
        refs += [ref for ref in images.take(place, 1) if images.usable(ref)]
    if not refs:
        raise SelfsightError(f"{images.name}: no image can be used", hint="give other images")
    return [refs[place % len(refs)] for place in range(wanted)]


def heldout_games(count: int, settings: GameSettings, images: SpyImages, *, seed: int) -> tuple[Game, ...]:
    """`count` games about an image each, dealt and not yet played; every seat is the spy's equally often."""
    check_balance(count, settings)
    refs = usable_images(images, count)
    return tuple(
        deal_to_seat(settings, place % settings.players + 1, ref, images, seed=seed, id=f"held-out-{seed}-{place}")
        for place, ref in enumerate(refs)
    )


def balanced(count: int, settings: GameSettings) -> int:
    """The next number of games from `count` on in which every seat can be the spy's equally often."""
    return max(1, -(-count // settings.players)) * settings.players


def check_balance(count: int, settings: GameSettings) -> None:
    """SelfsightError unless every seat can be the spy's equally often."""
    above = balanced(count, settings)
    if count != above:
        raise SelfsightError(
            f"{count} games with {settings.players} players: the spy cannot sit in every seat equally often",
            hint=f"give a multiple of {settings.players}, such as {above}",
        )


def deal_to_seat(settings: GameSettings, spy: int, ref: ImageRef, images: SpyImages, *, seed: int, id: str) -> Game:
    """A game whose spy sits in seat `spy`. Its own seed is the first that leads there, so it replays from it."""
    spy_image = images.spy_view(ref)
    dealt = (
        deal(settings, seed=derive(seed, id, attempt), id=id, image=ref, spy_image=spy_image) for attempt in naturals()
    )
    return next(game for game in dealt if game.secret.spy == spy)


def draw_clues(
    player: Player, games: Sequence[Game], *, on_step: Callable[[], None] = lambda: None
) -> tuple[Game, ...]:
    """The games played to their end by a frozen player in every seat; its votes are in the record as well."""
    return play_out(games, [player], lambda game, seat: player, on_step=on_step)


def write_games(path: Path, games: Sequence[Game]) -> None:
    """Finished games as JSON lines; an existing file is replaced."""
    records = (game_record(game, ScoringSettings()) for game in games)
    write_atomic(path, b"".join(canonical_json(record) + b"\n" for record in records))


def read_games(path: Path) -> tuple[Game, ...]:
    """The games of a file, each judged again; a run's games.jsonl does as well."""
    return tuple(game for game, _ in read_records(path))


def read_records(path: Path) -> list[tuple[Game, dict[str, object]]]:
    """The games of a file with the records that they came from; SelfsightError names file and game."""
    records = read_jsonl(path)
    if not records:
        raise SelfsightError(f"{path}: holds no games", hint="give a file of finished games, one JSON record per line")
    found = []
    for record in records:
        try:
            found.append((replay(record)[0], record))
        except SelfsightError as error:
            raise SelfsightError(f"{path}: {error.message}", hint=error.hint) from error
    return found


# --------------------------------------------------------------------------------------------------- decisions


def decide(
    player: Player,
    games: Sequence[Game],
    *,
    samples: int = SAMPLES,
    prompt_of: PromptOf | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """How `player` votes on games that have all their clues; votes that they hold already are not looked at.

    `prompt_of` replaces what a voter is asked (see `probes`). Two sampling rounds for any number of games; `on_step` is
    called after each.
    """
    open_games = [replace(game, ballots=()) for game in games]
    by_id = {game.id: game for game in open_games}
    requests = list(open_requests(open_games, player.pack))
    if any(game.stage != "vote" for game in open_games):
        raise ValueError("decisions need games that have all their clues")
    if prompt_of is not None:
        requests = [replace(r, prompt=prompt_of(by_id[r.game_id], r, player.pack)) for r in requests]
    greedy = player.answer([replace(request, n=1) for request in requests], greedy=True)
    on_step()
    sampled = player.answer([replace(request, n=samples) for request in requests])
    on_step()
    found = []
    for request in requests:
        game = by_id[request.game_id]
        votes = [
            read_vote(said.text, players=game.settings.players, voter=request.seat, finished=said.finished)
            for said in (*greedy[request.id], *sampled[request.id])
        ]
        found.append(
            Decision(
                id=request.id,
                game_id=game.id,
                image_id=game.secret.image.id,
                clues=hash_bytes(canonical_json([turn.reading.text for turn in game.turns])),
                players=game.settings.players,
                spy=game.secret.spy,
                voter=request.seat,
                greedy=votes[0],
                greedy_text=greedy[request.id][0].text,
                sampled=tuple(votes[1:]),
            )
        )
    return found


def summarise(decisions: Sequence[Decision]) -> dict[str, object]:
    """Accuracies in [0, 1] with 95 % intervals beside chance, shares of n/a and of invalid votes, by the spy's seat.

    `accused` is the share of all samples that name each seat: a voter without a favourite seat is even there, since
    the spy is.
    """
    seats = range(1, max(d.players for d in decisions) + 1)
    samples = [vote for d in decisions for vote in d.sampled]
    return {
        "chance": float(np.mean([d.chance for d in decisions])),
        "n": len(decisions),
        "samples": len(samples),
        **_accuracies(decisions),
        "abstentions": float(np.mean([d.greedy.kind == "abstention" for d in decisions])),
        "invalid": float(np.mean([d.greedy.kind == "invalid" for d in decisions])),
        "sampled_abstentions": float(np.mean([d.share("abstention") for d in decisions])),
        "sampled_invalid": float(np.mean([d.share("invalid") for d in decisions])),
        "by_spy_seat": {
            str(seat): {"n": len(there), **_accuracies(there)}
            for seat in seats
            if (there := [d for d in decisions if d.spy == seat])
        },
        "accused": {str(seat): sum(vote.seat == seat for vote in samples) / len(samples) for seat in seats},
    }


def write_decisions(path: Path, decisions: Sequence[Decision]) -> None:
    """Decisions as JSON lines; an existing file is replaced."""
    write_atomic(path, b"".join(canonical_json(asdict(decision)) + b"\n" for decision in decisions))


def read_decisions(path: Path) -> list[Decision]:
    """What `write_decisions` wrote."""
    lines: list[dict[str, Any]] = read_jsonl(path)
    found = []
    for line in lines:
        sampled = tuple(Vote(**vote) for vote in line["sampled"])
        found.append(Decision(**line | {"greedy": Vote(**line["greedy"]), "sampled": sampled}))
    return found


def _accuracies(decisions: Sequence[Decision]) -> dict[str, object]:
    images = [d.image_id for d in decisions]
    found: dict[str, object] = {}
    for name, interval, read in _MEASURES:
        estimate = share_interval([read(d) for d in decisions], clusters=images)
        found |= {name: estimate.mean, interval: [estimate.low, estimate.high]}
    return found


def compare(before: Sequence[Decision], after: Sequence[Decision], *, seed: int = 0) -> dict[str, object]:
    """Paired change from one voter to another on the same clues, with 95 % intervals over images."""
    if [(d.id, d.clues, d.spy) for d in before] != [(d.id, d.clues, d.spy) for d in after]:
        raise SelfsightError(
            "the two voters have not judged the same clues",
            hint="draw the clues once and give both voters the same games",
        )
    images = [d.image_id for d in before]
    found: dict[str, object] = {}
    for name, interval, read in _MEASURES:
        change = paired_interval([read(d) for d in before], [read(d) for d in after], seed=seed, clusters=images)
        found |= {name: change.mean, interval: [change.low, change.high]}
    return found
