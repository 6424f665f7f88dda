"""A headless Chromium for reports and live pages. `make browser` brings it; elsewhere these tests are skipped."""

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from made_comparisons import made_comparison
from made_runs import vision_zero_run, visplay_run
from selfsight.evaluate.oracle import verdict_if_known
from selfsight.report.comparison_page import write_comparison
from selfsight.report.live import LiveRun
from selfsight.report.page import write_report
from selfsight.report.serving import LiveServer


@pytest.fixture(scope="package")  # Playwright keeps an event loop running, which tests elsewhere must not meet
def chromium() -> Iterator[Any]:
    required = os.environ.get("SELFSIGHT_BROWSER") == "required"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if required:
            raise
        pytest.skip("playwright is not installed; `make browser` brings it")
    if program is None:
        if required:
            pytest.fail("no Chromium found: on Debian and Ubuntu, apt install chromium")
        pytest.skip("no Chromium found")
    with sync_playwright() as playwright:
        # A sandbox needs rights that a container's root lacks; what is opened here are our own files.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page, from the disk or from an address, and everything it complained about or asked for."""

    def __init__(self, browser: Any, path: Path | str, place: str = "", *, width: int = 1440, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = path if isinstance(path, str) else path.as_uri()
        self.page.goto(self.address + place)

    def go(self, place: str) -> None:
        self.page.evaluate("place => { location.hash = place; }", place)
        self.settle()

    def settle(self) -> None:
        """Waits until the page has drawn what an event or a changed address has called for, on a busy machine too."""
        self.page.evaluate(
            "async () => { for (let frame = 0; frame < 3; frame += 1) {"
            " await new Promise(done => requestAnimationFrame(() => setTimeout(done, 10))); } }"
        )

    def close(self) -> None:
        self.context.close()


@pytest.fixture(scope="session")
def questions_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = visplay_run(tmp_path_factory.mktemp("questions"), images=4)
    return write_report(run, truth=verdict_if_known).path


@pytest.fixture(scope="session")
def games_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(vision_zero_run(tmp_path_factory.mktemp("games"))).path


@contextmanager
def served(run: Path, port: int = 0) -> Iterator[LiveServer]:
    """A live page of the run. Time flies on its clock, so that nothing waits for its turn to be read."""
    clock = itertools.count(0, 10_000)
    live = LiveRun(run, truth=verdict_if_known, clock=lambda: float(next(clock)))
    with LiveServer(live, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


COMPARED = (
    [("right", "wrong")] * 3 + [("right", "unreadable")] * 2 + [("wrong", "right")] * 4 + [("unreadable", "right")]
    + [("right", "right")] * 7 + [("wrong", "wrong")] * 3
)  # fmt: skip


@pytest.fixture(scope="session")
def comparison_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(made_comparison(COMPARED, count=60), tmp_path_factory.mktemp("comparison")).page
