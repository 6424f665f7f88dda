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
_ANSWER_OPEN, _ANSWER_CLOSE = "<answer>", "</answer>"

# An escaped brace is text; an opening brace is a box only right after \boxed.
_BRACES = re.compile(r"\\boxed[ \t]{0,8}\{|\\[\\{}]|[{}]")
_BOX = re.compile(r"\\boxed[ \t]{0,8}\{")
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
    """The content of the balanced \\boxed{...} that closes last, or None."""
    span = _last_box_span(text)
    return None if span is None else text[span[0] : span[1]]


def _last_box_span(text: str) -> tuple[int, int] | None:
    """Where the content of the last balanced box lies. One pass over the braces."""
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
    return span


@dataclass(frozen=True)
class Field:
    """The box or <answer> element that closes last in a completion: what it holds, and the text before it."""

    text: str
    before: str


def read_field(text: str) -> Field | Reading:
    """The field that a completion ends in, raw, or a refusal. What comes before it is private working."""
    rest = _after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    box, tag = _last_box_span(rest), _last_element_span(rest)
    span = max((span for span in (box, tag) if span is not None), key=lambda span: span[1], default=None)
    if span is None:
        return _refused("no balanced \\boxed{} and no <answer> element")
    if _BOX.search(rest, span[1]) is not None or rest.find(_ANSWER_OPEN, span[1]) >= 0:
        return _refused("the last \\boxed{} or <answer> was not closed")
    opening = rest.rindex("\\boxed" if span == box else _ANSWER_OPEN, 0, span[0])
    return Field(rest[span[0] : span[1]], text[: len(text) - len(rest) + opening])


def _last_element_span(text: str) -> tuple[int, int] | None:
    """Where the content of the last <answer> element lies."""
    end = text.rfind(_ANSWER_CLOSE)
    start = text.rfind(_ANSWER_OPEN, 0, max(end, 0))
    return None if start < 0 else (start + len(_ANSWER_OPEN), end)


def visible_line(text: str) -> str:
    """One line: breaks, tabs and control characters become spaces, characters without an appearance go."""
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc" or category[0] == "Z":
            kept.append(" ")
        elif category not in _HIDDEN:
            kept.append(character)
    return " ".join("".join(kept).split())


def marker_in(text: str) -> str | None:
    """The first piece of markup, special token or forged role ("user:") in a text, or None."""
    found = _TAG.search(text) or _ROLE.search(text)
    return None if found is None else found.group().strip()


def without_markup(text: str) -> str:
    """A text in which no markup and no special token is left, nor can form from what surrounded one."""
    cleaned = _TAG.sub(" ", text)
    return cleaned if _TAG.search(cleaned) is None else re.sub(r"[<>\[\]\\]", " ", cleaned)


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
