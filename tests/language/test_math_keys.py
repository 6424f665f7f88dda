"""Mathematical answers: bombs come back, the worker is replaced, threads and event loops may ask."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from selfsight.language import answer_key, mathkey
from selfsight.language.mathkey import MathKeys, to_latex

# Read without harm, but evaluated by sympy on the way in: refused by structure, or only killing the worker ends these.
KILLERS = ["\\binom{200000}{100000}", "\\gcd(2^{99999999},3)"]


@pytest.fixture
def math_keys() -> Iterator[MathKeys]:
    keys = MathKeys()
    yield keys
    keys.close()


@pytest.mark.parametrize(
    "bomb",
    ["9**9**9", "9^9^9", "9^{9^{9}}", "9**(9**9)", "10^(10^10)", "9^{99999999}", "9^9^9^9 + 1", "{9}^{9^9}"],
)
def test_a_tower_of_powers_comes_back_in_under_a_second(bomb: str) -> None:
    answer_key("\\frac{1}{2}")  # a started worker, as in a run
    started = time.perf_counter()
    assert answer_key.__wrapped__(bomb) is None
    assert time.perf_counter() - started < 1.0


def test_nine_to_the_nine_to_the_nine_needs_no_worker_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathkey.subprocess, "Popen", None)
    assert MathKeys().key("9**9**9") is None


def test_a_hundred_bombs_are_abstentions_and_the_next_answer_is_right(math_keys: MathKeys) -> None:
    forms = [
        "{n}!", "{n}^{{{n}}}", "2^{{2^{{{n}}}}}", "({n}!)!", "\\sqrt{{{n}!}}", "x^{{{n}}}{n}^{{{n}}}",
        "e^{{{n}}}",
        "\\frac{{1}}{{{n}!}}", "{n}^{{-{n}}}", "(({n}^9)^9)^{{{n}}}",
    ]  # fmt: skip
    bombs = [form.format(n=10**5 + seed) for form in forms for seed in range(9)] + KILLERS * 2
    slowest = 0.0
    for bomb in bombs:
        started = time.perf_counter()
        assert math_keys.key(bomb) is None, bomb
        slowest = max(slowest, time.perf_counter() - started)
    assert math_keys.deaths == 0  # by structure, not by a clock
    assert slowest < 2.0 + START
    assert math_keys.key("\\frac{2}{4}") == "num:1/2"


START = 4.0  # a fresh worker's imports on a busy core; the verdict itself is bounded by WALL_SECONDS


def test_a_bomb_kills_the_worker_within_its_limit_and_a_new_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathkey, "CPU_SECONDS", 0.4)
    math_keys = MathKeys(guarded=False)  # nothing that the guard admits takes this long
    assert math_keys.key("\\frac{1}{2}") == "num:1/2"
    assert math_keys._worker is not None
    process = math_keys._worker._process
    started = time.perf_counter()
    assert math_keys.key(KILLERS[0]) == "tex:" + KILLERS[0]  # its spelling, whatever the machine
    assert time.perf_counter() - started < 4.0 + START
    assert math_keys.deaths == 2 and process.poll() is not None
    assert math_keys.key("\\frac{1}{2}") == "num:1/2"
    assert math_keys._worker._process.pid != process.pid
    math_keys.close()


def test_a_worker_that_someone_else_ended_costs_no_answer(math_keys: MathKeys) -> None:
    assert math_keys.key("2^3") == "num:8"
    assert math_keys._worker is not None
    math_keys._worker._process.kill()
    math_keys._worker._process.wait()
    assert [math_keys.key("2^3"), math_keys.key("2^3")] == ["num:8", "num:8"]


def test_many_threads_get_their_own_answers(math_keys: MathKeys) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda n: math_keys.key(f"\\frac{{{n}}}{{7}}\\cdot 7"), range(100)))
    assert keys == [f"num:{n}" for n in range(100)]


def test_an_event_loop_may_ask_from_a_thread_that_is_not_the_main_one() -> None:
    found: list[str | None] = []

    async def ask() -> None:
        found.append(await asyncio.to_thread(answer_key, "\\frac{3}{4}"))
        found.append(answer_key("\\sqrt{16}"))

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join()
    assert found == ["num:3/4", "num:4"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_starts_its_own_worker() -> None:
    code = (
        "import os\n"
        "from selfsight.language.mathkey import MATH_KEYS\n"
        "assert MATH_KEYS.key('2^3') == 'num:8'\n"
        "mine = MATH_KEYS._worker._process.pid\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ok = MATH_KEYS.key('3^2') == 'num:9' and MATH_KEYS._worker._process.pid != mine\n"
        "    MATH_KEYS.close()\n"
        "    os._exit(0 if ok else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert MATH_KEYS.key('5^2') == 'num:25' and MATH_KEYS._worker._process.pid == mine\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_plain_answers_start_no_worker_and_import_no_algebra_and_no_torch() -> None:
    code = (
        "import sys\n"
        "from selfsight.language import answer_key\n"
        "from selfsight.language.mathkey import MATH_KEYS\n"
        "import selfsight.methods.visplay.rewards, selfsight.methods.visplay.gates\n"
        "import selfsight.evaluate.statistics\n"
        "for text in ['5', 'yes', '(B) red', 'red circle', '1/2', '1,000', '50%', 'C++', '2020-2021']:\n"
        "    assert answer_key(text) is not None\n"
        "assert MATH_KEYS._worker is None\n"
        "heavy = {'torch', 'transformers', 'sympy', 'math_verify', 'mpmath', 'nltk', 'sklearn'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_worker_ignores_a_module_planted_in_the_users_folder(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "math_verify.py").write_text("open('planted', 'w')\nraise SystemExit\n")
    code = "from selfsight.language import answer_key; assert answer_key('2^3') == 'num:8'"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60, cwd=tmp_path)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("2**10", "2^{10}"),
        ("2^10", "2^{10}"),
        ("x^(a+1)", "x^{a+1}"),
        ("√8", "\\sqrt{8}"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("3*4", "3\\cdot 4"),
        ("9^(1", "9^(1"),
    ],
)
def test_keyboard_maths_becomes_latex(text: str, latex: str) -> None:
    assert to_latex(text).replace(" ", "") == latex.replace(" ", "")
