"""Texts of models and strangers in Markdown: shown as they are, never obeyed.

Such a text is a code span or a block of code. In code, Markdown knows no links, no images, no HTML, no entities and no
automatic links, and the fence is longer than any run of backticks inside, so that nothing in it can end it. Control
characters, escape sequences and direction marks are taken out before.
"""

import re
from typing import Final

from selfsight.run.progress import HIDDEN, plain_text

MOST: Final = 300  # characters that a card shows of one text


def code(text: str) -> str:
    """One line of code, cut where it is long."""
    shown = plain_text(text)
    if len(shown) > MOST:
        shown = shown[: MOST - 1] + "…"
    if not shown:
        return "(empty)"
    fence = "`" * (_longest_run(shown) + 1)
    return f"{fence} {shown} {fence}"


def cell(text: str) -> str:
    """The same inside a table, whose cells a bar ends even in code, and not every reader knows one way to escape it."""
    return code(text.replace("|", "\N{BROKEN BAR}"))


def block(text: str, language: str) -> str:
    """Lines of code under a heading that names the language."""
    lines = [HIDDEN.sub(" ", re.sub(r"[^\S ]", " ", line)) for line in text.split("\n")]
    shown = "\n".join(lines).strip("\n")
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
