"""Clues: from what a player wrote to the sentence that the others hear. Clues are hostile text.

A clue goes verbatim into the prompts of players who do not know its author's role, so a line break, "Player 4:" or an
image token in it would put words into somebody else's mouth. The clue is what the last balanced box or <answer>
element holds, made one visible line (compatibility forms of characters folded, control and invisible characters gone),
at most 30 words and 200 characters of it. It is refused when nothing is left, when it names a speaker ("Player 4:",
"Round 2:", "user:"), carries markup or special tokens, or repeats an earlier clue. A refused clue becomes a fixed
placeholder, never the player's raw text, and costs its author a penalty (see `scoring`).

Everything before the box is the player's private note, made harmless in the same way and shown to it alone.

Reading is total and takes linear time. Left out: checking that a clue is one sentence, or true (see `evaluate`).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from selfsight.language import Reading, normal_wording
from selfsight.language.game_prompts import MAX_CLUE_CHARS, MAX_CLUE_WORDS, MAX_NOTE_CHARS
from selfsight.language.parse import last_box, marker_in, read_field, visible_line, without_markup

PLACEHOLDER: Final = "(no valid clue)"
REPEATED: Final = "clue repeats an earlier one"

# What is looked at before cleaning: enough for a clue of 200 visible characters between invisible ones.
_RAW_CHARS: Final = 2_000
_NUMBER: Final = r"[\s_#.\-]{0,3}(?:\d{1,3}|one|two|three|four|five|six|seven|eight|nine|[a-z])"
# "something round: a ball" is no speaker, "Round 2:" is.
_SPEAKER: Final = re.compile(
    rf"(?<![^\W_])(?:(?:player|seat|referee|spy|citizen)(?:{_NUMBER})?|round{_NUMBER})[\s_.)\]]{{0,3}}[:∶꞉ː]",
    re.IGNORECASE,
)
_LATEX_TEXT: Final = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\s?\{([^{}]*)\}")


@dataclass(frozen=True)
class ClueReading:
    """The public `text` (the placeholder when the clue is not `valid`), the private `note`, and why it was refused."""

    text: str
    note: str
    valid: bool
    reason: str


def read_clue(completion: str, earlier: Iterable[str] = (), *, finished: bool = True) -> ClueReading:
    """The clue in a player's completion; `earlier` are the clues that were heard before. Never raises on a string.

    A completion that was cut off (`finished` False) holds no clue: its author never said that it was done.
    """
    if not finished:
        return _refused("the completion was cut off", _note(completion))
    field = read_field(completion)
    if isinstance(field, Reading):
        return _refused(field.reason, _note(completion))
    note = _note(field.before)
    content = field.text[:_RAW_CHARS]
    while (inner := last_box(content)) is not None:  # each step is strictly shorter
        content = inner
    content = _LATEX_TEXT.sub(r"\1", content)
    clue = _shortened(visible_line(unicodedata.normalize("NFKC", visible_line(content))))
    wording = normal_wording(clue)
    if not wording:
        return _refused("empty clue", note)
    if (found := _SPEAKER.search(clue)) is not None:
        return _refused(f"clue names the speaker {found.group()!r}", note)
    if (marker := marker_in(clue)) is not None:
        return _refused(f"clue contains the marker {marker!r}", note)
    if wording in {normal_wording(heard) for heard in (*earlier, PLACEHOLDER)}:
        return _refused(REPEATED, note)
    return ClueReading(clue, note, True, "")


def _refused(reason: str, note: str) -> ClueReading:
    return ClueReading(PLACEHOLDER, note, False, reason)


def _shortened(line: str) -> str:
    """At most MAX_CLUE_WORDS words and MAX_CLUE_CHARS characters, cut between words where there are any."""
    line = " ".join(line.split(" ")[:MAX_CLUE_WORDS])
    if len(line) <= MAX_CLUE_CHARS:
        return line
    return line[: MAX_CLUE_CHARS + 1].rpartition(" ")[0] or line[:MAX_CLUE_CHARS]


def _note(text: str) -> str:
    """The end of a player's working, where its conclusion is, as one line that is safe in its own prompts."""
    line = visible_line(without_markup(visible_line(text[-_RAW_CHARS:])))
    return without_markup(line[-MAX_NOTE_CHARS:]).strip()
