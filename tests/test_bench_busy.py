"""Promises about bench/busy.py: turns are compared with their own turn, and what keeps the machine busy is ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import busy  # noqa: E402


def test_a_ratio_is_of_the_same_turn() -> None:
    found = {
        "spinning": {"clock": [10.0, 20.0, 40.0], "processor": [1.0, 2.0, 3.0]},
        "selfsight": {"clock": [5.0, 10.0, 30.0], "processor": [1.0, 1.0, 1.0]},
    }
    assert busy.compared(found)["selfsight"] == {
        "clock_seconds": 10.0, "processor_seconds": 1.0, "clock_over_spinning": 0.5
    }  # fmt: skip
    assert busy.compared(found)["spinning"]["clock_over_spinning"] == 1.0


def test_the_turn_before_the_first_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[dict[str, str]] = []

    def one_run(variables: dict[str, str], threads: int) -> tuple[float, float]:
        order.append(variables)
        return float(len(order)), 0.0

    monkeypatch.setattr(busy, "one_run", one_run)
    found = busy.measured(2, threads=2)
    assert order == [*busy.VARIANTS.values()] * 3
    assert found["spinning"]["clock"] == [4.0, 7.0]


def test_busy_processes_end_with_the_block_also_when_it_fails() -> None:
    with pytest.raises(RuntimeError), busy.busy_processes(2) as running:
        assert all(process.poll() is None for process in running)
        raise RuntimeError
    assert all(process.returncode is not None for process in running)


def test_busy_processes_end_when_the_bench_is_killed() -> None:
    program = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'bench')!r}); import busy\n"
        "with busy.busy_processes(1) as running: print(running[0].pid, flush=True); time.sleep(60)"
    )
    bench = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert bench.stdout is not None
    child = int(bench.stdout.readline())
    bench.kill()
    bench.wait()
    bench.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("a busy process goes on without its parent")
