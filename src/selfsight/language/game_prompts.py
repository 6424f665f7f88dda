"""What the players of "Who is the spy" are asked (Vision-Zero, arXiv 2509.25541).

Information is hidden by type. A request is built from exactly what its player knows: the public state (the rules and
the clues), the player's own private state (seat, role, notes) and its own view (an image). The record of the game,
with the spy's seat and both images, is another type (`methods.vision_zero.game`), and no builder takes it.

All requests of a game whose players see the same image share everything up to the end of the image: no system prompt
that depends on the role, the image first, then the text. The clues come before what concerns the player alone.

Two packs, as in `prompts`. `compact` is for the starter VLM: one line of rules, a line per clue, one line that says
who is asked for what. `full` is for instruction-tuned VLMs. Both are answered by private working, which nobody else
sees, and a box.

Left out: the authors' worked examples (players repeat them as clues) and their CLEVR vocabulary (any image will do).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.views import SpyView
from selfsight.language.prompts import Prompt, refuse_special_tokens

MAX_CLUE_WORDS = 30
MAX_CLUE_CHARS = 200
MAX_NOTE_CHARS = 400

Role = Literal["citizen", "spy"]
_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class PublicClue:
    """A sentence that everybody heard; seats and rounds count from 1."""

    seat: int
    round: int
    text: str

    def __post_init__(self) -> None:
        _one_line(self.text, "a clue")


@dataclass(frozen=True)
class PublicState:
    """What everybody at the table knows: the rules, and the clues in the order in which they were given."""

    players: int
    clue_rounds: int
    spy_view: SpyView
    clues: tuple[PublicClue, ...]


@dataclass(frozen=True)
class PrivateState:
    """What one player knows besides: its seat, its role, and its own notes, one per round that it has spoken in."""

    seat: int
    role: Role
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for note in self.notes:
            _one_line(note, "a note")


@dataclass(frozen=True)
class SeatView:
    """The image in front of one seat."""

    seat: int
    image: ImageRef


@dataclass(frozen=True)
class RefereeView:
    """The image in front of the referee, who has no seat: the citizens' image."""

    image: ImageRef


@dataclass(frozen=True)
class GamePack:
    """The wording of both requests. Slots in braces are filled by replacement, never by `str.format`.

    `rules` and `roles` are looked up by the spy's view and by the role; `notes` is left out when there are none.
    """

    name: str
    rules: Mapping[SpyView, str]
    roles: Mapping[Role, str]
    clues_intro: str
    no_clues: str
    notes: str
    seat: str
    give_clue: str
    vote: str
    referee: str

    def clue(self, public: PublicState, private: PrivateState, view: SeatView) -> Prompt:
        """Asks the player whose turn it is for a clue."""
        turn = len(public.clues) // public.players + 1
        return self._seated(public, private, view, self.give_clue.replace("{round}", str(turn)))

    def ballot(self, public: PublicState, private: PrivateState, view: SeatView) -> Prompt:
        """Asks a citizen who the spy is. The spy never votes."""
        if private.role == "spy":
            raise ValueError(f"player {private.seat} is the spy, who does not vote")
        return self._seated(public, private, view, self.vote)

    def referee_ballot(self, public: PublicState, view: RefereeView) -> Prompt:
        """Asks the referee, who has the citizens' image and all clues, who the spy is."""
        return Prompt(view.image, "\n".join([*self._table(public), self._fill(self.referee, public)]))

    def _seated(self, public: PublicState, private: PrivateState, view: SeatView, asked: str) -> Prompt:
        if view.seat != private.seat:
            raise ValueError(f"the view of seat {view.seat} is not for player {private.seat}")
        lines = self._table(public)
        for number, note in enumerate(private.notes, start=1):
            refuse_special_tokens(note, "note")
            if note:
                lines.append(self.notes.replace("{round}", str(number)) + note)
        seat = self.seat.replace("{role}", self.roles[private.role]).replace("{seat}", str(private.seat))
        lines.append(self._fill(f"{seat} {asked}", public))
        return Prompt(view.image, "\n".join(lines))

    def _table(self, public: PublicState) -> list[str]:
        for clue in public.clues:
            refuse_special_tokens(clue.text, "clue")
        heading = self.clues_intro if public.clues else self.no_clues
        lines = [self._fill(self.rules[public.spy_view], public), *([heading] if heading else [])]
        return [*lines, *(f"Player {clue.seat}: {clue.text}" for clue in public.clues)]

    @staticmethod
    def _fill(template: str, public: PublicState) -> str:
        """Fills what depends on the rules. Never called on a clue or a note, which may contain braces."""
        return template.replace("{players}", str(public.players)).replace("{rounds}", str(public.clue_rounds))


COMPACT = GamePack(
    name="compact",
    rules={
        "blank": "One of {players} players is the spy and sees no image.",
        "modified": "One of {players} players is the spy and sees another image.",
        "degraded": "One of {players} players is the spy and sees a part of the image.",
    },
    roles={"citizen": "a citizen", "spy": "the spy"},
    clues_intro="",
    no_clues="",
    notes="Notes: ",
    seat="You are player {seat}, {role}.",
    give_clue="Give a clue.",
    vote="Who is the spy?",
    referee="Who is the spy?",
)

_FULL_RULES = (
    'This is a game of "Who is the spy" with {players} players. One of them is the spy, the others are citizens. '
    "All citizens have the same picture. The spy has {spy}. In each of {rounds} rounds every player in turn says one "
    "sentence, a clue, which all players hear; after the last round there is a vote on who the spy is."
)
_FULL_VOTE = (
    "Who is the spy? Compare every clue with your picture. You may think first; then give your vote in "
    "a box: \\boxed{k} for player k, or \\boxed{n/a} if you cannot tell."
)

FULL = GamePack(
    name="full",
    rules={
        "blank": _FULL_RULES.replace("{spy}", "a blank picture of the same size"),
        "modified": _FULL_RULES.replace("{spy}", "an edited copy of it, in which a few things differ"),
        "degraded": _FULL_RULES.replace("{spy}", "a damaged copy of it, in which a part is hidden or blurred"),
    },
    roles={
        "citizen": (
            "a citizen, and your picture is the one above. Say something true about it that shows the other citizens "
            "that you have it"
        ),
        "spy": (
            "the spy, and your picture is the one above. Do not be found out: say something that the citizens may "
            "believe to be true of their picture"
        ),
    },
    clues_intro="The clues so far, in order:",
    no_clues="There are no clues yet.",
    notes="Your own notes from round {round}, which nobody else has seen: ",
    seat="You are player {seat}: {role}.",
    give_clue=(
        "It is your turn in round {round} of {rounds}. You may think first; nobody else will see that. Then give your "
        f"clue inside \\boxed{{}}: one sentence of at most {MAX_CLUE_WORDS} words that repeats no earlier clue and "
        "does not begin with a player's name."
    ),
    vote=_FULL_VOTE,
    referee="You are the referee, and your picture is the citizens'. " + _FULL_VOTE,
)

GAME_PACKS = {pack.name: pack for pack in (COMPACT, FULL)}


def get_game_pack(name: str) -> GamePack:
    """The pack called `name`: "compact" (starter VLM) or "full" (instruction-tuned VLMs)."""
    if name not in GAME_PACKS:
        raise SelfsightError(f"unknown game pack {name!r}", hint=f"use one of: {', '.join(sorted(GAME_PACKS))}")
    return GAME_PACKS[name]


def _one_line(text: str, what: str) -> None:
    if _BREAK.search(text):
        raise ValueError(f"{what} must be one line, or it could forge another player's: {text[:80]!r}")
