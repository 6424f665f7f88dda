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
from selfsight.language.mathtree import (
    ExpressionReader,
    Node,
    evaluate,
    expression_key,
    holds,
    symbols_of,
    tokens_of,
    values_of,
)
from selfsight.language.mathvalues import POINTS, RefusedError, UnreadError

MAX_MEMBERS = 64
_LOCK = threading.Lock()  # mpmath's context is not made for several threads
_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "≈", "\\in"})
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SETS = {"R": "R", "Z": "Z", "N": "N", "Q": "Q", "C": "C"}


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
    if (named := _named_values(tokens)) is not None:
        return named
    keys = _member_keys(tokens)
    if len(keys) == 1:
        # Coordinates are the same in any brackets.
        return re.sub(r"^interval:\[(.*)\]$", r"interval:(\1)", keys[0]) if ordered else keys[0]
    if ordered:
        return f"interval:({','.join(keys)})"
    return list_key(keys)


def _named_values(tokens: list[str]) -> str | None:
    """The key of values of several names, `p = 5, q = 2`: each keeps its name. None for every other answer.

    Values of one name are the solutions of a problem (`x = 1, x = 2`), to which the name adds nothing. A semicolon
    parts solutions of several names each: `p = 5, q = 2; p = 7, q = 2`.
    """
    members = [piece for _, piece in _split(tokens, frozenset({",", ";"}))]
    names = [_name_of(member) for member in members]
    if len(set(names)) < 2 or None in names:
        return None
    if len(members) > MAX_MEMBERS:
        raise RefusedError
    solutions = []
    for _, solution in _split(tokens, frozenset({";"})):
        pieces = [piece for _, piece in _split(solution, frozenset({","}))]
        solutions.append(",".join(sorted(f"{_name_of(piece)}={','.join(_keys(piece))}" for piece in pieces)))
    if all("," not in solution for solution in solutions):  # `p = 5; q = 2` is one solution
        solutions = [",".join(sorted(solutions))]
    return "named:" + ";".join(sorted(solutions))


def _name_of(tokens: list[str]) -> str | None:
    """What a relation says something about, `x` in `x = 5` and `x > 5`, if it is a name alone."""
    sides = _split(tokens, _RELATIONS)
    first = sides[0][1]
    return "".join(first) if len(sides) > 1 and first and (_only_names(first) or _opaque(first)) else None


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
    return expression_key(ExpressionReader(list(tokens)).whole())


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
        node = ExpressionReader(list(tokens)).whole()
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
    first = ExpressionReader(list(parts[0])).whole() if _readable(parts[0]) else None
    if (
        len(parts) == 2
        and _only_names(parts[0])
        and _readable(parts[1])
        and not symbols_of(ExpressionReader(list(parts[1])).whole())
    ):
        return _one(parts[1])
    numeric = first is not None and not symbols_of(first) and first[0] != "inf"
    if len(parts) > 2 or (numeric and _readable(parts[1]) and not symbols_of(ExpressionReader(list(parts[1])).whole())):
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
            right = ExpressionReader(list(parts[1])).whole()
        except UnreadError:
            return _one(parts[1])
        if first[1] not in symbols_of(right):
            return expression_key(right)
    right = ExpressionReader(list(parts[1])).whole()
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
        ExpressionReader(list(tokens)).whole()
    except UnreadError:
        return False
    return True


def _is_more_than_rounding(value: Any) -> bool:
    """Whether a value, exact or computed in floating point, is not 0 to 25 digits."""
    # mpmath does not compare its own numbers with fractions.
    size = abs(value)
    return bool(size > (Fraction(1, 10**25) if isinstance(size, Fraction) else mv.CONTEXT.mpf(10) ** -25))


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
        if slope == 0 or _is_more_than_rounding(two - one - slope):
            return None
        values.append(mv.divide(-zero, slope))
    corner = [evaluate(difference, {"x": Fraction(x), "y": Fraction(0)}) for x in (1, 2, 3)]
    if _is_more_than_rounding(corner[2] - 2 * corner[1] + corner[0]):
        return None  # linear in y alone: a curve keeps its equation
    return mv.names_key([mv.value_name(value) for value in values])


def _up_to_a_factor(difference: Node) -> str:
    values = values_of(difference)
    first = values[0]
    if len(values) == 1:
        return "eq:" + mv.value_name(Fraction(0) if first == 0 else Fraction(1))
    if all(value == 0 for value in values):
        return "eq:num:0"
    lead = next(value for value in values if value != 0)
    return "eq:" + mv.names_key([mv.value_name(mv.divide(value, lead)) for value in values])


def _bound(left: list[str], right: list[str]) -> tuple[int, str, bool]:
    """(direction of the variable's coefficient, key of the bound, whether it is the middle itself)."""
    one, other = ExpressionReader(list(left)).whole(), ExpressionReader(list(right)).whole()
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
        or _is_more_than_rounding(two - one_ - slope)
        or holds(difference, "fn")
    ):
        return 0, expression_key(difference), False
    return (1 if slope > 0 else -1), mv.value_name(mv.divide(-zero, slope)), True


def _inequality(signs: list[str], parts: list[list[str]]) -> str:
    low, high = ("(", "num:-inf"), ("num:inf", ")")
    names: set[str] = set()
    for sign, left, right in zip(signs, parts[:-1], parts[1:], strict=True):
        for side in (left, right):
            names |= symbols_of(ExpressionReader(list(side)).whole())
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
    difference: Node = ("add", ExpressionReader(list(left)).whole(), ("neg", ExpressionReader(list(right)).whole()))
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
