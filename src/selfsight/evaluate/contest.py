"""`selfsight arena A B`: two models meet, and A is measured as a voter on clues that B gave.

Three parts, each on the same held-out images: whole games in both directions (`arena`); the decisions of A and of B on
games whose clues B drew once, compared pairwise (`games`); and what A finds out from less than it is given (`probes`).
B is the frozen model: the model that A was trained from. On worlds it is also told how true B's clues are, and how
often a voter that sees everything finds the spy by them: about as far as any voter can come (`clue_truth`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.evaluate.arena import arena_matches, arena_result, play_matches, write_matches
from selfsight.evaluate.clue_truth import clue_truth, judge_clues
from selfsight.evaluate.games import (
    SAMPLES,
    check_balance,
    compare,
    decide,
    draw_clues,
    heldout_games,
    heldout_images,
    read_games,
    summarise,
    write_games,
)
from selfsight.evaluate.named import resolve_model
from selfsight.evaluate.oracle import knows
from selfsight.evaluate.players import Player, open_player
from selfsight.evaluate.probes import leak_probes
from selfsight.evaluate.questions import PICTURE_SIZES
from selfsight.images import SpyImages
from selfsight.images.worlds.statements import holds, read_statement
from selfsight.language.prompts import taught_pack
from selfsight.methods.vision_zero import Game, GameSettings
from selfsight.policy.open import model_folder, read_image
from selfsight.run import pretty_json, write_atomic
from selfsight.run.atomic import disk_errors
from selfsight.run.progress import Progress


@dataclass(frozen=True)
class ContestSettings:
    """`games` in each direction. `clues` is a file of finished games to be judged, instead of B's clues drawn anew."""

    games: int = 100
    images: str = "worlds"
    seed: int = 0
    picture_size: int | None = None
    samples: int = SAMPLES
    clues: Path | None = None
    out: Path | None = None


def run_contest(
    a: str, b: str, game: GameSettings, contest: ContestSettings, *, progress: Progress
) -> dict[str, object]:
    """Plays and measures; the result is also written to `contest.out`, with every game."""
    check_balance(contest.games, game)
    named = [resolve_model(model) for model in (a, b)]
    folders = [model_folder(one.model, one.revision) for one in named]
    if contest.out is not None:
        with disk_errors(contest.out):
            contest.out.mkdir(parents=True, exist_ok=True)
    size = contest.picture_size or min(PICTURE_SIZES[taught_pack(folder)] for folder in folders)
    images = heldout_images(contest.images, game.spy_view, seed=contest.seed, size=size)
    opener = read_image(images)
    first = open_player(folders[0], opener)
    second = first if folders[0].resolve() == folders[1].resolve() else open_player(folders[1], opener)
    result = {
        "a": a,
        "b": b,
        "opened": {"a": named[0].model, "b": named[1].model},
        "seed": contest.seed,
        "images": images.describe(),
        "rules": asdict(game),
        **contend(first, second, images, game, contest, names=(a, b), progress=progress),
    }
    if contest.out is not None:
        write_atomic(contest.out / "result.json", pretty_json(result))
    return result


def contend(
    a: Player,
    b: Player,
    images: SpyImages,
    game: GameSettings,
    contest: ContestSettings,
    *,
    names: tuple[str, str],
    progress: Progress,
) -> dict[str, object]:
    """The three parts for two players at hand: {"arena", "decisions"}, with the probes of A among the decisions."""

    def step() -> None:
        progress.step({})

    matches = arena_matches(contest.games, game, images, seed=contest.seed)
    progress.phase(f"arena, {len(matches)} games", game.sampling_calls)
    matches = play_matches(matches, {"A": a, "B": b}, on_step=step)
    if contest.clues is not None:
        games = read_games(contest.clues)
        if any(replace(found.settings, votes=game.votes) != game for found in games):
            raise SelfsightError(
                f"{contest.clues}: holds games of other rules than the arena's",
                hint="give the players, clue rounds, spy view and voter with which its clues were drawn",
            )
    else:
        games = heldout_games(contest.games, game, images, seed=contest.seed)
        progress.phase(f"clues of B, {len(games)} games", game.sampling_calls)
        games = draw_clues(b, games, on_step=step)
    if contest.out is not None:
        write_matches(contest.out / "arena.jsonl", matches, {"A": names[0], "B": names[1]})
        write_games(contest.out / "clues.jsonl", games)
    progress.phase("votes on those clues", 3)
    of_a = decide(a, games, samples=contest.samples)
    step()
    of_b = of_a if b is a else decide(b, games, samples=contest.samples)
    step()
    probes = leak_probes(a, games, samples=contest.samples)
    step()
    return {
        "arena": arena_result(matches, seed=contest.seed),
        "decisions": {
            "a": summarise(of_a),
            "b": summarise(of_b),
            "change": compare(of_b, of_a, seed=contest.seed),
            "probes": probes,
            "clue_truth": clues_truth(games),
        },
    }


def clues_truth(games: Sequence[Game]) -> dict[str, object] | None:
    """How true the clues are; None where nothing is known about an image."""
    if not all(knows(game.secret.image) for game in games):
        return None
    return clue_truth(games, judge_clues(games, read_statement, holds))
