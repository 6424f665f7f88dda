"""The tree of a mathematical expression: tokens, a recursive descent over them, and values at points.

The work is bounded by the number of tokens, the depth of brackets and the size of every value (`mathvalues`).
"""

import re
from fractions import Fraction
from typing import Any

from selfsight.language import mathvalues as mv
from selfsight.language.folding import word_set
from selfsight.language.mathvalues import POINTS, RefusedError, UnreadError, Value

MAX_TOKENS = 200
MAX_DEPTH = 24

Node = tuple[Any, ...]

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
_STARTS = frozenset({"(", "{", "\\frac", "\\sqrt", "\\pi", "\\infty", "\\binom", "\\log", "\\lfloor", "\\lceil"})


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


class ExpressionReader:
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


def holds(node: Node, kind: str) -> bool:
    """Whether a node of that kind is in the tree."""
    return node[0] == kind or any(holds(part, kind) for part in node[1:] if isinstance(part, tuple))


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


def values_of(node: Node) -> list[Value]:
    """The values of an expression at the fixed points of its symbols."""
    names = sorted(symbols_of(node))
    return [evaluate(node, {name: mv.point(name, index) for name in names}) for index in range(POINTS if names else 1)]


def expression_key(node: Node) -> str:
    """The key of a number or of an expression with symbols."""
    if node == ("inf",) or node == ("neg", ("inf",)):
        return "num:inf" if node == ("inf",) else "num:-inf"
    return mv.names_key([mv.value_name(value) for value in values_of(node)])
