"""`selfsight compare` through the real command line: kept answers, tiny models, the starter, and every mistake."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from made_comparisons import SIZE, measured_run
from selfsight.cli import app
from selfsight.evaluate.answers import read_evaluation, write_evaluation
from selfsight.evaluate.heldout import answer_questions
from selfsight.evaluate.questions import heldout_questions
from selfsight.evaluate.sides import ModelSide, find_side
from selfsight.images.worlds import WorldSource
from selfsight.language.prompts import get_pack
from selfsight.policy import ModelOptions, Policy
from speaking import build_speaking
from tiny_models import build_qwen2_5_vl

invoke = CliRunner().invoke
SMALL = ("--questions", "9", "--picture-size", "56", "--samples", "2", "--max-completion-length", "8")


def compared(*arguments: object) -> dict[str, Any]:
    done = invoke(app, ["compare", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refused(*arguments: object) -> str:
    done = invoke(app, ["compare", *map(str, arguments)])
    assert done.exit_code == 2, done.output
    return done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Round 0 answers every third question right, round 1 all but every sixth, which cannot be read."""
    rounds = [["right", "wrong", "wrong"], ["right"] * 5 + ["unreadable"]]
    return measured_run(tmp_path_factory.mktemp("runs"), rounds)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_speaking(tmp_path_factory.mktemp("models") / "speaking", build_qwen2_5_vl)


# --- answers that runs have kept -----------------------------------------------------------------------------------


def test_two_rounds_of_a_run_are_compared_by_the_answers_they_gave(run: Path) -> None:
    result = compared(f"{run}@0", run)
    assert (result["a"]["round"], result["b"]["round"]) == (0, 1)
    assert (result["a"]["answers"], result["b"]["answers"]) == ("kept", "kept")
    assert result["wins"] == {"all": 9, "answers": 9, "form": 0}
    assert result["losses"] == {"all": 0, "answers": 0, "form": 0}
    assert result["change"]["accuracy"] == pytest.approx(0.5)
    assert result["mcnemar"]["p"] == 2 / 2**9
    assert result["change"]["sampled"] == pytest.approx(0.25)
    assert result["verdict"]["status"] == "better"
    assert result["asked"]["questions"] == len(result["questions"]) == 18


def test_the_other_way_round_every_win_is_a_loss(run: Path) -> None:
    there, back = compared(f"{run}@0", run), compared(f"{run}@1", f"{run}@0")
    assert back["losses"] == there["wins"]
    assert back["change"]["accuracy"] == -there["change"]["accuracy"]
    assert back["verdict"]["status"] == "worse"


def test_a_round_against_itself_claims_nothing(run: Path) -> None:
    result = compared(run, run)
    assert (result["wins"]["all"], result["losses"]["all"], result["mcnemar"]["p"]) == (0, 0, 1.0)
    assert result["verdict"]["status"] == "unclear"


def test_a_run_whose_models_say_what_they_were_taught_is_compared_without_torch(tmp_path: Path) -> None:
    run = measured_run(tmp_path, [["right", "wrong", "wrong"], ["right"] * 5 + ["unreadable"]])
    (run / "rounds/1/reasoner").mkdir()
    (run / "rounds/1/reasoner/config.json").write_text('{"selfsight_prompt_pack": "compact"}')
    code = (
        "import sys\nfrom selfsight.cli import app\n"
        f"app(['compare', '{run}@0', {str(run)!r}, '--out', {str(tmp_path)!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "B is better: of the same 18 questions it answers 50.0 points more right" in done.stdout
    assert "comparison.html: 18 questions with pictures" in done.stdout
    assert json.loads((tmp_path / "comparison.json").read_text())["n"] == 18


def test_runs_of_other_questions_are_refused_with_what_to_say(run: Path, tmp_path: Path) -> None:
    other = measured_run(tmp_path, [["right"]], "evaluation.seed=1", name="other", samples=4)
    said = refused(run, other)
    assert "were not measured alike: seed 0 and 1, num_samples 8 and 4" in said
    assert "--seed 0 --samples 8" in said


def test_kept_answers_to_other_questions_are_refused_by_their_row(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for change, said in (
        ({"question": "How many?"}, "row 4: question is 'How many?', where today"),
        ({"image_id": "w-mixed-heldout-0-99999"}, "row 4: image_id is"),
        ({"key": ""}, "row 4: there is no right answer (key is empty)"),
        ({"sampled_keys": ("num:1",)}, "row 4: sampled_keys has 1 answers, not 8"),
        ({"greedy": float("nan")}, "row 4: greedy or sampled is not a share"),
    ):
        rows = read_evaluation(run / "rounds/1")
        rows[4] = replace(rows[4], **change)  # type: ignore[arg-type]
        write_evaluation(copy / "rounds/1", rows)
        assert said in refused(run, copy)
    write_evaluation(copy / "rounds/1", read_evaluation(run / "rounds/1")[:5])
    assert "holds 5 answers, not 18" in refused(run, copy)
    (copy / "rounds/1/evaluation.parquet").write_bytes(b"PAR1")
    assert "evaluation.parquet: is damaged" in refused(run, copy)


# --- what names stand for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{run}@7", "round 7 is not measured"),
        ("{run}@best", "'best' is not a round"),
        ("{folder}", "holds neither a run (config.yaml) nor a model (config.json)"),
        ("{folder}/none", "no such folder"),
        ("{folder}/none@1", "no such folder"),
        ("{folder}@1", "holds no run"),
    ],
)
def test_a_name_that_stands_for_nothing_is_explained(run: Path, tmp_path: Path, name: str, said: str) -> None:
    found = refused(run, name.format(run=run, folder=tmp_path))
    assert said in found
    assert "->" in found


def test_a_run_that_is_not_measured_yet_is_said_to_be_so(tmp_path: Path, run: Path) -> None:
    assert "no round of this run is measured yet" in refused(measured_run(tmp_path, [], name="young"), run)


def test_a_round_whose_model_is_gone_can_only_be_read(run: Path) -> None:
    assert "rounds/1: holds no model" in refused(run, run, "--anew")


def test_a_model_folder_that_cannot_be_read_is_named_before_anything_is_asked(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    assert f"{broken}/config.json: cannot be read" in refused(model, broken)


def test_a_model_of_a_run_is_called_by_its_run(run: Path) -> None:
    assert ModelSide("runs/x/rounds/3/reasoner").name == "x, round 3, reasoner"
    assert ModelSide("/far/away/model-7b").name == "model-7b"
    assert find_side("starter") == ModelSide("starter")
    assert (find_side(f"{run}@0").name, find_side(str(run)).name) == ("made, before round 1", "made, round 1")


# --- models that are asked now -------------------------------------------------------------------------------------


def test_a_model_gives_the_answers_that_its_run_has_kept(model: Path, tmp_path: Path) -> None:
    """Kept and drawn now are the same, text by text: nothing else may differ between the two ways."""
    run = measured_run(
        tmp_path, [["right"], ["right"]], "evaluation.questions=9", "visplay.max_answer_length=8", samples=2
    )
    shutil.copytree(model, run / "rounds/1/reasoner")
    policy = Policy.load("model", model, open_image=WorldSource.open_any, options=ModelOptions())
    rows = answer_questions(
        policy, get_pack("compact"), heldout_questions(9, seed=0, size=SIZE), num_samples=2, seed=0, batch_size=4,
        max_completion_length=8,
    )  # fmt: skip
    write_evaluation(run / "rounds/1", rows)
    result = compared(run, model)
    assert (result["a"]["answers"], result["b"]["answers"]) == ("kept", "asked")
    assert result["asked"] | {"questions": 9, "num_samples": 2, "max_completion_length": 8} == result["asked"]
    assert len({tuple(question["a"]["sampled_keys"]) for question in result["questions"]}) > 1
    assert all(question["a"] == question["b"] for question in result["questions"])
    # Another question set is asked of both, a run's model included.
    result = compared(run, model, "--seed", "1")
    assert (result["a"]["answers"], result["asked"]["seed"]) == ("asked", 1)
    assert all(question["a"] == question["b"] for question in result["questions"])


def test_two_models_are_asked_the_same_questions(model: Path, tmp_path: Path) -> None:
    other = build_qwen2_5_vl(tmp_path / "other")
    done = invoke(app, ["compare", str(model), str(other), *SMALL, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out/comparison.json").read_text())
    assert (result["a"]["prompt_pack"], result["b"]["prompt_pack"]) == ("compact", "full")
    assert "what differs may be the words" in " ".join(done.stdout.split())
    assert result["asked"]["picture_size"] == SIZE
    assert any(question["a"]["text"] != question["b"]["text"] for question in result["questions"])
    assert str(tmp_path) not in (tmp_path / "out/comparison.html").read_text()


def test_the_starter_is_better_than_a_model_that_has_learned_nothing(model: Path) -> None:
    result = compared(model, "starter", "--questions", "18", "--samples", "2")
    assert result["asked"]["max_completion_length"] == 64
    assert result["b"]["name"] == "starter"
    assert result["change"]["accuracy"] > 0
