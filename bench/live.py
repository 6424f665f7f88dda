"""What a live page costs a run that is under way: processor seconds of the server, and of a browser that shows it.

    python bench/live.py runs/NAME --minutes 5          seconds and shares, as JSON

Serves the run in a process of its own, opens its page, and reads from the system what the processes used between then
and the end (Linux). With a headless Chromium (`make browser` brings what drives it) the page is a real one, on its
first view, which is the one that changes with every step; `--view questions` is the gallery. Otherwise the page is a
client that asks as a page does. `of_machine` is the share of all processors: what the run could have used, at most.
"""

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe_machine

_POLL = 3.0
_TICKS = os.sysconf("SC_CLK_TCK")


def used(process: int) -> float:
    """Processor seconds of a process since its start."""
    fields = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(process: int) -> list[int]:
    """All processes below one, at any depth."""
    found = []
    for task in Path("/proc", str(process), "task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


@contextmanager
def a_page(address: str, view: str) -> Iterator[bool]:
    """Keeps a page open in a browser; False when there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        yield False
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}#{view}")
        page.wait_for_selector(".verdict, .card")
        yield True
        browser.close()


class Client:
    """Asks for what a page asks for: the state, and then what has changed."""

    def __init__(self, address: str) -> None:
        self.host = address.removeprefix("http://").rstrip("/")
        self.tag = ""
        self.have: dict[str, str] = {}

    def look(self) -> None:
        """Once."""
        state = self._get("/state", {"If-None-Match": self.tag})
        if state is None:
            return
        names: dict[str, str] = json.loads(state)["blocks"]
        for name in ("overview", "questions", "games", "album"):
            if name in names and names[name] != self.have.get(name):
                self._get(f"/data/{names[name]}", {})
        self.have = names

    def _get(self, path: str, headers: dict[str, str]) -> bytes | None:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.tag = answer.headers["ETag"] if path == "/state" else self.tag
        return None if answer.status == 304 else body


def measure(run: Path, minutes: float, view: str) -> dict[str, object]:
    """The figures of one run."""
    command = [sys.executable, "-m", "selfsight", "serve", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().rpartition(": ")[2].split()[0]
        started = used(server.pid)
        with a_page(address, view) as shown:
            client = Client(address)
            client.look()
            browser = [one for one in children(os.getpid()) if one != server.pid]
            opened, before = used(server.pid), {one: used(one) for one in browser}
            steps, began = _steps(run), time.monotonic()
            while time.monotonic() - began < 60 * minutes:
                time.sleep(_POLL)
                if not shown:
                    client.look()
            seconds = time.monotonic() - began
            spent = used(server.pid) - opened
            alive = set(children(os.getpid()))
            shown_for = sum(used(one) - before[one] for one in browser if one in alive)
            written = _steps(run) - steps
        server.terminate()
    cores = os.cpu_count() or 1
    return {
        "run": run.name,
        "seconds": round(seconds, 1),
        "steps_written": written,
        "server_to_start": round(started, 2),
        "server": round(spent, 3),
        "server_of_one": round(spent / seconds, 5),
        "server_of_machine": round(spent / seconds / cores, 5),
        "browser": round(shown_for, 2) if shown else None,
        "browser_of_machine": round(shown_for / seconds / cores, 5) if shown else None,
    }


def _steps(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run that is under way")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--view", choices=("overview", "questions", "games"), default="overview")
    options = parser.parse_args()
    figures = measure(options.run, options.minutes, options.view)
    print(json.dumps({"live": figures, "machine": describe_machine()}, indent=2))


if __name__ == "__main__":
    main()
