"""Strict, total readers of what a model wrote.

Model text is hostile: it may be 100 kB of braces, carry another role's markers, or hide direction overrides.
A reader never raises on a string, takes linear time, and says in `reason` why it refused. What it accepts is
one field; nothing inside that field can open or close another one.

Left out: repairing almost-right output (closing a box, taking the first sentence). A repaired format is a
format that is rewarded without having been asked for.
"""

import re
import unicodedata
from dataclasses import dataclass

MAX_COMPLETION_CHARS = 65_536  # 4,096 tokens are about 20,000 characters; more is refused unread
MAX_QUESTION_CHARS = 300
MAX_QUESTION_WORDS = 40
MIN_QUESTION_WORDS = 2
MAX_ANSWER_CHARS = 400
MAX_DESCRIPTION_CHARS = 2_000

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
QUESTION_OPEN, QUESTION_CLOSE = "<question>", "</question>"

# An escaped brace is text; an opening brace is a box only right after \boxed.
_BRACES = re.compile(r"\\boxed[ \t]{0,8}\{|\\[\\{}]|[{}]")
_TAG = re.compile(
    r"</?[A-Za-z][A-Za-z_]{1,20}(?:\s[^<>]{0,64})?/?>|</?s>|<\|[^<>|]{0,64}\|>|\[/?INST\]|\\boxed",
    re.IGNORECASE,
)
_ROLE = re.compile(r"(?:^|[\s\W])(?:system|user|assistant|human|questioner|reasoner)\s{0,4}:", re.IGNORECASE)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True)
class Reading:
    """What a reader found. `text` is empty unless `ok`; `reason` is empty when `ok`."""

    ok: bool
    text: str
    reason: str


def _refused(reason: str) -> Reading:
    return Reading(False, "", reason)


def _after_thinking(text: str) -> str | Reading:
    """The part of a completion that counts: all of it, or what follows one closed <think> block."""
    if len(text) > MAX_COMPLETION_CHARS:
        return _refused(f"longer than {MAX_COMPLETION_CHARS} characters")
    opened, closed = text.count(_THINK_OPEN), text.count(_THINK_CLOSE)
    if opened == closed == 0:
        return text
    if opened > 1 or closed > 1:
        return _refused("more than one <think> block")
    if closed == 0:
        return _refused("<think> was not closed")
    # A chat template may already have opened the block, so a lone </think> is a closed one.
    before, _, after = text.partition(_THINK_CLOSE)
    if opened == 1 and not before.lstrip().startswith(_THINK_OPEN):
        return _refused("<think> is not at the start")
    return after


def _hidden_character(text: str) -> str | None:
    """The code point of the first character that a reader of the text would not see, such as U+202E."""
    for character in text:
        if unicodedata.category(character) in _HIDDEN:
            return f"U+{ord(character):04X}"
    return None


def check_question(question: str) -> Reading:
    """A question: one line of 2 to 40 words that ends in its only question mark, free of markup and roles."""
    question = question.strip(" \t\r\n")
    if not question:
        return _refused("empty question")
    if len(question) > MAX_QUESTION_CHARS:
        return _refused(f"question longer than {MAX_QUESTION_CHARS} characters")
    if "\n" in question or "\r" in question:
        return _refused("question has more than one line")
    if (hidden := _hidden_character(question)) is not None:
        return _refused(f"question contains the hidden character {hidden}")
    if not question.endswith("?"):
        return _refused("question does not end in '?'")
    if question.count("?") > 1:
        return _refused("more than one '?'")
    if (found := _TAG.search(question) or _ROLE.search(question)) is not None:
        return _refused(f"question contains the marker {found.group().strip()!r}")
    words = sum(any(character.isalnum() for character in word) for word in question.split())
    if words < MIN_QUESTION_WORDS:
        return _refused(f"fewer than {MIN_QUESTION_WORDS} words")
    if words > MAX_QUESTION_WORDS:
        return _refused(f"more than {MAX_QUESTION_WORDS} words")
    return Reading(True, " ".join(question.split()), "")


def read_bare_question(text: str) -> Reading:
    """The compact pack: the completion is the question and nothing else."""
    if len(text) > MAX_COMPLETION_CHARS:
        return _refused(f"longer than {MAX_COMPLETION_CHARS} characters")
    return check_question(text)


def read_tagged_question(text: str) -> Reading:
    """The full pack: optional thinking, then one <question> element and nothing else around it."""
    rest = _after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    rest = rest.strip()
    if rest.count(QUESTION_OPEN) != 1 or rest.count(QUESTION_CLOSE) != 1:
        return _refused("not exactly one <question> element")
    if not rest.startswith(QUESTION_OPEN) or not rest.endswith(QUESTION_CLOSE):
        return _refused("text around the <question> element")
    return check_question(rest[len(QUESTION_OPEN) : -len(QUESTION_CLOSE)])


def last_box(text: str) -> str | None:
    """The content of the balanced \\boxed{...} that closes last, or None. One pass over the braces."""
    open_at: list[tuple[int, bool]] = []
    span: tuple[int, int] | None = None  # slicing every box on the way would be quadratic
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "}":
            start, is_box = open_at.pop() if open_at else (0, False)
            if is_box:
                span = (start, match.start())
        elif token.endswith("{") and token != "\\{":
            open_at.append((match.end(), token != "{"))
    return None if span is None else text[span[0] : span[1]]


def read_boxed_answer(text: str) -> Reading:
    """The answer: what the last balanced box holds, after any thinking. Working around it is free."""
    rest = _after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    content = last_box(rest)
    if content is None:
        return _refused("no balanced \\boxed{}")
    if len(content) > MAX_ANSWER_CHARS:
        return _refused(f"answer longer than {MAX_ANSWER_CHARS} characters")
    content = " ".join(content.split())
    while (inner := last_box(content)) is not None:  # \boxed{\boxed{5}}: each step is strictly shorter
        content = inner.strip()
    if not content:
        return _refused("empty box")
    if (hidden := _hidden_character(content)) is not None:
        return _refused(f"answer contains the hidden character {hidden}")
    if (found := _TAG.search(content)) is not None:
        return _refused(f"answer contains the marker {found.group()!r}")
    return Reading(True, content, "")


def read_description(text: str) -> Reading:
    """A description: one paragraph of visible text without markup, after any thinking."""
    rest = _after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    rest = rest.strip()
    if not rest:
        return _refused("empty description")
    if len(rest) > MAX_DESCRIPTION_CHARS:
        return _refused(f"description longer than {MAX_DESCRIPTION_CHARS} characters")
    rest = " ".join(rest.split())
    if (hidden := _hidden_character(rest)) is not None:
        return _refused(f"description contains the hidden character {hidden}")
    if (found := _TAG.search(rest) or _ROLE.search(rest)) is not None:
        return _refused(f"description contains the marker {found.group().strip()!r}")
    return Reading(True, rest, "")
