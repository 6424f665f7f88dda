"""Keys of mathematical answers: our own reader of LaTeX and keyboard maths, in this process and without a clock.

It reads what answers are made of: numbers, fractions, roots, powers, the usual functions, symbols, equations,
inequalities, intervals, sets, tuples, unions and matrices. The work is bounded by the length of the text, by the depth
of its brackets and by the size of every value (`mathvalues`), so a key never depends on how busy the machine is.
What it cannot read raises UnreadError and goes to `mathkey`; what is too large raises RefusedError: an abstention.

Rules (docs/answers.md): an assignment is its value (`x = 5` is 5), a chain is its last value (`x = 5+5 = 10`), an
inequality in one variable is its interval (`x < 3` is (-inf, 3)), equations are compared up to a factor, and a linear
equation in x and y is the line it describes.
"""

import re
import threading
from fractions import Fraction
from typing import Any

from selfsight.language import mathvalues as mv
from selfsight.language.folding import word_set
from selfsight.language.mathvalues import POINTS, RefusedError, UnreadError, Value

MAX_TOKENS = 200
MAX_DEPTH = 24
MAX_MEMBERS = 64

Node = tuple[Any, ...]
_LOCK = threading.Lock()  # mpmath's context is not made for several threads

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<command>\\(?:[A-Za-z]+|[{}|\\]))|(?P<letter>[A-Za-zα-ωΑ-Ω])"
    r"|(?P<mark><=|>=|!=|\*\*|[+\-*/^_=<>!|(){}\[\],;%°'≤≥≠≈±×÷·√π∞:&]))"
)
_WORD_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp"
    r"|pi|abs|infinity|inf)(?![A-Za-z])"
)
_ALIASES = {
    "≤": "<=", "≥": ">=", "≠": "!=", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=",
    "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!=", "\\approx": "≈", "\\sim": "≈",
    "\\simeq": "≈", "\\times": "*", "×": "*", "\\cdot": "*", "·": "*", "\\ast": "*", "\\div": "/", "÷": "/", "**": "^",
    "√": "\\sqrt",
    "π": "\\pi", "∞": "\\infty", "±": "\\pm", "\\lvert": "|", "\\rvert": "|", "\\vert": "|",
    "\\mid": "|", "\\colon": ":",
    "\\lbrack": "[", "\\rbrack": "]", "\\lbrace": "\\{", "\\rbrace": "\\}",
    "\\varnothing": "\\emptyset", "\\infinity": "\\infty", "\\inf": "\\infty",
    "\\cfrac": "\\frac", "\\equiv": "=",
}  # fmt: skip
_FUNCTIONS = {
    "\\sin": "sin", "\\cos": "cos", "\\tan": "tan", "\\cot": "cot", "\\sec": "sec", "\\csc": "csc", "\\ln": "log",
    "\\exp": "exp", "\\sinh": "sinh", "\\cosh": "cosh", "\\tanh": "tanh", "\\arcsin": "asin", "\\arccos": "acos",
    "\\arctan": "atan", "\\abs": "abs",
}  # fmt: skip
_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_INVERSE = {"sin": "asin", "cos": "acos", "tan": "atan"}
_GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
)
_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "≈", "\\in"})
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_STARTS = frozenset({"(", "{", "\\frac", "\\sqrt", "\\pi", "\\infty", "\\binom", "\\log", "\\lfloor", "\\lceil"})
_SETS = {"R": "R", "Z": "Z", "N": "N", "Q": "Q", "C": "C"}


def tokens_of(text: str) -> list[str]:
    """The tokens of a mathematical text; UnreadError at a character that is none, RefusedError when too many."""
    text = _WORD_FUNCTION.sub(r"\\\1 ", text.replace("\\varnothing", "\\emptyset"))
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnreadError
        token = match.group().strip()
        found.append(_ALIASES.get(token, token))
        at = match.end()
        if len(found) > MAX_TOKENS:
            raise RefusedError
    return found


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[str], sign: str = "+") -> None:
        self.tokens, self.at, self.depth, self.sign = tokens, 0, 0, sign
        self.bars = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or (wanted is not None and token != wanted):
            raise UnreadError
        self.at += 1
        return token

    def whole(self) -> Node:
        node = self.sum()
        if self.at != len(self.tokens):
            raise UnreadError
        return node

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RefusedError
        terms: list[Node] = []
        signs = ("+", "-", "\\pm", "\\mp")
        negative = False
        if self.peek() in signs:
            negative = self._sign()
        terms.append(("neg", self.product()) if negative else self.product())
        while self.peek() in signs:
            negative = self._sign()
            term = self.product()
            terms.append(("neg", term) if negative else term)
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def _sign(self) -> bool:
        token = self.take()
        if token == "\\pm":
            return self.sign == "-"
        if token == "\\mp":
            return self.sign == "+"
        return token == "-"

    def product(self) -> Node:
        node = self.power()
        while True:
            token = self.peek()
            if token == "*":
                self.take()
                node = ("mul", node, self.signed())
            elif token == "/":
                self.take()
                node = ("div", node, self.signed())
            elif self._starts_factor(token):
                node = self._joined(node, token)
            else:
                return node

    def signed(self) -> Node:
        if self.peek() in ("+", "-"):
            return ("neg", self.power()) if self.take() == "-" else self.power()
        return self.power()

    def _joined(self, node: Node, token: str) -> Node:
        """Two factors side by side: a product, or a mixed number (5 1/2, 5\\frac{1}{2})."""
        if node[0] == "num" and token == "\\frac" and node[1].denominator == 1:
            factor = self.power()
            if factor[0] == "div" and factor[1][0] == factor[2][0] == "num":
                return ("add", node, factor)
            return ("mul", node, factor)
        if token[0].isdigit() or token[0] == ".":
            raise UnreadError  # two numbers side by side are no product
        return ("mul", node, self.power())

    def _starts_factor(self, token: str) -> bool:
        if not token:
            return False
        if token == "|":
            return self.bars == 0
        return (
            token[0].isalnum() or token in _STARTS
            or token in _FUNCTIONS or token[1:] in _GREEK or token[0] == "."
        )  # fmt: skip

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.peek() == "^":
            self.take()
            node = self.postfix(("pow", node, self.script()))
            if self.peek() == "^":
                raise RefusedError  # a tower
        return node

    def postfix(self, node: Node) -> Node:
        while True:
            token = self.peek()
            if token == "!":
                self.take()
                node = ("fn", "factorial", node)
            elif token == "°":
                self.take()
                node = ("deg", node)
            elif token == "%":
                self.take()
            else:
                return node

    def script(self) -> Node:
        """An exponent: one atom, or a group."""
        if self.peek() in ("+", "-"):
            return ("neg", self.atom()) if self.take() == "-" else self.atom()
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() == "(":
            return self.group("(", ")")
        return self.atom()

    def group(self, opening: str, closing: str) -> Node:
        self.take(opening)
        node = self.sum()
        self.take(closing)
        return node

    def argument(self) -> Node:
        """What \\frac and \\sqrt take: a group, or one digit or atom (\\frac12, \\sqrt3)."""
        token = self.peek()
        if token == "{":
            return self.group("{", "}")
        if token[:1].isdigit() and len(token) > 1 and "." not in token:
            # \frac12 is a half: one digit is taken from the number.
            self.tokens[self.at] = token[1:]
            return ("num", Fraction(token[0]))
        return self.atom()

    def atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return self._number(token)
        if token == "\\frac":
            top = self.argument()
            return ("div", top, self.argument())
        if token == "\\sqrt":
            return self._root()
        if token == "\\binom":
            total = self.argument()
            return ("binom", total, self.argument())
        if token == "\\log":
            return self._logarithm()
        if token in _FUNCTIONS:
            return self._function(_FUNCTIONS[token])
        if token in ("(", "{", "["):
            self.at -= 1
            return self.group(token, {"(": ")", "{": "}", "[": "]"}[token])
        if token == "|":
            self.bars += 1
            node = self.sum()
            self.take("|")
            self.bars -= 1
            return ("fn", "abs", node)
        if token in ("\\lfloor", "\\lceil"):
            node = self.sum()
            self.take("\\rfloor" if token == "\\lfloor" else "\\rceil")
            return ("fn", "floor" if token == "\\lfloor" else "ceil", node)
        if token == "\\pi":
            return ("pi",)
        if token == "\\infty":
            return ("inf",)
        return self._symbol(token)

    def _number(self, token: str) -> Node:
        if len(token) > 60:
            raise RefusedError
        value = Fraction(token)
        if self.peek() == "\\overline" and "." in token + "." and self.tokens[self.at - 1].find(".") >= 0:
            self.take()
            self.take("{")
            digits = self.take()
            self.take("}")
            if not digits.isdigit():
                raise UnreadError
            places = len(token.partition(".")[2])
            value += Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)
        return ("num", value)

    def _root(self) -> Node:
        degree: Node = ("num", Fraction(2))
        if self.peek() == "[":
            degree = self.group("[", "]")
        if self.peek() == "(":
            return ("root", self.group("(", ")"), degree)
        token = self.peek()
        if token[:1].isdigit():  # √12 is the root of twelve
            self.take()
            return ("root", self._number(token), degree)
        return ("root", self.argument(), degree)

    def _logarithm(self) -> Node:
        base: Node = ("e",)
        if self.peek() == "_":
            self.take()
            base = self.argument()
        return ("div", ("fn", "log", self._applied()), ("fn", "log", base))

    def _applied(self) -> Node:
        """The argument of a function: a bracket, or the factors up to the next sign (sin 2x)."""
        if self.peek() in ("(", "{", "["):
            token = self.peek()
            return self.group(token, {"(": ")", "{": "}", "[": "]"}[token])
        node = self.power()
        while self._starts_factor(self.peek()) and self.peek() not in _FUNCTIONS and self.peek() != "(":
            node = ("mul", node, self.power())
        return node

    def _function(self, name: str) -> Node:
        exponent: Node | None = None
        if self.peek() == "^":
            self.take()
            exponent = self.script()
        node: Node
        if exponent == ("neg", ("num", Fraction(1))) and name in _INVERSE:
            return ("fn", _INVERSE[name], self._applied())
        node = ("fn", name, self._applied())
        return node if exponent is None else ("pow", node, exponent)

    def _symbol(self, token: str) -> Node:
        if not (token.isalpha() or token[1:] in _GREEK):
            raise UnreadError
        name = token
        if self.peek() == "_":
            self.take()
            if self.peek() == "{":
                self.take()
                inner = []
                while self.peek() not in ("}", ""):
                    inner.append(self.take())
                self.take("}")
                name += "_" + "".join(inner)
            else:
                name += "_" + self.take()
        while self.peek() == "'":
            name += self.take()
        if name == "e":
            return ("e",)
        if name in ("f", "g", "h", "P", "F", "G") and self.peek() == "(":
            # A function's value is one opaque symbol: f(x), P(A).
            end = self.tokens.index(")", self.at) if ")" in self.tokens[self.at :] else -1
            if end > 0 and end - self.at <= 4 and all(t.isalnum() for t in self.tokens[self.at + 1 : end]):
                name += "".join(self.tokens[self.at : end + 1])
                self.at = end + 1
        return ("i",) if name == "i" else ("sym", name)


def symbols_of(node: Node) -> set[str]:
    """Names of the free symbols of an expression."""
    if node[0] == "sym":
        return {node[1]}
    return set().union(*(symbols_of(part) for part in node[1:] if isinstance(part, tuple))) if len(node) > 1 else set()


def _has(node: Node, kind: str) -> bool:
    return node[0] == kind or any(_has(part, kind) for part in node[1:] if isinstance(part, tuple))


def evaluate(node: Node, points: dict[str, Value], *, degrees: bool = False) -> Value:
    """The value of an expression at the given points; `degrees` while inside a trigonometric function."""
    kind = node[0]
    if kind == "num":
        return mv.bounded(node[1])
    if kind == "sym":
        return points[node[1]]
    if kind == "pi":
        return +mv.CONTEXT.pi
    if kind == "e":
        return +mv.CONTEXT.e
    if kind == "i":
        return mv.CONTEXT.mpc(0, 1)
    if kind == "inf":
        raise UnreadError
    if kind == "deg":
        value = evaluate(node[1], points)
        return mv.inexact(value) * mv.CONTEXT.pi / 180 if degrees else value
    if kind == "fn":
        return mv.FUNCTIONS[node[1]](evaluate(node[2], points, degrees=node[1] in _TRIGONOMETRIC))
    parts = [evaluate(part, points, degrees=degrees) for part in node[1:]]
    if kind == "neg":
        return -parts[0]
    if kind == "add":
        total = parts[0]
        for part in parts[1:]:
            total = mv.add(total, part)
        return total
    if kind == "mul":
        return mv.multiply(*parts)
    if kind == "div":
        return mv.divide(*parts)
    if kind == "root":
        if isinstance(parts[1], Fraction) and parts[1].denominator == 1 and parts[1] % 2 == 1 and _negative(parts[0]):
            return -mv.power(-parts[0], 1 / parts[1])  # the real root of a negative number
        return mv.power(parts[0], mv.divide(Fraction(1), parts[1]))
    if kind == "binom":
        return mv.binomial(*parts)
    if node[1] == ("e",):
        return mv.exponential(parts[1])
    return mv.power(*parts)


def _negative(value: Value) -> bool:
    return isinstance(value, Fraction) and value < 0


def _values(node: Node) -> list[Value]:
    names = sorted(symbols_of(node))
    return [evaluate(node, {name: mv.point(name, index) for name in names}) for index in range(POINTS if names else 1)]


def expression_key(node: Node) -> str:
    """The key of a number or of an expression with symbols."""
    if node == ("inf",) or node == ("neg", ("inf",)):
        return "num:inf" if node == ("inf",) else "num:-inf"
    return mv.names_key([mv.value_name(value) for value in _values(node)])


def _split(tokens: list[str], separators: frozenset[str]) -> list[tuple[str, list[str]]]:
    """The tokens cut at separators outside every bracket: [(separator before, tokens)]. Half-open intervals count."""
    pieces: list[tuple[str, list[str]]] = [("", [])]
    depth = 0
    for token in tokens:
        if token in ("(", "[", "{", "\\{"):
            depth += 1
        elif token in (")", "]", "}", "\\}"):
            depth -= 1
            if depth < 0:
                raise UnreadError
        if depth == 0 and token in separators:
            pieces.append((token, []))
        else:
            pieces[-1][1].append(token)
    if depth != 0:
        raise UnreadError
    return pieces


def _member_keys(tokens: list[str]) -> list[str]:
    pieces = [piece for _, piece in _split(tokens, frozenset({",", ";"}))]
    if len(pieces) > MAX_MEMBERS:
        raise RefusedError
    if any(not piece for piece in pieces):
        raise UnreadError
    return [key for piece in pieces for key in _keys(piece)]


def _keys(tokens: list[str]) -> list[str]:
    """The key of one member of a list; two when it holds a plus-minus sign."""
    if "\\pm" in tokens or "\\mp" in tokens:
        plus, minus = ([{"\\pm": a, "\\mp": b}.get(t, t) for t in tokens] for a, b in (("+", "-"), ("-", "+")))
        return [_one(plus), _one(minus)]
    return [_one(tokens)]


def list_key(keys: list[str]) -> str:
    """Several values without brackets: the solutions of a problem, so their order means nothing; repeats count."""
    if all(key.startswith("interval:") for key in keys):
        keys = list(dict.fromkeys(keys))  # points: a point said twice is one point
    return keys[0] if len(keys) == 1 else "set:" + ",".join(sorted(keys))


def math_tokens_key(tokens: list[str], *, ordered: bool = False) -> str:
    """The key of a whole answer, with commas and semicolons between its values."""
    keys = _member_keys(tokens)
    if len(keys) == 1:
        # Coordinates are the same in any brackets.
        return re.sub(r"^interval:\[(.*)\]$", r"interval:(\1)", keys[0]) if ordered else keys[0]
    if ordered:
        return f"interval:({','.join(keys)})"
    return list_key(keys)


def _one(tokens: list[str]) -> str:
    """One value, relation, set or union."""
    united = _split(tokens, frozenset({"\\cup"}))
    if len(united) > 1:
        return "union:" + "|".join(sorted({_one(piece) for _, piece in united}))
    sides = _split(tokens, _RELATIONS)
    if len(sides) > 1:
        return _relation(sides)
    return _object(tokens)


def _object(tokens: list[str]) -> str:
    """A set, an interval, a tuple, a matrix, or an expression."""
    if not tokens:
        raise UnreadError
    if tokens == ["\\emptyset"] or tokens == ["\\{", "\\}"]:
        return "set:"
    if len(tokens) == 4 and tokens[0] in ("\\mathbb", "\\mathbf") and tokens[2] in _SETS:
        return "numbers:" + tokens[2]
    if tokens[0] in ("(", "[", "|") and len(tokens) > 2 and tokens[1] == "\\begin" and tokens[-2] == "}":
        tokens = tokens[1:-1] if tokens[0] != "|" else tokens
    if tokens[0] == "\\begin":
        return _matrix(tokens)
    if tokens[0] in ("(", "[", "\\{") and tokens[-1] in (")", "]", "\\}") and _closes_at_end(tokens):
        inner = tokens[1:-1]
        pieces = _split(inner, frozenset({",", ";"}))
        if tokens[0] == "\\{" or len(pieces) > 1:
            keys = _member_keys(inner)
            if tokens[0] == "\\{":
                return "set:" + ",".join(sorted(set(keys)))
            return f"interval:{tokens[0]}{','.join(keys)}{tokens[-1]}"
    if (
        tokens[0] == "{"
        and tokens[-1] == "}"
        and _closes_at_end(tokens)
        and len(_split(tokens[1:-1], frozenset({",", ";"}))) > 1
    ):
        return "set:" + ",".join(sorted(set(_member_keys(tokens[1:-1]))))
    return expression_key(_Reader(list(tokens)).whole())


def _closes_at_end(tokens: list[str]) -> bool:
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, "[": 1, "{": 1, "\\{": 1, ")": -1, "]": -1, "}": -1, "\\}": -1}.get(token, 0)
        if depth == 0:
            return at == len(tokens) - 1
    return False


def _opaque(tokens: list[str]) -> bool:
    """Whether a left side only names what follows: x, f(x), V_1, AB, angle A."""
    try:
        node = _Reader(list(tokens)).whole()
    except (UnreadError, RefusedError):
        return False
    return node[0] == "sym"


def _relation(sides: list[tuple[str, list[str]]]) -> str:
    signs = [sign for sign, _ in sides[1:]]
    parts = [part for _, part in sides]
    if (signs[-1] == "≈" and len(parts) > 2) or (signs == ["≈"] and parts[0] and not _opaque(parts[0])):
        return _relation(sides[:-1]) if len(sides) > 2 else _one(parts[0])
    if not parts[0]:  # "= 5", "≈ 3", "> 5"
        if len(parts) == 2 and signs[0] in ("=", "≈"):
            return _one(parts[1])
        raise UnreadError
    signs = ["=" if sign == "≈" else sign for sign in signs]
    if signs == ["\\in"]:
        return _one(parts[1])
    if all(sign == "=" for sign in signs):
        return _equation(parts)
    if len(set(signs)) == 1 and signs[0] == "!=" and len(parts) == 2:
        return "ne:" + _bound(parts[0], parts[1])[1]
    if "=" in signs or "\\in" in signs or "!=" in signs:
        raise UnreadError
    return _inequality(signs, parts)


def _equation(parts: list[list[str]]) -> str:
    first = _Reader(list(parts[0])).whole() if _readable(parts[0]) else None
    if (
        len(parts) == 2
        and _only_names(parts[0])
        and _readable(parts[1])
        and not symbols_of(_Reader(list(parts[1])).whole())
    ):
        return _one(parts[1])
    numeric = first is not None and not symbols_of(first) and first[0] != "inf"
    if len(parts) > 2 or (numeric and _readable(parts[1]) and not symbols_of(_Reader(list(parts[1])).whole())):
        # A chain of steps, or a calculation: the last value is the answer.
        if first is None or (symbols_of(first) and first[0] != "sym" and len(parts) == 2):
            raise UnreadError
        return _one(parts[-1])
    if first is None:
        if len(parts) == 2 and _tuple_of_symbols(parts[0]):
            return _one(parts[1])
        raise UnreadError
    if first[0] == "sym":
        try:
            right = _Reader(list(parts[1])).whole()
        except UnreadError:
            return _one(parts[1])
        if first[1] not in symbols_of(right):
            return expression_key(right)
    right = _Reader(list(parts[1])).whole()
    if right[0] == "sym" and right[1] not in symbols_of(first):
        return expression_key(first)
    difference: Node = ("add", first, ("neg", right))
    return _line(difference) or _up_to_a_factor(difference)


def _only_names(tokens: list[str]) -> bool:
    """Whether a left side names a segment or an angle: AB, |AB|, A:B."""
    return len(tokens) > 1 and all(
        token in ("|", ":", "{", "}", "\\angle", "\\overline", "°") or (token.isalpha() and token.isupper())
        for token in tokens
    )


def _tuple_of_symbols(tokens: list[str]) -> bool:
    inner = tokens[1:-1]
    return len(tokens) >= 5 and tokens[0] == "(" and tokens[-1] == ")" and all(t.isalpha() or t == "," for t in inner)


def _readable(tokens: list[str]) -> bool:
    try:
        _Reader(list(tokens)).whole()
    except UnreadError:
        return False
    return True


def _line(difference: Node) -> str | None:
    """The key of y for a linear equation in x and y, since `y = 2x + 1` is the key of 2x + 1; else None."""
    names = symbols_of(difference)
    if names != {"x", "y"}:
        return None
    values = []
    for index in range(POINTS):
        at = {"x": mv.point("x", index)}
        zero, one, two = (evaluate(difference, at | {"y": Fraction(y)}) for y in (0, 1, 2))
        slope = one - zero
        if slope == 0 or abs(two - one - slope) > Fraction(1, 10**25):
            return None
        values.append(mv.divide(-zero, slope))
    corner = [evaluate(difference, {"x": Fraction(x), "y": Fraction(0)}) for x in (1, 2, 3)]
    if abs(corner[2] - 2 * corner[1] + corner[0]) > Fraction(1, 10**25):
        return None  # linear in y alone: a curve keeps its equation
    return mv.names_key([mv.value_name(value) for value in values])


def _up_to_a_factor(difference: Node) -> str:
    values = _values(difference)
    first = values[0]
    if len(values) == 1:
        return "eq:" + mv.value_name(Fraction(0) if first == 0 else Fraction(1))
    if all(value == 0 for value in values):
        return "eq:num:0"
    lead = next(value for value in values if value != 0)
    return "eq:" + mv.names_key([mv.value_name(mv.divide(value, lead)) for value in values])


def _bound(left: list[str], right: list[str]) -> tuple[int, str, bool]:
    """(direction of the variable's coefficient, key of the bound, whether it is the middle itself)."""
    one, other = _Reader(list(left)).whole(), _Reader(list(right)).whole()
    difference: Node = ("add", one, ("neg", other)) if other != ("inf",) else one
    names = symbols_of(difference)
    if len(names) != 1:
        return 0, expression_key(difference), False
    (name,) = names
    zero, one_, two = (evaluate(difference, {name: Fraction(at)}) for at in (0, 1, 2))
    slope = one_ - zero
    if (
        slope == 0
        or isinstance(slope, mv.CONTEXT.mpc)
        or abs(two - one_ - slope) > Fraction(1, 10**25)
        or _has(difference, "fn")
    ):
        return 0, expression_key(difference), False
    return (1 if slope > 0 else -1), mv.value_name(mv.divide(-zero, slope)), True


def _inequality(signs: list[str], parts: list[list[str]]) -> str:
    low, high = ("(", "num:-inf"), ("num:inf", ")")
    names: set[str] = set()
    for sign, left, right in zip(signs, parts[:-1], parts[1:], strict=True):
        for side in (left, right):
            names |= symbols_of(_Reader(list(side)).whole())
        if right in (["\\infty"], ["+", "\\infty"]) or left == ["-", "\\infty"]:
            continue  # x < infinity says nothing
        direction, bound, linear = _bound(left, right)
        if not linear:
            return "rel:" + ";".join(
                sorted(_plain_relation(s, a, b) for s, a, b in zip(signs, parts[:-1], parts[1:], strict=True))
            )
        sign = sign if direction > 0 else _FLIP[sign]
        closed = sign.endswith("=")
        if sign[0] == "<":
            high = (bound, "]" if closed else ")")
        else:
            low = ("[" if closed else "(", bound)
    if len(names) != 1:
        raise UnreadError
    return f"interval:{low[0]}{low[1]},{high[0]}{high[1]}"


def _plain_relation(sign: str, left: list[str], right: list[str]) -> str:
    if sign[0] == ">":
        sign, left, right = _FLIP[sign], right, left
    difference: Node = ("add", _Reader(list(left)).whole(), ("neg", _Reader(list(right)).whole()))
    return f"{sign}:{expression_key(difference)}"


def _matrix(tokens: list[str]) -> str:
    """Rows are separated by \\\\; a single row or column is a vector, the same as the tuple of its members."""
    text = "".join(tokens)
    match = re.fullmatch(
        r"\\begin\{(p|b|B|v|V|small)?(?:matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1?(?:matrix|array)\}", text
    )
    if match is None:
        raise UnreadError
    start = tokens.index("}") + 1
    if tokens[start : start + 1] == ["{"]:
        start = tokens.index("}", start) + 1
    end = len(tokens) - 1 - tokens[::-1].index("\\end")
    rows: list[list[str]] = []
    for row in _cut(tokens[start:end], "\\\\"):
        if row:
            rows.append([_one(cell) for cell in _cut(row, "&")])
    if not rows or sum(map(len, rows)) > MAX_MEMBERS:
        raise UnreadError
    if match[1] in ("v", "V"):
        return "det:" + ";".join(",".join(row) for row in rows)
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        cells = [cell for row in rows for cell in row]
        if len(cells) > 1:
            return f"interval:({','.join(cells)})"
    return "matrix:" + ";".join(",".join(row) for row in rows)


def _cut(tokens: list[str], separator: str) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token == separator:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def read_math(text: str, *, ordered: bool = False) -> str:
    """The key of a folded mathematical answer.

    Args:
        text: LaTeX or keyboard maths, folded.
        ordered: whether a list without brackets is ordered (coordinates) or the solutions of a problem.

    Raises:
        UnreadError: it is not in this reader's language.
        RefusedError: it is larger than the bounds.
    """
    with _LOCK:
        tokens = tokens_of(text)
        return math_tokens_key(tokens, ordered=ordered)
