"""Strict, total readers of what a model wrote: boxed answers, descriptions, and what all readers share.

Model text is hostile: it may be 100 kB of braces, carry another role's markers, or hide direction overrides.
A reader never raises on a string, takes linear time, and says in `reason` why it refused. What it accepts is
one field; nothing inside that field can open or close another one.

Questions have a module of their own, `question_reader`.

Left out: repairing almost-right output (closing a box, taking the first sentence). A repaired format is a
format that is rewarded without having been asked for.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_COMPLETION_CHARS = 65_536  # 4,096 tokens are about 20,000 characters; more is refused unread
MAX_ANSWER_CHARS = 400
MAX_DESCRIPTION_CHARS = 2_000

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_ANSWER_OPEN, _ANSWER_CLOSE = "<answer>", "</answer>"

# An escaped brace is text; an opening brace is a box only right after \boxed, which some models write with the
# backslash escaped as in JSON, or with a line break before its brace.
_BRACES = re.compile(r"\\{1,2}boxed\s{0,8}\{|\\[\\{}]|[{}]")
_BOX = re.compile(r"\\boxed\s{0,8}\{")
TAG = re.compile(
    r"</?[A-Za-z][A-Za-z_]{1,20}(?:\s[^<>]{0,64})?/?>|</?s>|<\|[^<>|]{0,64}\|>|\[/?INST\]|\\boxed",
    re.IGNORECASE,
)
# Inside an answer "<CD>" is an inequality (AB<CD>EF); these names and every closing tag are markup there, too.
_ANSWER_TAG = re.compile(
    r"<(?:think|thinking|thought|reasoning|question|answer|type|image|img|video|audio|s|bos|eos|pad|unk|box|ref|"
    r"tool_call|tool_response|system|user|assistant|script|style|iframe|svg|a)(?:\s[^<>]{0,64})?/?>"
    r"|</[A-Za-z][A-Za-z_]{0,20}\s{0,4}>|<\|[^<>|]{0,64}\|>|\[/?INST\]|\\boxed",
    re.IGNORECASE,
)
# HTML that only changes how a text looks.
_FORMATTING = re.compile(r"</?(?:b|i|u|em|strong|span|p|code|mark|small|big)(?:\s[^<>]{0,64})?>", re.IGNORECASE)
_LINE_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)
_ROLE = re.compile(r"(?:^|[\s\W])(?:system|user|assistant|human|questioner|reasoner)\s{0,4}:", re.IGNORECASE)
# "the user: admin" names a user; a forged turn begins with the bare word.
_NAMED_ROLE = re.compile(r"\b(?:the|a|an|this|that|each|every|which|its|their|of)\s{1,4}$", re.IGNORECASE)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Characters without an appearance that change nothing about the text they stand in: a soft hyphen, marks of
# direction that override nothing, a byte order mark.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200e\u200f\u061c\u2060\ufeff"))
_JOINERS = frozenset("\u200c\u200d")
_JOINED = frozenset({"Lo", "Lm", "Mn", "Mc", "So", "Sk"})  # emoji, and letters of scripts whose spelling uses joiners
# What models copy from "give your answer as \\boxed{answer}".
_PLACEHOLDERS = frozenset(
    {"", "answer", "your answer", "final answer", "the answer", "the final answer", "your final answer", "...", "…",
     "\\ldots", "\\dots", "\\cdots", "\\text{answer}", "\\text{your answer}", "\\text{final answer}", "result"}
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a reader found. `text` is empty unless `ok`; `reason` is empty when `ok`."""

    ok: bool
    text: str
    reason: str


def refused(reason: str) -> Reading:
    """A reading of nothing, with the reason."""
    return Reading(False, "", reason)


def after_thinking(text: str) -> str | Reading:
    """The part of a completion that counts: all of it, or what follows one closed <think> block, wherever it opens."""
    if len(text) > MAX_COMPLETION_CHARS:
        return refused(f"longer than {MAX_COMPLETION_CHARS} characters")
    opened, closed = text.count(_THINK_OPEN), text.count(_THINK_CLOSE)
    if opened == closed == 0:
        return text
    if opened > 1 or closed > 1:
        return refused("more than one <think> block")
    if closed == 0:
        return refused("<think> was not closed")
    # A chat template may already have opened the block, so a lone </think> is a closed one.
    before, _, after = text.partition(_THINK_CLOSE)
    if opened == 1 and _THINK_OPEN not in before:
        return refused("<think> was not closed")  # it opens after a lone </think>
    return after


def without_invisible(text: str) -> str:
    """A text without soft hyphens, marks of direction and byte order marks, which change nothing that is read."""
    return text.translate(_INVISIBLE)


def without_formatting(text: str) -> str:
    """A text without HTML that only changes how it looks; <br> becomes a space."""
    return _FORMATTING.sub("", _LINE_BREAK.sub(" ", text))


def hidden_character(text: str) -> str | None:
    """The code point of the first character that a reader of the text would not see, such as U+202E.

    A joiner (U+200C, U+200D) inside an emoji, or between letters of a script that spells with it, is part of a word.
    """
    for index, character in enumerate(text):
        if unicodedata.category(character) not in _HIDDEN:
            continue
        if character in _JOINERS and 0 < index < len(text) - 1:
            around = (unicodedata.category(text[index - 1]), unicodedata.category(text[index + 1]))
            if around[0] in _JOINED and around[1] in _JOINED:
                continue
        return f"U+{ord(character):04X}"
    return None


def forged_role(text: str, quotations: Sequence[tuple[int, int]] = ()) -> str | None:
    """The first start of a forged turn ("user:") in a text, or None.

    A role inside one of the `quotations` (their places in `text`), or after an article ("the user: admin"), is what
    the text is about.
    """
    for match in _ROLE.finditer(text):
        quoted = any(start <= match.start() and match.end() <= end for start, end in quotations)
        before = text[: match.start() + 1][-16:]
        if not quoted and _NAMED_ROLE.search(before) is None:
            return match.group().strip()
    return None


def last_box(text: str) -> str | None:
    """The content of the balanced \\boxed{...} that closes last, or None."""
    span = _last_box_span(text)
    return None if span is None else text[span[0] : span[1]]


def _last_filled_box(text: str) -> str | None:
    """The content of the last balanced box that is no placeholder ("\\boxed{answer}"); the last one if all are."""
    span, filled = _last_box_spans(text)
    chosen = filled if filled is not None else span
    return None if chosen is None else text[chosen[0] : chosen[1]]


def _last_box_span(text: str) -> tuple[int, int] | None:
    """Where the content of the last balanced box lies."""
    return _last_box_spans(text)[0]


def _last_box_spans(text: str) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Where the contents of the last balanced box and of the last that is no placeholder lie, in one pass over the
    braces.
    """
    open_at: list[tuple[int, bool]] = []
    span: tuple[int, int] | None = None  # slicing every box on the way would be quadratic
    filled: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "}":
            start, is_box = open_at.pop() if open_at else (0, False)
            if is_box:
                span = (start, match.start())
                if not _is_placeholder(text, span):
                    filled = span
        elif token.endswith("{") and token != "\\{":
            open_at.append((match.end(), token != "{"))
    return span, filled


def _is_placeholder(text: str, span: tuple[int, int]) -> bool:
    if span[1] - span[0] > 40:  # longer than every placeholder
        return False
    return " ".join(text[span[0] : span[1]].split()).casefold() in _PLACEHOLDERS


@dataclass(frozen=True)
class Field:
    """The box or <answer> element that closes last in a completion: what it holds, and the text before it."""

    text: str
    before: str


def read_field(text: str) -> Field | Reading:
    """The field that a completion ends in, raw, or a refusal. What comes before it is private working."""
    rest = after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    box, tag = _last_box_span(rest), _last_element_span(rest)
    span = max((span for span in (box, tag) if span is not None), key=lambda span: span[1], default=None)
    if span is None:
        return refused("no balanced \\boxed{} and no <answer> element")
    if _BOX.search(rest, span[1]) is not None or rest.find(_ANSWER_OPEN, span[1]) >= 0:
        return refused("the last \\boxed{} or <answer> was not closed")
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
    found = TAG.search(text) or _ROLE.search(text)
    return None if found is None else found.group().strip()


def without_markup(text: str) -> str:
    """A text in which no markup and no special token is left, nor can form from what surrounded one."""
    cleaned = TAG.sub(" ", text)
    return cleaned if TAG.search(cleaned) is None else re.sub(r"[<>\[\]\\]", " ", cleaned)


def read_boxed_answer(text: str) -> Reading:
    """The answer: what the last balanced box holds, after any thinking. Working around it is free.

    A placeholder box after the answer ("put it in \\boxed{}") is no answer. A completion without any box may hold its
    answer in one <answer> element, as VisPlay's and Vision-Zero's programs ask for.
    """
    rest = after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    content = _last_filled_box(rest)
    if content is None and _BOX.search(rest) is None and rest.count(_ANSWER_OPEN) == rest.count(_ANSWER_CLOSE) == 1:
        span = _last_element_span(rest)
        content = None if span is None else rest[span[0] : span[1]]
    if content is None:
        return refused("no balanced \\boxed{}")
    if len(content) > MAX_ANSWER_CHARS:
        return refused(f"answer longer than {MAX_ANSWER_CHARS} characters")
    content = " ".join(without_formatting(without_invisible(content)).split())
    while (inner := last_box(content)) is not None:  # \boxed{\boxed{5}}: each step is strictly shorter
        content = inner.strip()
    if not content:
        return refused("empty box")
    if (hidden := hidden_character(content)) is not None:
        return refused(f"answer contains the hidden character {hidden}")
    if (found := _ANSWER_TAG.search(content)) is not None:
        return refused(f"answer contains the marker {found.group()!r}")
    return Reading(True, content, "")


def read_description(text: str) -> Reading:
    """A description: one paragraph of visible text without markup, after any thinking."""
    rest = after_thinking(text)
    if isinstance(rest, Reading):
        return rest
    rest = rest.strip()
    if not rest:
        return refused("empty description")
    if len(rest) > MAX_DESCRIPTION_CHARS:
        return refused(f"description longer than {MAX_DESCRIPTION_CHARS} characters")
    rest = " ".join(rest.split())
    if (hidden := hidden_character(rest)) is not None:
        return refused(f"description contains the hidden character {hidden}")
    if (found := TAG.search(rest) or _ROLE.search(rest)) is not None:
        return refused(f"description contains the marker {found.group().strip()!r}")
    return Reading(True, rest, "")
