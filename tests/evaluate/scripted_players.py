"""Players whose games are known in advance. They find out who they are from their prompts, as a model must."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from selfsight.images import BlankView, ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.language import GamePack, get_game_pack
from selfsight.methods.vision_zero import Completion, Request

Vote = Callable[[Request, int], str]
Clue = Callable[[Request], str]


def is_spy(request: Request) -> bool:
    return request.prompt.image is not None and request.prompt.image.id.startswith("blank-")


def told(request: Request) -> str:
    """Gives itself away as the spy, truthful as a citizen; no two clues are the same."""
    seen = "nothing" if is_spy(request) else "something"
    return f"\\boxed{{I see {seen} {request.id.replace('/', ' ')}.}}"


def bluffed(request: Request) -> str:
    """A spy that talks as the citizens do."""
    return f"\\boxed{{I see something {request.id.replace('/', ' ')}.}}"


def found(request: Request, sample: int) -> str:
    """Votes for whoever saw nothing; n/a when nobody did."""
    accused = re.search(r"Player (\d): I see nothing", request.prompt.user)
    return f"\\boxed{{{accused[1] if accused else 'n/a'}}}"


def guessed(request: Request, sample: int) -> str:
    return f"\\boxed{{{np.random.default_rng([request.seed, sample]).integers(1, 6)}}}"


def always(seat: int | str) -> Vote:
    return lambda request, sample: f"\\boxed{{{seat}}}"


class Scripted:
    """A player by script; `calls` are the requests of each time it was asked, with whether greedily."""

    def __init__(self, *, clue: Clue = told, vote: Vote = found, pack: str = "compact") -> None:
        self.clue, self.vote, self._pack = clue, vote, get_game_pack(pack)
        self.calls: list[tuple[tuple[Request, ...], bool]] = []

    @property
    def pack(self) -> GamePack:
        return self._pack

    def answer(self, requests: Sequence[Request], *, greedy: bool = False) -> Mapping[str, Sequence[Completion]]:
        self.calls.append((tuple(requests), greedy))
        return {r.id: [Completion(self._say(r, k)) for k in range(r.n)] for r in requests}

    def _say(self, request: Request, sample: int) -> str:
        return self.vote(request, sample) if "/vote/" in request.id else self.clue(request)


class FewImages:
    """`count` pictures of a world, as a folder of so many files would be."""

    def __init__(self, count: int, bad: Sequence[int] = ()) -> None:
        self.name, self._count, self._bad = "few", count, set(bad)
        self._worlds = WorldSource("scenes", seed=0)

    def describe(self) -> dict[str, object]:
        return {"kind": "few", "count": self._count}

    def size(self) -> int | None:
        return self._count

    def take(self, start: int, count: int) -> list[ImageRef]:
        return self._worlds.take(start, min(count, self._count - start))

    def usable(self, ref: ImageRef) -> bool:
        return int(ref.id.rpartition("-")[2]) not in self._bad

    def open(self, ref: ImageRef) -> Image.Image:
        return self._worlds.open(ref)


def few(count: int, bad: Sequence[int] = ()) -> BlankView:
    return BlankView(FewImages(count, bad))
