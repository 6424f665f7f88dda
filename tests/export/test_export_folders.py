"""Where an export may write, and how the command speaks."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from made_runs import vision_zero_run
from selfsight.cli import app
from selfsight.errors import SelfsightError
from selfsight.export import export_run

invoke = CliRunner().invoke


def test_the_command_writes_both_and_says_what_they_hold(run: Path, tmp_path: Path) -> None:
    done = invoke(app, ["export", str(run), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert "questions: 36 questions that were learned from, of 96 asked; 6 images" in done.stdout
    assert "model: the model of round 2" in done.stdout
    assert "Nothing was uploaded" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"questions", "model"}


def test_an_export_is_replaced_only_when_the_user_says_so(run: Path, tmp_path: Path) -> None:
    invoke(app, ["export", str(run), "--out", str(tmp_path), "--what", "model"])
    again = invoke(app, ["export", str(run), "--out", str(tmp_path), "--what", "model"])
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    (tmp_path / "model" / "stale.txt").write_text("from an earlier export")
    forced = invoke(app, ["export", str(run), "--out", str(tmp_path), "--what", "model", "--force"])
    assert forced.exit_code == 0
    assert not (tmp_path / "model" / "stale.txt").exists()


@pytest.mark.parametrize("force", [False, True])
def test_files_of_others_are_never_touched(run: Path, tmp_path: Path, force: bool) -> None:
    mine = tmp_path / "questions" / "thesis.tex"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(SelfsightError, match="is not empty, and `selfsight export` did not write it"):
        export_run(run, tmp_path, force=force)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "model").exists()


def test_an_export_into_the_rounds_of_its_run_is_refused(run: Path) -> None:
    with pytest.raises(SelfsightError, match="lies inside the run's rounds"):
        export_run(run, run / "rounds" / "1")


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    done = invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "holds no run" in done.stderr


def test_a_run_of_games_says_that_it_has_no_questions(tmp_path: Path) -> None:
    run = vision_zero_run(tmp_path)
    done = invoke(app, ["export", str(run), "--out", str(tmp_path / "out"), "--what", "questions"])
    assert done.exit_code == 2
    assert "export its model: --what model" in done.stderr


def test_an_export_needs_no_torch(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom selfsight.cli import app\n"
        f"app(['export', {str(run)!r}, '--out', {str(tmp_path / 'out')!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
