"""Folding of answers: different ways to write the same characters become one.

Two steps. `fold_characters` settles Unicode (compatibility forms, digits of any script, dashes, vulgar
fractions, superscripts) and LaTeX wrapping that carries no meaning. `fold_text` then reduces a short phrase
to its words: case, articles and punctuation gone.
"""

import re
import unicodedata

_VULGAR = {
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
    "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUPERSCRIPT_RUN = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SAME = str.maketrans({
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "“": '"',
    "”": '"', "º": "°", "∗": "*", "⋅": "·",
})  # fmt: skip

_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname)\s?\{([^{}]*)\}"
)
_SPACING = re.compile(r"\\(?:[,;:! ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|displaystyle(?![A-Za-z]))|(?<!\\)~")
_SIZING = re.compile(r"\\(?:left|right|big|Big|bigg|Bigg)(?![A-Za-z])")
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])")
_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
)
_FINAL_STOP = re.compile(r"[\s.;,]+$|(?<=[A-Za-z])!+$")  # 5! keeps its factorial
_ARTICLES = frozenset({"a", "an", "the"})


_SENTENCE_MARKS = frozenset(" .,;:!?'\"-_()[]{}…\\$")


def fold_characters(text: str) -> str:
    """One spelling of characters and no LaTeX wrapping; case and meaning untouched."""
    for character, fraction in _VULGAR.items():
        if character in text:
            # The space makes 5½ the mixed number 5 1/2, not 51/2.
            text = text.replace(character, f" {fraction}")
    text = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group().translate(_SUPERSCRIPTS), text.translate(_SAME))
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    folded = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Nd":
            folded.append(str(unicodedata.digit(character)))
        elif category[0] == "Z" or category == "Cc":
            folded.append(" ")
        elif category[0] != "C":
            folded.append(character)
    text = "".join(folded)
    if "\\" in text:
        text = _unwrap_latex(text)
    text = " ".join(text.replace("{,}", ",").split())
    return _unwrap(text)


def _unwrap_latex(text: str) -> str:
    text = _SIZING.sub("", _SPACING.sub(" ", text))
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    previous = None
    while previous != text:  # one level of nesting per pass; answers are short
        previous, text = text, _TEXT_COMMAND.sub(r" \1 ", text)
    return _DEGREES.sub("°", text).replace("\\%", "%").replace("\\$", "$").replace("\\&", "&")


def _unwrap(text: str) -> str:
    """Removes $...$, quotes and emphasis around a whole answer, and the full stop that ends a sentence."""
    previous = None
    while previous != text:
        previous = text
        text = _FINAL_STOP.sub("", text.strip())
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            wrapped = inner and text.startswith(opening) and text.endswith(closing)
            if wrapped and opening not in inner and closing not in inner:
                text = inner
                break
    return text


def fold_text(text: str) -> str:
    """The words of a short phrase: case, articles and punctuation gone, marks inside numbers kept.

    An article in last place stays ("vitamin a"). A text of symbols only keeps those that mean something alone
    ("<", "@"), and sentence punctuation alone is nothing.
    """
    text = text.casefold()
    if not any(character.isalnum() for character in text):
        return "".join(character for character in text if character not in _SENTENCE_MARKS)
    folded = []
    for index, character in enumerate(text):
        if unicodedata.category(character)[0] != "P":
            folded.append(character)
        elif character == "'":
            continue  # don't = dont
        elif (
            character in ".,:/-"
            and text[index + 1 : index + 2].isdigit()
            and (text[index - 1 : index].isdigit() or (character == "-" and (index == 0 or text[index - 1] == " ")))
        ):
            folded.append(character)  # 3:30, 12/05, 1.5x, -5
        else:
            folded.append(" ")
    words = "".join(folded).split()
    kept = [word for at, word in enumerate(words) if word not in _ARTICLES or at == len(words) - 1]
    return " ".join(kept)
