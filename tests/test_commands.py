"""Words that the command line does not know, names that stand for models, and results as JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import selfsight.cli
from made_runs import visplay_run
from selfsight.beginning import ready_to_begin
from selfsight.cli import app
from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.evaluate.named import resolve_model
from selfsight.evaluate.sides import ModelSide, find_side

invoke = CliRunner().invoke


def refused(*arguments: object) -> str:
    done = invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return done.stderr


def with_models(run: Path, *roles: str, rounds: tuple[int, ...] = (1, 2)) -> Path:
    """Gives rounds of a run model folders as far as their names and a config.json."""
    for number in rounds:
        for role in roles:
            folder = run / "rounds" / str(number) / role
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return with_models(visplay_run(tmp_path), "questioner", "reasoner")


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [[], ["evolve"], ["resume"], ["eval"], ["arena"], ["play"], ["compare"], ["report"], ["serve"], ["explain"],
     ["export"], ["doctor"], ["recipes"], ["starter"], ["starter", "build"]],
)  # fmt: skip
def test_every_command_has_the_short_help_option(command: list[str]) -> None:
    done = invoke(app, [*command, "-h"])
    assert done.exit_code == 0
    assert done.output == invoke(app, [*command, "--help"]).output
    assert "Usage" in done.output


@pytest.mark.parametrize(
    ("word", "said"),
    [("help", "selfsight --help"), ("version", "selfsight --version"), ("train", "selfsight evolve"),
     ("evaluate", "selfsight eval MODEL"), ("ui", "selfsight serve")],
)  # fmt: skip
def test_a_command_of_another_tool_leads_to_ours(word: str, said: str) -> None:
    assert f"write {said}" in refused(word)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evolve", "--seed", "1"], "write seed=1"),
        (["evolve", "--visplay.rounds=5"], "write visplay.rounds=5"),
        (["evolve", "--run-name", "mine", "--recipe", "visplay-smoke"], "write run_name=mine"),
        (["evolve", "--config", "my.yaml"], "write --recipe my.yaml"),
        (["evolve", "--lr", "1e-5"], "write optim.learning_rate=1e-5"),
        (["evolve", "--learning_rate=1e-5"], "Write optim.learning_rate=1e-5"),
        (["evolve", "--bf16"], "write dtype=bfloat16"),
        (["evolve", "--rounds", "5"], "Write visplay.rounds=5"),
        (["resume", "runs/x", "--seed", "1"], "write seed=1"),
        (["evolve", "--nonsense", "1"], "selfsight recipes --show NAME"),
    ],
)
def test_an_option_that_is_a_setting_is_told_as_one(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


def test_what_follows_two_dashes_is_no_option() -> None:
    assert "is not an override" in refused("evolve", "--", "--seed")


def test_windows_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        selfsight.cli._refuse_platform("win32")
    assert ended.value.exit_code == 2
    assert "not supported on Windows" in capsys.readouterr().err
    selfsight.cli._refuse_platform("linux")


# --- names of models -----------------------------------------------------------------------------------------------


def test_a_run_stands_for_the_answering_model_of_its_last_finished_round(run: Path) -> None:
    found = resolve_model(str(run))
    assert (Path(found.model), found.run, found.round) == (run / "rounds/2/reasoner", run, 2)
    assert Path(resolve_model(f"{run}@1").model) == run / "rounds/1/reasoner"
    assert (resolve_model(f"{run}@0").model, resolve_model(f"{run}@0").round) == ("starter", 0)
    (run / "rounds/2/round.json").unlink()  # its measurement has not ended
    assert resolve_model(str(run)).round == 1
    assert "round 2 has no model, or is not finished" in str(refusal(f"{run}@2"))


def test_a_run_of_games_stands_for_its_only_model(tmp_path: Path) -> None:
    run = with_models(visplay_run(tmp_path), "model", rounds=(1,))
    assert Path(resolve_model(str(run)).model) == run / "rounds/1/model"


def test_models_and_ids_stand_for_themselves(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questioner = str(run / "rounds/1/questioner")
    for name in ("starter", questioner, "Qwen/Qwen2.5-VL-3B-Instruct"):
        assert resolve_model(name).model == name
    twin = tmp_path / "made@1"  # a folder of that very name comes first
    shutil.copytree(run / "rounds/1/questioner", twin)
    assert resolve_model(str(twin)).model == str(twin)
    monkeypatch.chdir(tmp_path)
    Path("starter").mkdir()
    assert resolve_model("starter").model == "starter"


def refusal(name: str) -> SelfsightError:
    with pytest.raises(SelfsightError) as caught:
        resolve_model(name)
    assert caught.value.hint
    return caught.value


def test_what_is_no_model_is_named_and_answered_with_what_to_give(run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.JPG").write_bytes(b"")
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert f"give {run}@1" in str(refusal(str(run / "rounds/1")))
    assert "holds the rounds of a run" in str(refusal(str(run / "rounds")))
    assert f"such as {run}" in str(refusal(str(tmp_path)))
    assert f"images={photos} trains on them" in str(refusal(str(photos)))
    assert "is an image" in str(refusal(str(photos / "a.JPG")))
    assert "--recipe" in str(refusal(str(tmp_path / "mine.yaml")))
    assert "'last' is not a round" in str(refusal(f"{run}@last"))
    assert f"runs there: {run}" in str(refusal(str(tmp_path / "maid")))
    empty = visplay_run(tmp_path / "other")
    assert f"{empty}@0 is the model that it began with" in str(refusal(str(empty)))


@pytest.mark.parametrize("command", [["eval"], ["play"], ["arena", "starter"], ["compare", "starter"]])
def test_every_command_that_takes_a_model_says_the_same_of_a_folder_that_is_none(command: list[str], run: Path) -> None:
    said = refused(*command, run / "rounds/1")
    assert "is a round of a run, not a model" in said
    assert f"give {run}@1" in said


def test_a_side_of_a_comparison_is_read_by_the_same_rules(run: Path) -> None:
    assert find_side("starter") == ModelSide("starter")
    with pytest.raises(SelfsightError, match="is a round of a run"):
        find_side(str(run / "rounds/1"))


@pytest.mark.parametrize("command", ["eval", "play"])
def test_a_run_is_measured_and_played_by_its_model(command: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opener(model: str, revision: str | None = None) -> Path:
        opened.append(model)
        raise SelfsightError("far enough")

    import selfsight.evaluate.heldout
    import selfsight.evaluate.play

    monkeypatch.setattr(selfsight.evaluate.heldout, "model_folder", opener)
    monkeypatch.setattr(selfsight.evaluate.play, "model_folder", opener)
    assert "far enough" in refused(command, f"{run}@1")
    assert [Path(one) for one in opened] == [run / "rounds/1/reasoner"]


# --- before a run --------------------------------------------------------------------------------------------------


def config_of(tmp_path: Path, *overrides: str) -> Any:
    return load_config("visplay-smoke", [f"output_dir={tmp_path / 'new'}", *overrides])


def test_a_run_that_begins_with_a_runs_model_records_that_models_folder(run: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, f"model={run}@1")
    begun = ready_to_begin(config)
    assert Path(begun.model) == run / "rounds/1/reasoner"
    assert begun.model_copy(update={"model": config.model}) == config
    assert ready_to_begin(config_of(tmp_path, f"model={run}@0")).model == "starter"
    own = config_of(tmp_path, "model=starter")
    assert ready_to_begin(own) is own


def test_what_can_be_refused_at_once_is_refused_before_torch_and_before_a_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfsight.cli, "_loop_of", lambda method: pytest.fail("torch would be loaded"))
    (tmp_path / "taken").write_text("")
    for settings, said in (
        ([f"output_dir={tmp_path}/taken/runs"], "cannot be made"),
        (["output_dir=/proc/nobody"], "nothing was started"),
        ([f"output_dir={run.parent}", f"run_name={run.name}"], "another run_name or output_dir"),
        ([f"model={run}/rounds/1"], "is a round of a run"),
        (["images=nope"], "images: 'nope' does not exist"),
        ([f"model={tmp_path}/mode1"], "there is no such run"),
    ):
        assert said in refused("evolve", "--recipe", "visplay-smoke", *settings)


# --- JSON ----------------------------------------------------------------------------------------------------------


def test_report_and_explain_and_export_print_json(tmp_path: Path) -> None:
    run = visplay_run(tmp_path)
    written = invoke(app, ["report", str(run), "--json"])
    assert written.exit_code == 0, written.output
    found = json.loads(written.stdout)
    assert (found["path"], found["questions"] > 0) == (str(run / "report.html"), True)
    from selfsight.methods.visplay.records import QUESTIONS
    from selfsight.run.tables import read_table

    question = str(read_table(run / "rounds/1/questions.parquet", QUESTIONS)[1]["question_id"])
    told = invoke(app, ["explain", str(run), question, "--json"])
    assert told.exit_code == 0, told.output
    plainly = invoke(app, ["explain", str(run), question])
    assert json.loads(told.stdout)["lines"] == plainly.stdout.rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [("{run}@0", "is the model that the run began with"), ("starter", "is a model folder already"),
     ("{run}/rounds/1/reasoner", "is a model folder already"), ("{run}/rounds/1", "give {run}@1")],
)  # fmt: skip
def test_export_says_what_it_cannot_export(run: Path, tmp_path: Path, name: str, said: str) -> None:
    assert said.format(run=run) in refused("export", name.format(run=run), "--out", tmp_path / "out")


def test_export_takes_a_run_at_a_round(run: Path, tmp_path: Path) -> None:
    assert "name two rounds" in refused("export", f"{run}@1", "--round", "2", "--out", tmp_path / "out")
    assert "there is no finished round '7'" in refused("export", f"{run}@7", "--what", "model", "--out", tmp_path / "o")


# --- models of the hub ---------------------------------------------------------------------------------------------


def test_a_model_that_is_not_here_is_told_with_the_variable_and_the_cached_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfsight.policy.hub import download_hint

    for name in ("models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/abc", "models--a--torn", "datasets--x--y/snapshots"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download_hint(tmp_path) == (
        "HF_HUB_OFFLINE=1 forbids downloads: unset it, or give a folder or a cached model; "
        "cached models: Qwen/Qwen2.5-VL-3B-Instruct"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert "forbids" not in download_hint(tmp_path)
    assert download_hint(tmp_path / "none").endswith("cached models: none")


def test_a_model_that_cannot_be_fetched_is_refused_with_that_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    from selfsight.policy.loading import resolve_folder

    def nothing(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SelfsightError) as caught:
        resolve_folder("owner/name")
    assert "HF_HUB_OFFLINE=1 forbids downloads" in str(caught.value)
