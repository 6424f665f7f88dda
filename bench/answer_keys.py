"""How many answers a second get their key, on one thread: short plain ones, LaTeX, and hostile ones in all.

    python bench/answer_keys.py

Prints JSON. Every answer is read afresh (the cache of keys is passed by). Asked for: 10,000 short answers and 300
LaTeX answers a second, and under 2 s in all for a group of votes that are all hostile.
"""

import json
import time

from machine import describe_machine
from selfsight.language import answer_key

SHORT = [
    "3", "yes", "No.", "(B)", "red circle", "3 circles", "1,000", "50%", "the left one", "5 cm", "three", "B. 12 cm",
    "10-20", "3:45 PM", "red, blue and green", "Cannot be determined from the image", "5.7M", "Yes, there is a dog",
    "one hundred and five", "A and C", "It is a red circle", "1/2", "-5", "STOP", "May 5, 2020", "60 km/h",
]  # fmt: skip
LATEX = [
    "\\frac{1}{2}", "2\\sqrt{3}", "25\\pi \\text{ cm}^2", "x = 5", "x^2+2x+1", "(1, 2)", "\\{1, 2, 3\\}",
    "\\begin{pmatrix}1 & 2 \\\\ 3 & 4\\end{pmatrix}", "-2 \\le x \\le 7", "[0,7) \\cup \\{9\\}",
    "y = \\frac{1}{2}x + 3",
    "\\sin 30^\\circ", "\\log_2 8", "\\angle A = 45^\\circ", "e^{x}", "x = 5+5+1 = 11", "\\sqrt[3]{8}", "|x-1| < 2",
]  # fmt: skip
HOSTILE = [
    "9^{9^{9}}", "\\binom{200000}{100000}", "\\gcd(2^{99999999},3)", "(((((" * 40, "1," * 250, "\\frac{" * 60,
    "1" * 512, "\\sum_{k=0}^{10^9} k", "(9!)!", "{" * 512, "not " * 100, "the image " * 50, "A, " * 150, "x^" * 100,
]  # fmt: skip


def per_second(answers: list[str], seconds: float) -> float:
    """Answers a second, repeated for about `seconds`."""
    read, count, started = answer_key.__wrapped__, 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for answer in answers:
            read(answer)
        count += len(answers)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Prints the three figures."""
    for answer in SHORT + LATEX:
        answer_key.__wrapped__(answer)  # imports
    started = time.perf_counter()
    for answer in HOSTILE:
        answer_key.__wrapped__(answer)
    hostile = time.perf_counter() - started
    figures = {
        "short_per_second": round(per_second(SHORT, 2.0)),
        "latex_per_second": round(per_second(LATEX, 2.0)),
        "hostile_group_seconds": round(hostile, 3),
    }
    print(json.dumps(figures | describe_machine(), indent=2))


if __name__ == "__main__":
    main()
