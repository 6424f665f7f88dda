"""One game of "Who is the spy" in a terminal: clues as they are given, private reasoning dimmed, votes and rewards.

What is shown was written by models or by a person, so it is made one plain line first: no escape sequence, no
direction mark and no line break of theirs reaches the terminal. On a terminal with colours the picture itself is
drawn in half blocks; elsewhere it is only named.

A person at the table is shown no role and no reasoning of others until the votes are in.
"""

import sys
from typing import TextIO

from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from selfsight.methods.vision_zero import Ballot, Game, Score, ScoringSettings, Turn, Vote, score
from selfsight.run.progress import plain_text

_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_PICTURE_WIDTH = 56
_REASONING_CHARS = 400
_SPY_SEES = {"blank": "a blank picture", "modified": "an edited copy", "degraded": "a damaged copy"}


class TerminalTable:
    """Shows a game to whoever watches, or to the person in seat `person`, whose lines are read from `source`."""

    def __init__(self, stream: TextIO, *, person: int | None = None, source: TextIO | None = None) -> None:
        width = None if stream.isatty() else 110
        self._console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
        self._stream, self._person = stream, person
        self._source = sys.stdin if source is None else source

    def opening(self, game: Game, picture: Image.Image) -> None:
        """The rules of this game and the picture; `picture` is the person's own, or the citizens'."""
        rules, secret = game.settings, game.secret
        image = plain_text(f"{secret.image.origin} ({secret.image.id})")
        self._line(f'"Who is the spy": {rules.players} players, {_rounds(rules.clue_rounds)}, {_voters(game)}')
        if self._person is None:
            self._line(f"Picture: {image}")
            self._line(f"Player {secret.spy} is the spy and sees {_SPY_SEES[rules.spy_view]}.")
        elif self._person == secret.spy:
            self._line(f"You are player {self._person}, the spy. You see {_SPY_SEES[rules.spy_view]}; do not be found.")
        else:
            self._line(f"You are player {self._person}, a citizen. Your picture: {image}")
            self._line(f"One of the others is the spy and sees {_SPY_SEES[rules.spy_view]}.")
        if self._console.is_terminal and self._console.color_system is not None:
            self._console.print(in_half_blocks(picture, min(_PICTURE_WIDTH, self._console.width)))

    def clue(self, game: Game) -> None:
        """The newest clue; with the private reasoning before it, unless a person plays."""
        turn = game.turns[-1]
        if turn.seat == 1:
            self._line(f"\nRound {turn.round}")
        if self._person is None and turn.reading.note:
            self._dim(f"  {self._name(game, turn.seat)} thinks: {plain_text(turn.reading.note)}")
        self._line(f"  {self._name(game, turn.seat)}: {plain_text(turn.reading.text)}{self._refusal(turn)}")

    def ending(self, game: Game, scoring: ScoringSettings) -> None:
        """Votes, who has won, and every reward as arithmetic; to a person also what was private until now."""
        paid = score(game, scoring)
        if self._person is not None:
            self._person = None
            self._line(f"\nPlayer {game.secret.spy} was the spy. What the others thought:")
            for turn in game.turns:
                if turn.reading.note:
                    self._dim(f"  {self._name(game, turn.seat)}, round {turn.round}: {plain_text(turn.reading.note)}")
        self._line("\nVotes")
        for ballot in game.ballots:
            self._ballot(ballot)
        self._line(f"\n{'The citizens win.' if paid.citizens_win else 'The spy wins.'}")
        for line in rewards_as_arithmetic(game, paid, scoring):
            self._line(line)

    def ask(self, question: str) -> str | None:
        """A line from the person; None when there is none any more."""
        self._stream.write(f"  {question} ")
        self._stream.flush()
        line = self._source.readline()
        if not line:
            self._line("")
            return None
        return line.rstrip("\n")

    def left(self) -> None:
        """The person has gone."""
        self._line("You left the table; the game was not finished.")

    def _ballot(self, ballot: Ballot) -> None:
        who = "the referee" if ballot.voter is None else f"player {ballot.voter}"
        first = plain_text(ballot.completions[0].text)[:_REASONING_CHARS]
        if first:
            self._dim(f"  {who}{', first sample' if len(ballot.votes) > 1 else ''}: {first}")
        self._line(f"  {who}: {', '.join(_vote(vote) for vote in ballot.votes)}")

    def _name(self, game: Game, seat: int) -> str:
        if seat == self._person:
            return f"player {seat} (you)"
        return f"player {seat}{' (spy)' if self._person is None and seat == game.secret.spy else ''}"

    def _refusal(self, turn: Turn) -> str:
        if turn.reading.valid or (self._person is not None and turn.seat != self._person):
            return ""
        return f"   [refused: {plain_text(turn.reading.reason)}]"

    def _line(self, text: str) -> None:
        self._console.print(Text(text))

    def _dim(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))


def rewards_as_arithmetic(game: Game, paid: Score, scoring: ScoringSettings) -> list[str]:
    """The clue rewards (arXiv 2509.25541, eq. 1) and the decision rewards (eq. 4) of a finished game, term by term."""
    spy, players = game.secret.spy, game.settings.players
    per_vote = 1 if game.settings.voter == "referee" else game.settings.votes
    votes = [count / per_vote for count in paid.tally.for_seat]
    citizens = [count for seat, count in enumerate(votes, start=1) if seat != spy]
    mean = sum(citizens) / len(citizens)
    tallied = ", ".join(f"player {seat}: {_number(count)}" for seat, count in enumerate(votes, start=1))
    lines = [
        f"Votes for {tallied}; n/a {paid.tally.abstentions}, invalid {paid.tally.invalid}",
        f"Mean over citizens: ({' + '.join(map(_number, citizens))}) / {len(citizens)} = {_number(mean)}",
        "Clue rewards, which add up to 0:",
    ]
    lead = f"({_number(votes[spy - 1])} - {_number(mean)})"
    for seat in range(1, players + 1):
        if seat == spy:
            terms = f"-{_number(scoring.beta)} {_TIMES} {lead}"
        else:
            gap = f"({_number(votes[seat - 1])} - {_number(mean)})"
            terms = f"{_number(scoring.beta)}/{len(citizens)} {_TIMES} {lead} - {_number(scoring.lam)} {_TIMES} {gap}"
        name = f"player {seat}{' (spy)' if seat == spy else ''}"
        lines.append(f"  {name}: {terms.replace('-', _MINUS)} = {_signed(paid.clue_rewards[seat - 1])}")
    for turn, penalty in zip(game.turns, paid.clue_penalties, strict=True):
        if penalty:
            lines.append(f"  player {turn.seat}, refused clue of round {turn.round}: {_signed(-penalty)}")
    lines.append("Decision rewards, of each sample:")
    for ballot, rewards in zip(game.ballots, paid.decision_rewards, strict=True):
        who = "the referee" if ballot.voter is None else f"player {ballot.voter}"
        lines.append(f"  {who}: {', '.join(map(_signed, rewards))}")
    return lines


def in_half_blocks(picture: Image.Image, width: int) -> Text:
    """The picture in `width` columns; a character shows two pixels, one above the other."""
    rows = max(1, round(picture.height / picture.width * width / 2))
    small = picture.convert("RGB").resize((width, 2 * rows))
    text = Text()
    for row in range(rows):
        for column in range(width):
            upper, lower = (Color.from_rgb(*_pixel(small, column, 2 * row + below)) for below in (0, 1))
            text.append("\N{UPPER HALF BLOCK}", Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text


def _pixel(image: Image.Image, column: int, row: int) -> tuple[int, int, int]:
    found = image.getpixel((column, row))
    assert isinstance(found, tuple)
    red, green, blue = found
    return int(red), int(green), int(blue)


def _rounds(count: int) -> str:
    return "one round of clues" if count == 1 else f"{count} rounds of clues"


def _voters(game: Game) -> str:
    if game.settings.voter == "referee":
        return f"a referee with {game.settings.votes} votes"
    return f"each citizen votes ({game.settings.votes} each)" if game.settings.votes > 1 else "each citizen votes"


def _vote(vote: Vote) -> str:
    return {"accusation": str(vote.seat), "abstention": "n/a"}.get(vote.kind, "invalid")


def _number(value: float) -> str:
    return f"{value:.4g}"


def _signed(value: float) -> str:
    if abs(value) < 5e-5:
        return "0"
    return f"{'+' if value > 0 else _MINUS}{abs(value):.4g}"
