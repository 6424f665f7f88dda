"""`selfsight play`: one game on one image, seat by seat; a person can take a seat among copies of a model.

A person's line is read exactly as a model's completion is: their clue is hostile text that other players' prompts will
hold, and a vote that names nobody is invalid. There is no second try, as for everybody else. A person who has nothing
more to say (end of input) leaves the table, and the game ends there.

Without a person a referee votes with 8 samples, as in training; with one every citizen votes once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.evaluate.games import usable_images
from selfsight.evaluate.named import resolve_model
from selfsight.evaluate.players import Player, open_player, play_step
from selfsight.evaluate.questions import PICTURE_SIZES
from selfsight.images import BlankView, DegradedView, ImageRef, Limits, SpyImages, SpyView, open_image, spy_images
from selfsight.images.safe import content_id, read_image_bytes
from selfsight.language import GamePack
from selfsight.language.prompts import taught_pack
from selfsight.methods.vision_zero import Completion, Game, GameSettings, Request, ScoringSettings, deal
from selfsight.policy.open import model_folder, read_image

_OUT_OF_BOX = str.maketrans("{}\\", "()/")  # a person does not write LaTeX; a brace would end the box around the line


class Table(Protocol):
    """Where a game is shown, and where a person's lines come from."""

    def opening(self, game: Game, picture: Image.Image) -> None:
        """The game begins; `picture` is the person's, or the citizens' when nobody plays."""

    def clue(self, game: Game) -> None:
        """The newest clue was given."""

    def ending(self, game: Game, scoring: ScoringSettings) -> None:
        """The votes are in."""

    def ask(self, question: str) -> str | None:
        """A line from the person; None when they have left."""

    def left(self) -> None:
        """The person has left, the game is not finished."""


class PersonLeft(Exception):
    """The person in a seat has no more to say."""


class Person:
    """A player who is asked at the table."""

    def __init__(self, table: Table, pack: GamePack) -> None:
        self._table, self._pack = table, pack

    @property
    def pack(self) -> GamePack:
        return self._pack

    def answer(self, requests: Sequence[Request], *, greedy: bool = False) -> Mapping[str, Sequence[Completion]]:
        return {request.id: [Completion(self._line(request)) for _ in range(request.n)] for request in requests}

    def _line(self, request: Request) -> str:
        voting = "/vote/" in request.id
        said = self._table.ask("Who is the spy? (a player's number, or n/a)" if voting else "Your clue:")
        if said is None:
            raise PersonLeft
        return f"\\boxed{{{said.translate(_OUT_OF_BOX)}}}"


class OneFile:
    """A single image file as a source."""

    def __init__(self, path: Path) -> None:
        self.name = f"file:{path.name}"
        self._limits = Limits()
        self._path = path
        self._ref = ImageRef(content_id(read_image_bytes(path, self._limits)), str(path))

    def describe(self) -> dict[str, object]:
        return {"kind": "file", "path": str(self._path)}

    def size(self) -> int | None:
        return 1

    def take(self, start: int, count: int) -> list[ImageRef]:
        return [self._ref][start : start + count]

    def usable(self, ref: ImageRef) -> bool:
        """True; `open` names what is wrong with a file that somebody asked for by name."""
        return True

    def open(self, ref: ImageRef) -> Image.Image:
        return open_image(self._path, self._limits)


def table_images(image: Path | None, world: str, rules: GameSettings, *, seed: int, size: int) -> SpyImages:
    """The picture of a game: a file, or the first held-out one of a world under `seed`."""
    if image is None:
        return spy_images(f"worlds:{world}", rules.spy_view, seed=seed, size=size, split="heldout")
    if rules.spy_view == "modified":
        raise SelfsightError(
            f"{image}: there is no modified twin of a single image", hint="use --spy-view blank or degraded, or --world"
        )
    return BlankView(OneFile(image)) if rules.spy_view == "blank" else DegradedView(OneFile(image), "mask", seed=seed)


def rules_at_table(*, players: int, clue_rounds: int, spy_view: SpyView, seat: int | None) -> GameSettings:
    """With a person in seat `seat` every citizen has one vote; without, a referee has those of training."""
    if seat is None:
        return GameSettings(players=players, clue_rounds=clue_rounds, spy_view=spy_view)
    return GameSettings(players=players, clue_rounds=clue_rounds, spy_view=spy_view, voter="seated", votes=1)


def play(
    model: str,
    rules: GameSettings,
    table: Table,
    *,
    image: Path | None,
    world: str,
    seat: int | None,
    seed: int,
) -> Game:
    """Opens the model, plays one game at `table`, and returns the game as far as it came."""
    if seat is not None and not 1 <= seat <= rules.players:
        raise SelfsightError(f"there is no seat {seat}", hint=f"take one of 1 to {rules.players}")
    named = resolve_model(model)
    folder = model_folder(named.model, named.revision)
    images = table_images(image, world, rules, seed=seed, size=PICTURE_SIZES[taught_pack(folder)])
    player = open_player(folder, read_image(images))
    return play_at(table, player, images, rules, seat=seat, seed=seed)


def play_at(
    table: Table, player: Player, images: SpyImages, rules: GameSettings, *, seat: int | None, seed: int
) -> Game:
    """One game about the first image of `images`: `player` everywhere but in the person's seat."""
    (ref,) = usable_images(images, 1)
    game = deal(rules, seed=seed, id="play", image=ref, spy_image=images.spy_view(ref))
    person = Person(table, player.pack)

    def holder(game: Game, asked: int | None) -> Player:
        return person if seat is not None and asked == seat else player

    before = game.secret.image if seat is None else game.view(seat).image
    table.opening(game, read_image(images)(before))
    try:
        while game.stage != "over":
            clues = len(game.turns)
            (game,) = play_step([game], [player, person], holder)
            if len(game.turns) > clues:
                table.clue(game)
    except PersonLeft:
        table.left()
        return game
    table.ending(game, ScoringSettings())
    return game
