"""Keys of mathematical answers: read by `expressions` here, or by math-verify in a process that can be killed.

Nearly every answer is read in this process by a reader whose work is bounded by structure, not by time. What it
cannot read and what sympy evaluates while it reads (gcd, sums, limits) goes to math-verify. Model text can ask a
computer algebra system for 9**9**9, so `_too_large` refuses long numbers and large powers; the work happens in one
worker process started at first use, and a worker that needs more than `CPU_SECONDS` of processor time is ended. That
limit is a last resort: what is admitted takes milliseconds, so a busy machine gives the same keys as an idle one. No
signal is used in this process, so any thread may ask; questions are answered one at a time.

What is refused as too large is an abstention (None). LaTeX that nobody can read, or whose value arithmetic does not
settle, is a class by its spelling; so is an expression that ended the worker.

The two sides speak JSON lines over pipes (no pickle). math-verify, and sympy behind it, are imported by the
worker only; only its LaTeX reader is used, never the one that hands text to Python's `eval`.
"""

import atexit
import json
import os
import queue
import re
import subprocess
import sys
import threading

from selfsight.errors import SelfsightError

CPU_SECONDS = 8.0
WALL_SECONDS = 120.0
START_SECONDS = 60.0
MAX_MATH_CHARS = 200
MAX_ALGEBRA_TOKENS = 60
MAX_ALGEBRA_DIGITS = 4
MAX_ALGEBRA_MEMBERS = 12

_SYMBOLS = {
    "√": "\\sqrt", "π": "\\pi ", "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ",
    "×": "\\times ", "÷": "\\div ", "·": "\\cdot ",
}  # fmt: skip
_TOWER = re.compile(r"\d\s*\^[\s({]*-?\d+\s*\^")  # 9^9^9, 9^(9^9), 9^{9^{9}}
_ASCII_FUNCTION = re.compile(r"(?<![\\A-Za-z])(sqrt|sin|cos|tan|log|ln|exp|pi)(?![A-Za-z])")
_ASCII_POWER = re.compile(r"\^(-?(?:\d+(?:\.\d+)?|[A-Za-z]))")
_ALGEBRA_TOKEN = re.compile(r"\\[A-Za-z]+|\d+|\S")
# What sympy computes by itself while it reads: it is asked for these only, and only with small numbers.
_EAGER = re.compile(r"\\(?:binom|gcd|lcm|prod|sum|int|lim|pmod|bmod|mod|det|partial|max|min)(?![A-Za-z])|!")
_ASKED = re.compile(_EAGER.pattern.removesuffix("|!"))
_POWER = re.compile(r"\^\s*\{?\s*-?\d{3,}|\^\s*\{?[^{}]*\^|\}\s*\^")


def _too_large(latex: str) -> bool:
    """Whether an expression may be large for a computer algebra system: long numbers, large or nested powers.

    By structure alone, so that the answer is the same on every machine.
    """
    longest = max((len(run) for run in re.findall(r"\d+", latex)), default=0)
    if longest > MAX_ALGEBRA_DIGITS or _POWER.search(latex) is not None:
        return True
    return _EAGER.search(latex) is not None and longest > 2


def _matching(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`, or -1."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return -1


def to_latex(text: str) -> str:
    """LaTeX for maths in keyboard notation; LaTeX passes through. `2^10` here means two to the ten."""
    text = text.replace("**", "^")
    for symbol, command in _SYMBOLS.items():
        text = text.replace(symbol, command)
    if "{" not in text:
        text = _ASCII_POWER.sub(r"^{\1}", text)
    text = _ASCII_FUNCTION.sub(r"\\\1 ", text)
    for opening in ("^(", "\\sqrt (", "\\sqrt("):
        while (at := text.find(opening)) >= 0:
            start = at + len(opening) - 1
            end = _matching(text, start)
            if end < 0:
                break
            text = f"{text[:start].rstrip()}{{{text[start + 1 : end]}}}{text[end + 1 :]}"
    text = re.sub(r"\\sqrt\s*(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z]))", r"\\sqrt{\1}", text)
    return text.replace("*", "\\cdot ")


class _Worker:
    """One worker process and the thread that reads its lines."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # -P: a file called math_verify.py in the user's folder must not be imported.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "selfsight.language.mathworker", str(CPU_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        threading.Thread(target=self._read, name="selfsight-mathworker", daemon=True).start()
        if self._next_line(START_SECONDS) != "ready":
            self.kill()
            raise SelfsightError(
                "the worker that compares mathematical answers did not start",
                hint="is math-verify installed? `python -m selfsight.language.mathworker 1` says why",
            )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _next_line(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def ask(self, latex: str) -> str | None:
        """The worker's reply line, or None when it died or ran out of time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"latex": latex}) + "\n")
            self._process.stdin.flush()
        except OSError:  # it died since the last question
            return None
        return self._next_line(WALL_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            return  # unsent bytes for a process that is gone


class MathKeys:
    """Asks the worker, replaces it when it dies, and counts how often that happened."""

    def __init__(self, *, guarded: bool = True) -> None:
        self._lock = threading.Lock()
        self._guarded = guarded
        self._worker: _Worker | None = None
        self.deaths = 0

    def key(self, text: str) -> str | None:
        """The key of a folded mathematical answer, or None when it could not be settled within the limits."""
        if len(text) > MAX_MATH_CHARS:
            return None
        if _TOWER.search(text.replace("**", "^")) is not None:
            return None
        latex = to_latex(text)
        if self._guarded and _too_large(latex):
            return None
        if len(_ALGEBRA_TOKEN.findall(latex)) > MAX_ALGEBRA_TOKENS or latex.count(",") > MAX_ALGEBRA_MEMBERS:
            return _spelling(text)
        with self._lock:
            reply = self._ask(latex) or self._ask(latex)  # someone else may have ended the first worker
            if reply is None:
                return _spelling(text)
        answer = json.loads(reply)
        if answer["status"] == "unread":
            return _spelling(text)
        key = answer["key"]
        return key if isinstance(key, str) else None

    def _ask(self, latex: str) -> str | None:
        # A forked child must not share its parent's pipes.
        if self._worker is None or self._worker.pid != os.getpid():
            self._worker = _Worker()
        reply = self._worker.ask(latex)
        if reply is None:
            self._worker.kill()
            self._worker = None
            self.deaths += 1
        return reply

    def close(self) -> None:
        """Ends the worker; the next question starts another."""
        with self._lock:
            if self._worker is not None and self._worker.pid == os.getpid():
                self._worker.kill()
            self._worker = None


MATH_KEYS = MathKeys()
atexit.register(MATH_KEYS.close)


def _spelling(text: str) -> str:
    return "tex:" + re.sub(r"\s+", "", text)


def math_key(text: str, *, ordered: bool = False) -> str | None:
    """The key of a folded mathematical answer; `ordered`: a list without brackets keeps its order."""
    # Imported here: plain answers need no mpmath.
    from selfsight.language.expressions import read_math
    from selfsight.language.mathvalues import RefusedError, UnreadError

    if len(text) > MAX_MATH_CHARS:
        return None
    try:
        return read_math(text, ordered=ordered)
    except RefusedError:
        return None
    except UnreadError:
        return MATH_KEYS.key(text) if _ASKED.search(text) is not None else _spelling(text)
