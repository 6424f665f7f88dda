"""`selfsight report` and `selfsight explain` as a user meets them."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from made_runs import visplay_run
from selfsight.cli import app

invoke = CliRunner().invoke


def test_report_writes_one_file_and_says_where(visplay: Path, tmp_path: Path) -> None:
    done = invoke(app, ["report", str(visplay), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0
    assert "page.html: 96 questions, 0." in done.stdout
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_report_knows_the_truth_about_worlds(visplay: Path, tmp_path: Path) -> None:
    invoke(app, ["report", str(visplay), "--out", str(tmp_path / "page.html")])
    assert '"truth":"' in (tmp_path / "page.html").read_text()


def test_report_names_what_it_left_out(tmp_path: Path) -> None:
    run = visplay_run(tmp_path, images=1, rounds=1)
    (run / "metrics.jsonl").write_text("\x1b[2Jno json\n")
    done = invoke(app, ["report", str(run)])
    assert done.exit_code == 0
    assert "left out: metrics.jsonl, line 1: is damaged" in done.stdout
    assert "\x1b" not in done.stdout


def test_report_of_no_run_says_what_to_do(tmp_path: Path) -> None:
    done = invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no run" in done.stderr


def test_explain_prints_the_truth_and_the_gates(visplay: Path) -> None:
    done = invoke(app, ["explain", str(visplay), "r1/curation/0/w-mixed-train-7-10003/2"])
    assert done.exit_code == 0
    assert "Truth: " in done.stdout
    assert "✓ agreement" in done.stdout


def test_explain_of_an_unknown_question_says_what_ids_look_like(visplay: Path) -> None:
    done = invoke(app, ["explain", str(visplay), "r9/none"])
    assert done.exit_code == 2
    assert "ids look like r1/curation/0/IMAGE/3" in done.stderr


def test_a_report_is_written_without_torch(visplay: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom selfsight.cli import app\n"
        f"app(['report', {str(visplay)!r}, '--out', {str(tmp_path / 'page.html')!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
