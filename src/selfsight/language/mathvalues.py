"""Arithmetic on the values of mathematical answers: exact fractions where possible, 50 digits elsewhere.

Every magnitude is bounded before it is computed, so no answer can make this slow. An expression with symbols is named
by its values at three fixed points per symbol (all positive): (x+1)^2 and x^2+2x+1 agree there, sin^2+cos^2 is 1, and
equality is a comparison of names, so it is transitive. The process-wide precision of mpmath is left alone.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import mpmath  # type: ignore[import-untyped]

from selfsight.language.numbers import number_key

MAX_BITS = 8192
MAX_LOG10 = 1000
DIGITS, SHOWN = 50, 15
POINTS = 3

CONTEXT = mpmath.MPContext()
CONTEXT.dps = DIGITS

Value = Any  # Fraction, or an mpf or mpc of CONTEXT


class UnreadError(Exception):
    """Not something whose value arithmetic settles; it stays a class by its spelling."""


class RefusedError(Exception):
    """Larger than the stated bounds: an abstention."""


@lru_cache(maxsize=4096)
def point(name: str, index: int) -> Fraction:
    """A fixed value in (1, 2) for a symbol, odd enough that no polynomial identity holds by accident."""
    digest = blake2b(f"{name}:{index}".encode(), digest_size=3).digest()
    return 1 + Fraction(2 * int.from_bytes(digest, "big") + 1, 2**25)


def bounded(value: Value) -> Value:
    """The value, or RefusedError when it is larger than MAX_BITS or MAX_LOG10 allow."""
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS:
            return value
        raise RefusedError
    if not CONTEXT.isfinite(value):
        raise UnreadError
    if value != 0 and abs(CONTEXT.log10(abs(value))) > MAX_LOG10:
        raise RefusedError
    return value


def inexact(value: Value) -> Value:
    """The value as a number of 50 digits."""
    return CONTEXT.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def add(one: Value, other: Value) -> Value:
    """The sum, exact when both are."""
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)):
        one, other = inexact(one), inexact(other)
    return bounded(one + other)


def multiply(one: Value, other: Value) -> Value:
    """The product, exact when both are."""
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)):
        one, other = inexact(one), inexact(other)
    return bounded(one * other)


def divide(one: Value, other: Value) -> Value:
    """The quotient, exact when both are; UnreadError for a division by zero."""
    if other == 0:
        raise UnreadError
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)):
        one, other = inexact(one), inexact(other)
    return bounded(one / other)


def power(base: Value, exponent: Value) -> Value:
    """base ** exponent, its size bounded before it is computed."""
    if base == 0:
        if isinstance(exponent, Fraction) and exponent > 0:
            return Fraction(0)
        raise UnreadError
    size = abs(CONTEXT.log10(abs(inexact(base)))) if abs(base) != 1 else 0
    if abs(inexact(exponent)) * size > MAX_LOG10 or abs(inexact(exponent)) > 10**6:
        raise RefusedError
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return bounded(base**exponent.numerator)
        if exponent.denominator == 2 and base > 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            if root * root == base:
                return bounded(root**exponent.numerator)
    return bounded(CONTEXT.power(inexact(base), inexact(exponent)))


def factorial(value: Value) -> Value:
    """n! for a whole n of at most 400."""
    if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
        raise UnreadError
    if value > 400:
        raise RefusedError
    return bounded(Fraction(math.factorial(value.numerator)))


def binomial(total: Value, chosen: Value) -> Value:
    """n over k for whole n of at most 1,000."""
    if not (isinstance(total, Fraction) and isinstance(chosen, Fraction)):
        raise UnreadError
    if total.denominator != 1 or chosen.denominator != 1 or total < 0 or chosen < 0:
        raise UnreadError
    if total > 1000 or chosen > 1000:
        raise RefusedError
    return bounded(Fraction(math.comb(total.numerator, chosen.numerator)))


def exponential(value: Value) -> Value:
    """e ** value."""
    if abs(inexact(value)) > MAX_LOG10 * 2:
        raise RefusedError
    return bounded(CONTEXT.exp(inexact(value)))


def absolute(value: Value) -> Value:
    """The absolute value."""
    return abs(value)


def _plain(name: str) -> Callable[[Value], Value]:
    function = getattr(CONTEXT, name)

    def call(value: Value) -> Value:
        if isinstance(value, Fraction) and abs(value) > 10**12:
            raise RefusedError
        try:
            return bounded(function(inexact(value)))
        except (ValueError, ZeroDivisionError) as error:  # log 0, tan at a pole
            raise UnreadError from error

    return call


def floor(value: Value) -> Value:
    """The whole part, downwards."""
    if not isinstance(value, Fraction):
        raise UnreadError
    return Fraction(math.floor(value))


def ceiling(value: Value) -> Value:
    """The whole part, upwards."""
    if not isinstance(value, Fraction):
        raise UnreadError
    return Fraction(math.ceil(value))


FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    name: _plain(name)
    for name in ("sin", "cos", "tan", "cot", "sec", "csc", "log", "sinh", "cosh", "tanh", "asin", "acos", "atan")
} | {"exp": exponential, "abs": absolute, "factorial": factorial, "floor": floor, "ceil": ceiling}


def _real_name(value: Value) -> str:
    """An exact name where the value is, or to 25 digits looks like, a simple fraction; else 15 digits."""
    if isinstance(value, Fraction):
        return number_key(value)
    if abs(value) < CONTEXT.mpf(10) ** -25:
        return number_key(Fraction(0))
    if abs(value) < 10**15:
        mantissa, exponent = CONTEXT.frexp(value)
        exact = Fraction(int(CONTEXT.ldexp(mantissa, 200))) * Fraction(2) ** (int(exponent) - 200)
        simple = exact.limit_denominator(10_000)
        if abs(exact - simple) < Fraction(1, 10**25):
            return number_key(simple)
    return "num:" + CONTEXT.nstr(value, SHOWN)


def value_name(value: Value) -> str:
    """The key of one value."""
    if isinstance(value, Fraction) or not hasattr(value, "imag") or isinstance(value, CONTEXT.mpf):
        return _real_name(value)
    if abs(value.imag) < CONTEXT.mpf(10) ** -25:
        return _real_name(value.real)
    return f"{_real_name(value.real)}+i*{_real_name(value.imag)}"


def names_key(names: list[str]) -> str:
    """The key of an expression from its values' names at the fixed points."""
    if len(set(names)) == 1:
        return names[0]  # sin^2 + cos^2 is a number in disguise
    return "expr:" + blake2b(" ".join(names).encode(), digest_size=12).hexdigest()
