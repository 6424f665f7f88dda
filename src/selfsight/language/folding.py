"""Folding of answers: different ways to write the same characters become one.

Two steps. `fold_characters` settles Unicode (compatibility forms, digits of any script, dashes, vulgar
fractions, superscripts) and removes LaTeX and Markdown wrapping that carries no meaning. `fold_text` then
reduces a short phrase to its words: case, articles and sentence punctuation gone. What changes a meaning stays:
the minus and the decimal point of a number, the charge of an ion, the letter A, `#` in F#, `@` before a name.
"""

import re
import unicodedata


def word_set(words: str) -> frozenset[str]:
    """The words of a text, for tables that are easier to read as one."""
    return frozenset(words.split())


_VULGAR = {
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
    "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_VULGAR_ANY = re.compile(f"[{''.join(_VULGAR)}]")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUPERSCRIPT_RUN = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SAME = str.maketrans({
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "“": '"',
    "”": '"', "º": "°", "∗": "*", "⋅": "·", "∘": "°", "˚": "°", "′": "'", "″": '"', "、": ", ", "∅": "\\emptyset ",
    "∪": "\\cup ", "∈": "\\in ", "。": ". ", "∶": ":", "≃": "≈", "≅": "≈",
    "✕": "×", "✖": "×", "⨯": "×", "∠": "\\angle ",
    "△": "\\triangle ", "Δ": "\\Delta ", "Ω": "Ω", "μ": "µ", "«": '"', "»": '"',
    "「": '"', "」": '"', "『": '"', "』": '"',
})  # fmt: skip

# Commands whose braces hold what is shown; the command says only how it looks.
_LOOK = (
    "text|textbf|textit|textrm|textsf|texttt|textsc|textup|textnormal|textmd|textsl|emph|underline"
    "|mathrm|mathbf|mathit"
    "|ce|mathsf|mathtt|mathnormal|boldsymbol|bm|mbox|hbox|fbox|boxed|operatorname\\*?|overset\\{\\}|uline|textstyle"
)
_TEXT_COMMAND = re.compile(rf"\\(?:{_LOOK}|(?:textcolor|colorbox) ?\{{[^{{}}]*\}}) ?\{{([^{{}}]*)\}}")
_SWITCH = re.compile(
    r"\\(?:bfseries|bf|itshape|it|rm|sf|tt|em|sc|large|Large|LARGE|huge|Huge|small|normalsize|displaystyle|textstyle"
    r"|scriptstyle|limits|nolimits|color ?\{[^{}]*\})(?![A-Za-z])"
)
# Not after a backslash: in "1 & 2 \\ 3 & 4" the pair ends a row and the space belongs to nobody.
_NO_SPACE = re.compile(r"(?<!\\)\\! ?")
_SPACING = re.compile(r"(?<!\\)\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|(?<!\\)~|\\hspace\*?\{[^{}]*\}")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z%$])")  # outside a matrix, \\\\frac is \\frac in JSON's spelling
_SIZING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])")
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])|\^\s?\{?\s?°\s?\}?")
_GROUPED_COMMA = re.compile(r" ?\{, ?\} ?")
_BRACED = re.compile(r"^\{(?!.*,)([^{}]*)\}$")
_DOLLAR_PAIR = re.compile(r"(?<!\\)\$(?!\$)([^$]*[^$\\])\$(?!\d)")
_BOLD = re.compile(r"(?<![\w)*])\*\*(?=[^\s*])(.+?)(?<=\S)\*\*(?![\w(*])|(?<![\w_])__(?=[^\s_])(.+?)(?<=\S)__(?![\w_])")
_ITALIC = re.compile(r"(?<![\w)*])\*(?=[^\W\d_])([^*]+)\*(?![\w(*])|(?<![\w_])_(?=[^\W\d_])([^_]+)_(?![\w_])")
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_QUOTE_LINE = re.compile(r"^(?:> ?)+(?=[^\W\d])|^[•‣◦▪] ?")
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
_FINAL_STOP = re.compile(r"(?<![\s.;,])[\s.;,]+$|^[\s.;,]+$|(?<=[A-Za-z])!+$")  # 5! keeps its factorial

_SENTENCE_MARKS = frozenset(" .,;:!?'\"-_()[]{}…\\$")


def fold_characters(text: str) -> str:
    """One spelling of characters and no wrapping by LaTeX or Markdown; case and meaning untouched."""
    if text.isascii():
        # str.split treats these as white space, too, but a printable answer needs no look at each character.
        text = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    else:
        text = _fold_unicode(text)
    if "\\" in text or "$" in text:
        text = _unwrap_latex(text)
    if "{" in text:
        text = _GROUPED_COMMA.sub(",", text)
    if "*" in text or "_" in text or "`" in text:
        text = _unwrap_markdown(text)
    text = text.replace("''", '"') if "''" in text else text
    return _unwrap(" ".join(text.split()))


def _fold_unicode(text: str) -> str:
    # The space makes 5½ the mixed number 5 1/2, not 51/2.
    text = _VULGAR_ANY.sub(lambda found: f" {_VULGAR[found.group()]}", text)
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
    return "".join(folded)


def _unwrap_latex(text: str) -> str:
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _SIZING.sub("", _SPACING.sub(" ", _NO_SPACE.sub("", text)))
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = text.replace("{,}", ",")
    previous = None
    while previous != text:  # one level of nesting per pass; answers are short
        previous, text = text, _TEXT_COMMAND.sub(r" \1 ", text)
    text = _SWITCH.sub(" ", text)
    if text.count("$") > 1 and not text.startswith("$$"):
        text = _DOLLAR_PAIR.sub(r" \1 ", text)
    return _DEGREES.sub("°", text).replace("\\%", "%").replace("\\$", "$").replace("\\&", "&").replace("\\#", "#")


def _unwrap_markdown(text: str) -> str:
    """Emphasis and code marks around words go; `2**3` and `x*y*z` stay maths."""
    text = text.replace("``", '"')
    text = _CODE.sub(r"\1", text)
    text = _BOLD.sub(lambda found: found[1] or found[2], text)
    return _ITALIC.sub(lambda found: found[1] or found[2], text)


def _unwrap(text: str) -> str:
    """Removes $...$, quotes and emphasis around a whole answer, and the full stop that ends a sentence."""
    previous = None
    while previous != text:
        previous = text
        text = _FINAL_STOP.sub("", text.strip())
        if text[:1] in ">•‣◦▪":
            text = _QUOTE_LINE.sub("", text)
        if text[:1] == "{":
            text = _BRACED.sub(r"\1", text)
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            wrapped = inner and text.startswith(opening) and text.endswith(closing)
            if wrapped and opening not in inner and closing not in inner:
                text = inner
                break
    return text


# A word after which a single "a" is a name: vitamin A, class A, route A.
_NAMED_BY_LETTER = word_set(
    "vitamin class route line letter type group grade point option plan section row team side angle "
    "gate platform level "
    "hepatitis block building terminal zone part choice figure panel graph note key flat sharp chord "
    "string vertex node "
    "label box column set player person figure item case model series bus train track exit pier ward wing unit train "
    "influenza blood triangle segment circle variable matrix event bag jar bottle tank pipe car "
    "truck bus street avenue "
    "the letters lettered marked labelled labeled"
)
# A word before which "a" is a name: "A is taller", "A and B".
_AFTER_A_NAME = word_set(
    "is are was were has have had and or but than to minus plus vs versus equals does can will then because since"
)
_KEYS_OF_MUSIC = frozenset({"minor", "major", "flat", "sharp"})
_NEGATED_NAME = re.compile(r"-[A-Za-z](?![A-Za-z])")
_CONTRACTION = re.compile(r"'(?=(?:re|ll|ve|d|m)\b)")
_SPELLING = {
    "grey": "gray", "colour": "color", "colours": "colors", "coloured": "colored", "centre": "center",
    "theatre": "theater", "metre": "meter", "litre": "liter", "aluminium": "aluminum", "yoghurt": "yogurt",
    "doughnut": "donut", "doughnuts": "donuts", "tyre": "tire", "tyres": "tires", "grey-green": "gray green",
    "harbour": "harbor", "neighbour": "neighbor", "favourite": "favorite", "licence": "license", "catalogue": "catalog",
    "moustache": "mustache", "pyjamas": "pajamas", "jewellery": "jewelry", "mould": "mold", "plough": "plow",
    "flavour": "flavor", "labour": "labor", "honour": "honor", "programme": "program", "traveller": "traveler",
    "organisation": "organization", "ok": "okay",
}  # fmt: skip
_DIRECTIONS = re.compile(r"^(top|bottom|upper|lower)(left|right|center|middle)$")
_DOTTED = re.compile(r"(?<![^\W\d_.])(?:[^\W\d_]\.)+[^\W\d_](?![^\W_])|(?<![^\W\d_.])(?:[^\W\d_]\.){2,}(?![^\W\d_]{2})")
_SPACED_INITIALS = re.compile(r"(?<=\b[A-Z]\.) (?=[A-Z]\.)")  # J. K. Rowling = J.K. Rowling
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_MINUS = re.compile(r"(?:^|(?<=[\s(\[{,;:=<>|$€£¥~]))-\s?(?=[\d.$€£¥])")
_POINT = re.compile(r"(?<![\d.])\.(?=\d)")
_TRAILING_ZEROS = re.compile(r"(?<=\d)\.0+(?![\d.])")
_FORMULA = re.compile(r"(?<=[A-Za-z\d)])\s?[_^]\s?\{?\s?([\d]*[+-]?|[+-])\s?\}?(?=[A-Z\d\s()+-]|$)")
_CHARGE = re.compile(r"(?:^|(?<=\s)|(?<=[(,]))((?:[^\W\d_]{1,3}\d{0,2}){1,4})(\d?[+-])(?=$|[\s),;.])")
_TIMES = re.compile(r"(?<=\d)\s?(?:×|\\times(?![A-Za-z])|[xX])\s?(?=\d)")


def fold_text(text: str) -> str:
    """The words of a short phrase: case, articles and sentence punctuation gone, what changes a meaning kept.

    A text of symbols only keeps those that mean something alone ("<", "@"), and sentence punctuation alone is
    nothing. Dotted abbreviations close up (D.C. = DC), "x-ray" and "xray" are one, British spellings are American.
    """
    if not any(character.isalnum() for character in text):
        return "".join(character for character in text if character not in _SENTENCE_MARKS)
    text = _prepare(text).casefold()
    folded = []
    for index, character in enumerate(text):
        if character.isalnum() or character == " " or unicodedata.category(character)[0] != "P":
            folded.append(character)
            continue
        after, before = text[index + 1 : index + 2], text[index - 1 : index]
        if character == "'":
            folded.append("'" if _CONTRACTION.match(text, index) else "")  # don't = dont, but we're is not were
        elif character == "-" and after.isdigit() and not before.isalnum():
            folded.append("-" if before in ("", " ") else " -")
        elif character == "-" and _NEGATED_NAME.match(text, index) and not before.isalnum():
            folded.append("-")  # -f(x) is not f(x)
        elif character in ".,:/-" and after.isdigit() and before.isdigit():
            folded.append(character)  # 3:30, 12/05, 1.5x
        elif character == "." and before == "a" and text[index - 2 : index - 1] in ("", " "):
            folded.append(" , ")  # an initial, not an article: A. Lincoln
        elif (character == "#" and before.isalpha()) or (character == "@" and after.isalnum() and not before.isalnum()):
            folded.append(character)  # F#, @user
        else:
            # An article is told from the letter A by what follows it: "A, B" keeps its comma until then.
            folded.append(" , " if character in ",;:()[]" else " ")
    return _join("".join(folded).split())


def _prepare(text: str) -> str:
    """Settles numbers, abbreviations, formulas and products while the case of letters is still known."""
    if "." in text:
        text = _SPACED_INITIALS.sub("", text)
        text = _DOTTED.sub(lambda found: found.group().replace(".", "") + " ", text)
        text = _TRAILING_ZEROS.sub("", _POINT.sub("0.", text))
    if "," in text:
        text = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text)
    if "-" in text:
        text = _MINUS.sub(" -", text)
    if "_" in text or "^" in text:
        text = _FORMULA.sub(r"\1", text)
    if "-" in text or "+" in text:
        text = _CHARGE.sub(lambda found: found[1] + found[2].replace("-", "⁻").replace("+", "⁺"), text)
    if "&" in text:
        text = text.replace("&", " and ")
    if "x" in text or "X" in text or "×" in text or "\\times" in text:
        text = _TIMES.sub("x", text)
    return text


def _join(words: list[str]) -> str:
    kept: list[str] = []
    last = len(words) - 1
    for at, word in enumerate(words):
        if word == ",":
            continue
        following = words[at + 1] if at < last else ""
        if word in ("the", "an") and at < last:
            continue
        article = word == "a" and at < last and (not kept or kept[-1] not in _NAMED_BY_LETTER)
        musical = following in _KEYS_OF_MUSIC and at + 1 == last and not kept  # A minor is a key, a minor issue is not
        if article and following.isalpha() and len(following) > 1 and following not in _AFTER_A_NAME and not musical:
            continue
        word = _SPELLING.get(word, word)
        if (two := _DIRECTIONS.match(word)) is not None:
            word = f"{two[1]} {two[2]}"
        if (
            kept
            and kept[-1] in ("x", "t", "e", "u")
            and word.isalpha()
            and len(word) > 1
            and kept[-1] + word in _CLOSED
        ):
            word = kept.pop() + word
        kept.append(word)
    return " ".join(kept).replace("⁻", "-").replace("⁺", "+")


_CLOSED = word_set("xray xrays tshirt tshirts email emails ebook ebooks uturn uturns")
