"""How long a run's report takes to write, how large it is, and how soon a browser shows it and answers.

    python bench/report.py runs/NAME ...        seconds, bytes and milliseconds, as JSON

The page is written to a folder of its own, not into the run. Opening and filtering are measured in a headless Chromium
when there is one (`make browser` brings what drives it), and are null otherwise: `opened` is from navigation to the
first drawn page, `gallery` from one click on its tab to the drawn cards, `search` the slowest of three searches typed
into the gallery, each with the browser's next frame.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from machine import describe_machine
from selfsight.evaluate.oracle import verdict_if_known
from selfsight.report.page import write_report

FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"
SEARCHES = ("red", "how many", "w-mixed")


def measure(run: Path, folder: Path) -> dict[str, object]:
    """The figures of one run."""
    began = time.perf_counter()
    written = write_report(run, folder / f"{run.name}.html", truth=verdict_if_known)
    return {
        "run": run.name,
        "questions": written.questions,
        "games": written.games,
        "pictures": written.pictures,
        "seconds": round(time.perf_counter() - began, 2),
        "bytes": written.size,
        "browser": in_a_browser(written.path, "questions" if written.questions else "games"),
    }


def in_a_browser(page_path: Path, tab: str) -> dict[str, float] | None:
    """Milliseconds in Chromium, None without one."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if program is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        page.goto(page_path.as_uri())
        page.wait_for_selector(".verdict")
        page.evaluate(FRAME)
        found = {"opened": _since(began)}
        began = time.perf_counter()
        page.click(f"#tabs a[href='#{tab}']")
        page.wait_for_selector(".card")
        page.evaluate(FRAME)
        found["gallery"] = _since(began)
        if tab == "questions":
            taken = []
            for words in SEARCHES:
                began = time.perf_counter()
                page.fill("input[type=search]", words)
                page.evaluate(FRAME)
                taken.append(_since(began))
            found["search"] = max(taken)
        browser.close()
    return found


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    with tempfile.TemporaryDirectory() as folder:
        reports = [measure(run, Path(folder)) for run in parser.parse_args().runs]
    print(json.dumps({"reports": reports, "machine": describe_machine()}, indent=2))


if __name__ == "__main__":
    main()
