"""What is said at the very start of a run, before torch is loaded, and at its end."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfsight.beginning import ready_to_begin
from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.methods.starting import surprises
from selfsight.report import render_summary
from selfsight.report.terminal import verdict
from selfsight.run.invoked import command, shortest
from test_cli import summary


@pytest.mark.parametrize(
    "override", ["images=./nope", "images=nope", "images=/no/where", "model=./nope", "model=/no/x"]
)
def test_a_path_to_nothing_is_refused_before_torch_is_loaded(override: str, tmp_path: Path) -> None:
    code = (
        "import sys; from selfsight.cli import app\n"
        "try:\n    app(sys.argv[1:], standalone_mode=False)\n"
        "finally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evolve", "--recipe", "visplay-smoke", override],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr
    assert override.partition("=")[2] in done.stderr and "->" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("images", ["worlds", "worlds:scenes", ".", "photos/*.jpg", "a,b", "hub:owner/name"])
def test_what_may_be_more_than_a_path_is_left_to_those_who_open_it(images: str, tmp_path: Path) -> None:
    ready_to_begin(load_config("visplay-smoke", [f"images='{images}'", f"output_dir={tmp_path}"]))
    with pytest.raises(SelfsightError):
        ready_to_begin(load_config("visplay-smoke", ["images=/no/where", f"output_dir={tmp_path}"]))


def test_a_user_with_a_model_is_told_of_drawn_pictures_and_of_the_processor() -> None:
    three = load_config("visplay-qwen2.5-vl-3b")
    assert [text.partition(":")[0] for text in surprises(three, gpu=False)] == ["no GPU was found", "images=worlds"]
    assert surprises(load_config("visplay-qwen2.5-vl-3b", ["images=./photos"]), gpu=True) == []
    assert surprises(load_config("visplay-starter"), gpu=False) == []


def ended(data: dict[str, Any], run: Path | None) -> list[str]:
    stream = io.StringIO()
    render_summary(data, stream, run)
    return stream.getvalue().splitlines()


def test_the_end_names_the_model_the_report_and_the_time() -> None:
    data = summary(0.47, 0.6) | {"final_model": "rounds/1/reasoner", "final_round": 1}
    assert ended(data, Path("runs/mine"))[-3:] == [
        "model: runs/mine/rounds/1/reasoner",
        f"report: {command()} report runs/mine",
        "time: 11 min 40 s",
    ]
    base = data | {"final_model": "starter", "final_round": 0}
    assert ended(base, Path("runs/mine"))[-3] == "model: starter"
    assert not any(line.startswith("model:") for line in ended(data, None))


def test_a_command_that_is_not_on_the_path_is_named_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my env" / "bin" / "selfsight"
    script.parent.mkdir(parents=True)
    script.write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "evolve"])
    assert command() == "'my env/bin/selfsight'"
    monkeypatch.setattr(sys, "argv", ["/usr/lib/selfsight/__main__.py"])
    assert command() == "python -m selfsight"
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert command() == "selfsight"
    assert shortest(tmp_path / "runs" / "x") == Path("runs/x")
    assert shortest(Path("/elsewhere/x")) == Path("/elsewhere/x")


PHOTOGRAPHS = {"source": "folder:photos", "images": 28}


@pytest.mark.parametrize("images", [PHOTOGRAPHS, {"spy_view": "blank", "of": PHOTOGRAPHS}])
@pytest.mark.parametrize(("ci95", "start"), [((0.1, 0.2), "It got better on drawn worlds: "),
                                             ((-0.2, -0.1), "It got worse on drawn worlds: "),
                                             ((-0.1, 0.1), "No change can be claimed on drawn worlds: ")])  # fmt: skip
def test_a_run_on_photographs_is_not_said_to_be_measured_on_them(
    images: dict[str, Any], ci95: tuple[float, float], start: str
) -> None:
    text = verdict(summary(0.47, 0.62, ci95=ci95) | {"images": images})
    assert text.startswith(start)
    assert "nothing was measured on your images" in text
    assert "nothing was measured on its training images" in verdict(
        summary(0.47, 0.62) | {"images": images}, whose="its training"
    )


@pytest.mark.parametrize("images", [{"kind": "worlds"}, {"source": "shuffled(worlds)", "of": {"kind": "worlds"}}])
def test_a_run_on_worlds_keeps_its_sentence(images: dict[str, Any]) -> None:
    data = summary(0.47, 0.62) | {"images": images}
    assert verdict(data) == "It got better: held-out accuracy rose by 15.0 points (95 % interval +10.0 to +20.0)."


def test_few_questions_and_a_recipe_that_only_shows_that_it_runs_are_named() -> None:
    data = summary(0.47, 0.62, ci95=(0.05, 0.25))
    data["base"]["n"] = 24
    assert "24 questions are few: the interval is 10.0 points to either side." in verdict(data)
    data["base"]["n"] = 100
    assert "few" not in verdict(data)
    smoke = verdict(data | {"recipe": "visplay-smoke"})
    assert smoke.endswith("The recipe visplay-smoke shows that a machine can run it, not that it learns.")
