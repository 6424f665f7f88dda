"""Why a run failed: written into its folder, shown at the top of its report, gone when it goes on."""

import io
import json
from pathlib import Path

import pytest

from made_runs import visplay_run
from selfsight.errors import SelfsightError
from selfsight.report.live import LiveRun
from selfsight.report.overview import overview
from selfsight.report.page import render_written, write_report
from selfsight.report.reading import read_run
from selfsight.run.failure import FailureRecord


class Asked(SelfsightError):
    """A stop that was asked for."""


def fails(path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), FailureRecord(path, expected=Asked) as failures:
        failures.at("round-1/curation", 3)
        raise error


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (SelfsightError("no pool", hint="loosen a gate"), "SelfsightError", "no pool", "loosen a gate"),
        (RuntimeError("out of memory"), "RuntimeError", "out of memory", None),
        (MemoryError(), "MemoryError", "", None),
    ],
)
def test_every_failure_is_written_down(
    tmp_path: Path, error: BaseException, kind: str, message: str, hint: str | None
) -> None:
    fails(tmp_path / "failure.json", error)
    found = json.loads((tmp_path / "failure.json").read_text())
    assert (found["kind"], found["message"], found["hint"]) == (kind, message, hint)
    assert (found["stage"], found["step"], found["completions"]) == ("round-1/curation", 3, [])
    assert found["time"].endswith("+00:00")


@pytest.mark.parametrize("error", [Asked("stopped"), KeyboardInterrupt(), SystemExit(1)])
def test_a_stop_that_was_asked_for_is_no_failure(tmp_path: Path, error: BaseException) -> None:
    fails(tmp_path / "failure.json", error)
    assert not (tmp_path / "failure.json").exists()


def test_a_failure_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    fails(tmp_path / "gone" / "failure.json", SelfsightError("the disk is full"))
    FailureRecord(tmp_path / "gone" / "failure.json", expected=Asked).forget()


def failed_run(folder: Path, **more: object) -> Path:
    run = visplay_run(folder, rounds=1, finished=False)
    record = {
        "message": f"{run}/rounds/2: the pool holds 0 questions", "hint": "loosen \x1b[2Jthat gate",
        "kind": "SelfsightError", "stage": "round-2/curation", "step": 0, "time": "2026-11-30T12:00:00+00:00",
        "completions": ["<script>alert(1)</script>"],
    }  # fmt: skip
    (run / "failure.json").write_text(json.dumps(record | more))
    return run


def test_the_report_says_first_why_a_run_failed(tmp_path: Path) -> None:
    run = failed_run(tmp_path)
    found = overview(read_run(run), []).headline
    assert found.status == "unfinished"
    assert found.sentences[:3] == (
        "This run stopped at round-2/curation, step 0 (2026-11-30T12:00:00+00:00): made/rounds/2: the pool holds 0 "
        "questions.",
        "What to do: loosen that gate.",
        "One that could not be read: <script>alert(1)</script>",
    )
    assert found.sentences[3].startswith("This run is not finished: ")
    written, stream = write_report(run), io.StringIO()
    page = written.path.read_text()
    assert "the pool holds 0 questions" in page and "<script>alert(1)" not in page and str(tmp_path) not in page
    render_written(written, stream)
    assert stream.getvalue().startswith("This run stopped at round-2/curation")


def test_a_damaged_failure_is_told_as_what_could_not_be_read(tmp_path: Path) -> None:
    run = failed_run(tmp_path, message=["no text"], step="x", completions={"a": 1})
    assert overview(read_run(run), []).headline.sentences[0].startswith("This run stopped at round-2/curation, step 0")
    (run / "failure.json").write_text("{")
    found = read_run(run)
    assert found.failure is None and [trouble.where for trouble in found.troubles] == ["failure.json"]


def test_a_live_page_shows_a_failure_and_takes_it_back_when_the_run_goes_on(tmp_path: Path) -> None:
    run, now = failed_run(tmp_path), [0.0]
    live = LiveRun(run, clock=lambda: now[0], cost=lambda: 0.0)

    def shown() -> str:
        now[0] += 1_000
        names = json.loads(live.state().body)["blocks"]
        body = live.block(names["overview"])
        assert body is not None
        return body.decode()

    assert "This run stopped at" in shown()
    (run / "failure.json").unlink()
    assert "This run stopped at" not in shown()
