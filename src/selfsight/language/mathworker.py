"""The worker process behind `mathkey`: reads LaTeX with math-verify and names its value.

Started as `python -m selfsight.language.mathworker CPU_SECONDS`; one JSON object per line in and out. The
kernel ends the process when one expression takes longer than CPU_SECONDS of processor time (a handler would
not run inside a long multiplication; the default action does). Nothing else imports this module.

A value is computed by our own walk over the parsed tree, exact fractions where possible and 50 digits
elsewhere, with every magnitude bounded before it is computed. sympy's simplifier is not asked: it has no
time bound. An expression with symbols is named by its values at three fixed points per symbol (all positive):
(x+1)^2 and x^2+2x+1 agree there, sin^2+cos^2 is 1, and equality is a comparison of names, so it is
transitive.
"""

import json
import math
import signal
import sys
from collections.abc import Callable
from fractions import Fraction
from hashlib import blake2b
from typing import Any, TextIO

import mpmath  # type: ignore[import-untyped]
import sympy  # type: ignore[import-untyped]
from math_verify import LatexExtractionConfig, parse
from sympy.core.relational import Relational  # type: ignore[import-untyped]

from selfsight.language.numbers import number_key

MAX_BITS = 8192
MAX_LOG10 = 1000
MAX_DEPTH = 60
MAX_MEMORY_BYTES = 2 * 1024**3
DIGITS, SHOWN = 50, 15
POINTS = 3

Value = Any  # Fraction, or an mpmath mpf or mpc


class UnreadError(Exception):
    """Not something whose value arithmetic settles; it stays a class by its spelling."""


class RefusedError(Exception):
    """Larger than the stated bounds: an abstention."""


def _point(name: str, index: int) -> Fraction:
    """A fixed value in (1, 2) for a symbol, odd enough that no polynomial identity holds by accident."""
    digest = blake2b(f"{name}:{index}".encode(), digest_size=3).digest()
    return 1 + Fraction(2 * int.from_bytes(digest, "big") + 1, 2**25)


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS:
            return value
        raise RefusedError
    if not mpmath.isfinite(value):
        raise UnreadError
    if value != 0 and abs(mpmath.log10(abs(value))) > MAX_LOG10:
        raise RefusedError
    return value


def _inexact(value: Value) -> Value:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _power(base: Value, exponent: Value) -> Value:
    if base == 0:
        if isinstance(exponent, Fraction) and exponent > 0:
            return Fraction(0)
        raise UnreadError
    size = abs(mpmath.log10(abs(_inexact(base)))) if abs(base) != 1 else 0
    if abs(_inexact(exponent)) * size > MAX_LOG10 or abs(_inexact(exponent)) > 10**6:
        raise RefusedError
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return _bounded(base**exponent.numerator)
        if exponent.denominator == 2 and base > 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            if root * root == base:
                return _bounded(root**exponent.numerator)
    return _bounded(mpmath.power(_inexact(base), _inexact(exponent)))


def _factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
        raise UnreadError
    if value > 400:
        raise RefusedError
    return Fraction(math.factorial(value.numerator))


def _functions() -> dict[str, Callable[..., Value]]:
    """By sympy class name. Arguments arrive evaluated."""

    def plain(function: Callable[..., Value]) -> Callable[..., Value]:
        return lambda *arguments: _bounded(function(*(_inexact(a) for a in arguments)))

    def exponential(x: Value) -> Value:
        if abs(_inexact(x)) > MAX_LOG10 * 2:
            raise RefusedError
        return mpmath.exp(_inexact(x))

    names = {"asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan}
    names |= {name: getattr(mpmath, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "log", "sinh", "cosh")}
    table = {name: plain(function) for name, function in names.items()}
    return table | {"exp": exponential, "Abs": abs, "factorial": _factorial}


class Evaluator:
    """Values of one parsed expression at one choice of points for its symbols."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._functions = _functions()

    def value(self, node: Any, depth: int = 0) -> Value:
        if depth > MAX_DEPTH:
            raise RefusedError
        kind = type(node).__name__
        if node.is_Rational:
            return _bounded(Fraction(int(node.p), int(node.q)))
        if kind == "Float":
            return _bounded(Fraction(str(node)))
        if kind == "Symbol":
            # math-verify marks the letter i as not real where it takes it for the imaginary unit.
            return mpmath.mpc(0, 1) if node.name == "i" and node.is_real is False else _point(node.name, self._index)
        if kind in ("Pi", "Exp1", "ImaginaryUnit"):
            return {"Pi": +mpmath.pi, "Exp1": +mpmath.e, "ImaginaryUnit": mpmath.mpc(0, 1)}[kind]
        if kind not in ("Add", "Mul", "Pow", "UnevaluatedExpr") and kind not in self._functions:
            raise UnreadError
        parts = [self.value(argument, depth + 1) for argument in node.args]
        if kind == "UnevaluatedExpr":
            return parts[0]
        if kind == "Pow":
            return _power(*parts)
        if kind in self._functions:
            return self._functions[kind](*parts)
        total = parts[0]
        for part in parts[1:]:
            if not (isinstance(total, Fraction) and isinstance(part, Fraction)):
                total, part = _inexact(total), _inexact(part)
            total = _bounded(total + part if kind == "Add" else total * part)
        return total


def _real_name(value: Value) -> str:
    """An exact name where the value is, or to 25 digits looks like, a simple fraction; else 15 digits."""
    if isinstance(value, Fraction):
        return number_key(value)
    if abs(value) < mpmath.mpf(10) ** -25:
        return number_key(Fraction(0))
    if abs(value) < 10**15:
        mantissa, exponent = mpmath.frexp(value)
        exact = Fraction(int(mpmath.ldexp(mantissa, 200))) * Fraction(2) ** (int(exponent) - 200)
        simple = exact.limit_denominator(10_000)
        if abs(exact - simple) < Fraction(1, 10**25):
            return number_key(simple)
    return "num:" + mpmath.nstr(value, SHOWN)


def _name(value: Value) -> str:
    if isinstance(value, Fraction | mpmath.mpf):
        return _real_name(value)
    if abs(value.imag) < mpmath.mpf(10) ** -25:
        return _real_name(value.real)
    return f"{_real_name(value.real)}+i*{_real_name(value.imag)}"


def expression_name(node: Any) -> str:
    """The name of a number or of an expression with symbols."""
    if str(node) in ("oo", "-oo"):
        return "num:inf" if str(node) == "oo" else "num:-inf"
    names = [_name(Evaluator(index).value(node)) for index in range(POINTS if node.free_symbols else 1)]
    if len(set(names)) == 1:
        return names[0]  # sin^2 + cos^2 is a number in disguise
    return "expr:" + blake2b(" ".join(names).encode(), digest_size=12).hexdigest()


def _relation_name(node: Any) -> str:
    """Equations and inequalities: moved to one side; a plain assignment is its value."""
    kind, left, right = type(node).__name__, node.lhs, node.rhs
    if kind == "Equality":
        assigned = type(left).__name__ == "Symbol" or not (left.is_Add or left.is_Mul or left.is_Pow or left.is_number)
        if assigned and left not in right.free_symbols:
            return object_name(right)
        one, other = sorted((expression_name(left - right), expression_name(right - left)))
        return f"eq:{one}={other}"
    if kind in ("StrictGreaterThan", "GreaterThan"):
        left, right = right, left
    sign = {
        "StrictLessThan": "<",
        "StrictGreaterThan": "<",
        "LessThan": "<=",
        "GreaterThan": "<=",
        "Unequality": "!=",
    }
    if kind not in sign:
        raise UnreadError
    if kind == "Unequality":
        return "ne:" + " ".join(sorted((expression_name(left - right), expression_name(right - left))))
    return f"{sign[kind]}:{expression_name(left - right)}"


def object_name(node: Any) -> str:
    """The name of whatever math-verify read: number, expression, relation, set, interval, tuple, matrix."""
    kind = type(node).__name__
    if isinstance(node, sympy.MatrixBase):
        rows = (",".join(object_name(cell) for cell in node.row(index)) for index in range(node.rows))
        return "matrix:" + ";".join(rows)
    if isinstance(node, sympy.Interval):
        ends = f"{object_name(node.start)},{object_name(node.end)}"
        return f"interval:{'(' if node.left_open else '['}{ends}{')' if node.right_open else ']'}"
    if isinstance(node, sympy.FiniteSet):
        return "set:" + ",".join(sorted({object_name(member) for member in node.args}))
    if kind == "EmptySet":
        return "set:"
    if isinstance(node, sympy.Tuple):
        return "tuple:" + ",".join(object_name(member) for member in node.args)
    if kind == "And":
        return "and:" + ",".join(sorted(object_name(part) for part in node.args))
    if isinstance(node, Relational):
        return _relation_name(node)
    if not isinstance(node, sympy.Expr):
        raise UnreadError
    return expression_name(node)


def reply_to(latex: str) -> dict[str, str | None]:
    """{"status": "ok", "key": ...}, {"status": "unread"} or {"status": "refused"}."""
    if "°" in latex:
        return {"status": "unread", "key": None}  # math-verify would read sin 30° in radians
    try:
        read = parse(f"${latex}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=0)
        if not read:
            return {"status": "unread", "key": None}
        return {"status": "ok", "key": object_name(read[0])}
    except (UnreadError, ZeroDivisionError, TypeError, ValueError):
        return {"status": "unread", "key": None}
    except (RefusedError, OverflowError, RecursionError, MemoryError):
        return {"status": "refused", "key": None}


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def _limit_time(seconds: float) -> None:
    """Arms (or, with 0, disarms) the kernel's timer over this process's processor time."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def main(cpu_seconds: float, lines: TextIO, replies: TextIO) -> None:
    """Answers until the other side closes the pipe."""
    mpmath.mp.dps = DIGITS
    # The first parse builds the grammar's tables; the time limit is not meant to cover that.
    for latex in (r"\frac{1}{2}", r"\sqrt{x^2+1}=3\cdot 4", r"\{1,2\}", "(1,2]"):
        reply_to(latex)
    _limit_memory()
    print("ready", file=replies, flush=True)
    for line in lines:
        _limit_time(cpu_seconds)
        reply = reply_to(json.loads(line)["latex"])
        _limit_time(0)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not look like a reply
    main(float(sys.argv[1]), sys.stdin, answers)
