"""A run that goes on looks at what it has written before it computes anything, and says which settings held when."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from interrupting import DiesAt, Killed, flip_a_bit, refused_change
from selfsight.cli import app
from selfsight.errors import SelfsightError
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import evolve, resume
from selfsight.run.checks import damages_in
from selfsight.run.history import read_history
from watching import Watcher, lines, same

from .conftest import Witnessed
from .runs import BUDGET, config


class Refused(Watcher):
    """A progress display of a run that must not compute anything."""

    def phase(self, name: str, total: int | None) -> None:
        raise AssertionError(f"it has begun to compute: {name}")


class DiesInReasoner(Watcher):
    """Ends its process at the second step of round 2's reasoner: both checkpoints lie inside that phase then."""

    def step(self, metrics: Mapping[str, object]) -> None:
        super().step(metrics)
        if self.phases[-1] == "round 2: reasoner":
            self.steps_in = getattr(self, "steps_in", 0) + 1
            if self.steps_in == 2:
                raise Killed


@pytest.fixture(scope="module")
def killed(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in the middle of round 2's reasoner; not to be written, `copy` it."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        evolve(config(speaker, folder), progress=DiesInReasoner())
    return folder / "run"


def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def named(file: str) -> str:
    """How an error names a file: those of a model folder behind the folder."""
    folder, name = file.rsplit("/", 1)
    return file if file.count("/") == 2 else rf"{folder} .*is changed \({name}\)"


def refusal(run: Path, *overrides: str) -> SelfsightError:
    with pytest.raises(SelfsightError) as refused:
        resume(run, overrides=overrides, progress=Refused())
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize("damage", ["changed", "missing"])
@pytest.mark.parametrize(
    "file", ["0/evaluation.parquet", "0/round.json", "1/round.json", "1/pool.parquet", "2/pool.parquet"]
)
def test_damage_that_no_checkpoint_can_mend_is_refused_before_anything_is_computed(
    killed: Path, tmp_path: Path, file: str, damage: str
) -> None:
    run = copy(killed, tmp_path)
    path = run / "rounds" / file
    whole = path.read_bytes()
    if damage == "changed":
        flip_a_bit(path)
    else:
        path.unlink()
    assert f"rounds/{file} " in str(refusal(run))
    assert f"is {damage}" in str(refusal(run))  # each further attempt says the same
    path.write_bytes(whole)
    summary = resume(run, progress=Watcher())
    assert summary["losses"] == []


def test_a_changed_table_is_written_again_from_a_checkpoint_before_it(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path), progress=DiesAt("round 2: reasoner"))
    flip_a_bit(tmp_path / "run/rounds/2/pool.parquet")
    watcher = Watcher()
    resume(tmp_path / "run", progress=watcher)
    assert any(note.startswith("rounds/2/pool.parquet (from round-2/curation) is changed") for note in watcher.notes)
    same(tmp_path / "run", straight.path)


def test_it_goes_back_over_whole_checkpoints_too(speaker: Path, straight: Witnessed, tmp_path: Path) -> None:
    """Those behind the damage are no use, and would be newer than what is saved on the way."""
    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path, "save_total_limit=4"), progress=DiesInReasoner())
    steps = sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "run/checkpoints").iterdir())
    assert steps[0] <= 6_000_000 < 7_000_001 <= steps[-1]
    (tmp_path / "run/rounds/2/pool.parquet").unlink()
    resume(tmp_path / "run", progress=Watcher())
    same(tmp_path / "run", straight.path)


@pytest.mark.parametrize("file", ["1/asked.parquet", "1/reasoner/model.safetensors", "1/evaluation.parquet"])
def test_damage_that_only_readers_see_is_named_and_the_run_ends_as_it_would_have(
    killed: Path, straight: Witnessed, tmp_path: Path, file: str
) -> None:
    run = copy(killed, tmp_path)
    flip_a_bit(run / "rounds" / file)
    watcher = Watcher()
    summary = resume(run, progress=watcher)
    assert any(note.startswith(f"rounds/{file}: changed") for note in watcher.notes)
    assert [(loss["file"], loss["what"]) for loss in summary["losses"]] == [(f"rounds/{file}", "changed")]
    ending = "rounds/2/reasoner/model.safetensors"
    assert (run / ending).read_bytes() == (straight.path / ending).read_bytes()
    with pytest.raises(SelfsightError, match=rf"finished, but not whole: {named(f'rounds/{file}')}"):
        resume(run, progress=Refused())


@pytest.mark.parametrize("name", ["journal.jsonl", "checks.json", "config.yaml"])
def test_a_damaged_journal_settings_or_check_file_is_refused(killed: Path, tmp_path: Path, name: str) -> None:
    run = copy(killed, tmp_path)
    flip_a_bit(run / name)
    assert name in str(refusal(run))


def test_a_missing_journal_is_refused(killed: Path, tmp_path: Path) -> None:
    run = copy(killed, tmp_path)
    (run / "journal.jsonl").unlink()
    assert "journal.jsonl" in str(refusal(run))
    (run / "checks.json").unlink()  # as an earlier version left the run
    assert "journal.jsonl" in str(refusal(run))


@pytest.mark.parametrize("name", ["metrics.jsonl", "alarms.jsonl"])
def test_altered_lines_are_refused_and_lost_ones_are_named_and_recorded(
    killed: Path, straight: Witnessed, tmp_path: Path, name: str
) -> None:
    run = copy(killed, tmp_path)
    flip_a_bit(run / name)
    assert name in str(refusal(run))
    total = json.loads((max((run / "checkpoints").iterdir()) / "state.json").read_text())
    expected = total["metrics_lines" if name.startswith("metrics") else "alarm_lines"]
    (run / name).unlink()
    watcher = Watcher()
    summary = resume(run, progress=watcher)
    what = f"{expected} of {expected} lines are lost"
    assert any(note.startswith(f"{name}: {what}") for note in watcher.notes)
    assert [(loss["file"], loss["what"]) for loss in summary["losses"]] == [(name, what)]
    assert json.loads((run / "summary.json").read_text())["losses"] == summary["losses"]
    ending = "rounds/2/reasoner/model.safetensors"
    assert (run / ending).read_bytes() == (straight.path / ending).read_bytes()


def test_a_metrics_file_that_was_cut_is_a_named_loss(killed: Path, tmp_path: Path) -> None:
    run = copy(killed, tmp_path)
    kept = (run / "metrics.jsonl").read_text().splitlines(keepends=True)[:2]
    (run / "metrics.jsonl").write_text("".join(kept))
    summary = resume(run, progress=Watcher())
    assert [loss["file"] for loss in summary["losses"]] == ["metrics.jsonl"]
    assert (run / "metrics.jsonl").read_text().startswith("".join(kept))


def test_a_file_that_is_removed_while_the_run_writes_it_stops_the_run(speaker: Path, tmp_path: Path) -> None:
    class Removes(Watcher):
        def step(self, metrics: Mapping[str, object]) -> None:
            super().step(metrics)
            (tmp_path / "run/metrics.jsonl").unlink(missing_ok=True)

    with pytest.raises(SelfsightError, match=r"metrics\.jsonl: was removed or replaced"):
        evolve(config(speaker, tmp_path), progress=Removes())


def test_a_lock_that_is_removed_stops_the_first_writer_at_its_next_step(speaker: Path, tmp_path: Path) -> None:
    class Removes(Watcher):
        def step(self, metrics: Mapping[str, object]) -> None:
            super().step(metrics)
            if self.steps == 2:
                (tmp_path / "run/.lock").unlink()

    watcher = Removes()
    with pytest.raises(SelfsightError, match=r"\.lock: was removed or replaced"):
        evolve(config(speaker, tmp_path), progress=watcher)
    assert watcher.steps == 2
    resume(tmp_path / "run", progress=Watcher())


# ------------------------------------------------------------------------------------------ finished runs


@pytest.fixture
def finished(straight: Witnessed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(straight.path, tmp_path / "finished"))


def files_of(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_finished_run_says_so_and_stays_as_it_is(finished: Path) -> None:
    before, watcher = files_of(finished), Refused()
    summary = resume(finished, progress=watcher)
    assert summary == json.loads((finished / "summary.json").read_text())
    assert watcher.notes[-1] == "this run is finished; nothing is left to do"
    assert files_of(finished) == before


@pytest.mark.parametrize(
    "change", ["grpo.num_generations=6", "optim.learning_rate=1e-4", "alarms.policy=stop", "save_steps=7"]
)
def test_a_finished_run_takes_no_setting_that_nothing_used(finished: Path, change: str) -> None:
    refused = refused_change(loop, finished, change)
    assert "this run is finished; nothing is left to do" in str(refused)
    assert change.split("=")[0] in str(refused)


def test_a_finished_run_with_more_rounds_says_from_where_a_setting_holds(finished: Path) -> None:
    summary = resume(finished, overrides=["visplay.rounds=3", "optim.learning_rate=1e-4"], progress=Watcher())
    changes = {one["key"]: one for one in summary["settings_changes"]}
    assert set(changes) == {"optim.learning_rate", "visplay.rounds"}
    assert changes["optim.learning_rate"] == {
        "stage": "round-3/questioner", "step": 0, "key": "optim.learning_rate", "before": 1e-3, "now": 1e-4,
    }  # fmt: skip


@pytest.mark.parametrize("file", ["rounds/1/questioner/config.json", "rounds/1/asked.parquet"])
def test_a_finished_run_names_what_is_damaged(finished: Path, file: str) -> None:
    flip_a_bit(finished / file)
    with pytest.raises(SelfsightError, match=rf"finished, but not whole: {named(file)}"):
        resume(finished, progress=Refused())


def test_a_finished_run_without_an_early_model_folder_is_whole(finished: Path) -> None:
    shutil.rmtree(finished / "rounds/1/questioner")
    watcher = Refused()
    resume(finished, progress=watcher)
    assert any(note.startswith("rounds/1/questioner: missing") for note in watcher.notes)
    assert watcher.notes[-1] == "this run is finished; nothing is left to do"


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_the_summary_of_a_finished_run_is_written_again(finished: Path, damage: str) -> None:
    before = json.loads((finished / "summary.json").read_text())
    if damage == "changed":
        flip_a_bit(finished / "summary.json")
    else:
        (finished / "summary.json").unlink()
    watcher = Watcher()
    again = resume(finished, progress=watcher)
    assert any(note.startswith(f"summary.json is {damage}") for note in watcher.notes)
    assert {**again, "timings": None} == {**before, "timings": None}


def test_the_last_measurement_of_a_finished_run_is_made_again(finished: Path, straight: Witnessed) -> None:
    flip_a_bit(finished / "rounds/2/evaluation.parquet")
    resume(finished, progress=Watcher())
    same(finished, straight.path)


# ------------------------------------------------------------------------------------- changed settings


def test_a_change_in_the_middle_is_recorded_with_its_place(killed: Path, tmp_path: Path) -> None:
    run = copy(killed, tmp_path)
    state = json.loads((max((run / "checkpoints").iterdir()) / "state.json").read_text())
    place = {"stage": state["stage"], "step": state["step"]}
    summary = resume(run, overrides=["grpo.num_generations=6", "visplay.gates.novelty=0.5"], progress=Watcher())
    assert summary["settings_changes"] == [
        {**place, "key": "grpo.num_generations", "before": 4, "now": 6},
        {**place, "key": "visplay.gates.novelty", "before": 0.02, "now": 0.5},
    ]
    assert yaml.safe_load((run / "config.yaml").read_text())["grpo"]["num_generations"] == 6
    assert read_history(run).as_json()["settings_changes"] == summary["settings_changes"]


def test_a_run_of_an_earlier_version_goes_on_without_a_false_alarm(
    killed: Path, straight: Witnessed, tmp_path: Path
) -> None:
    """Without check values anywhere: in the journal, in checkpoints and in a file of their own."""
    run = copy(killed, tmp_path)
    as_earlier_version(run)
    assert damages_in(run) == []
    watcher = Watcher()
    summary = resume(run, progress=watcher)
    assert summary["losses"] == []
    same(run, straight.path)


def as_earlier_version(run: Path) -> None:
    """Takes away the check values that earlier versions did not write."""
    from selfsight.run import canonical_json
    from selfsight.run.checkpoint import STATE, TENSORS, Checkpoints
    from selfsight.run.checkpoint import Checkpoint as Saved

    (run / "checks.json").unlink()
    journal: list[dict[str, Any]] = lines(run / "journal.jsonl")
    for line in journal:
        del line["files"]
    (run / "journal.jsonl").write_bytes(b"".join(canonical_json(line) + b"\n" for line in journal))
    for folder in sorted((run / "checkpoints").iterdir()):
        assert (folder / TENSORS).exists()
        assert (folder / STATE).exists()
        saved = Saved(int(folder.name.split("-")[1]), folder)
        state = saved.state()
        del state["metrics_blake2b"], state["alarms_blake2b"]
        tensors = saved.tensors()
        shutil.rmtree(folder)
        elsewhere = Checkpoints(run / "rewritten", save_total_limit=9)
        elsewhere.folder.mkdir(exist_ok=True)
        elsewhere.save(saved.step, tensors, state).rename(folder)
    (run / "rewritten").rmdir()


# ------------------------------------------------------------------------------------------- who reads a run


def test_what_reads_a_run_names_or_refuses_damage(finished: Path, tmp_path: Path) -> None:
    """report: shows and warns; export and compare: refuse; eval: refuses the model."""
    resume(finished, overrides=["visplay.rounds=3", "optim.learning_rate=1e-4"], progress=Watcher())
    run = CliRunner()
    told = run.invoke(app, ["report", str(finished)])
    assert told.exit_code == 0
    assert "WARNING" not in told.output
    changes = "optim.learning_rate: 0.001 until round-3/questioner, step 0; 0.0001 from there on"
    assert changes in (finished / "report.html").read_text()
    assert run.invoke(app, ["export", str(finished), "--out", str(tmp_path / "out")]).exit_code == 0
    for card in ("model", "questions"):
        assert changes in (tmp_path / "out" / card / "README.md").read_text()

    flip_a_bit(finished / "rounds/3/evaluation.parquet")
    told = run.invoke(app, ["report", str(finished)])
    assert told.exit_code == 0
    assert "WARNING: rounds/3/evaluation.parquet: is not what the run wrote" in told.output
    assert "rounds/3/evaluation.parquet" in (finished / "report.html").read_text()
    for command in (
        ["export", str(finished), "--out", str(tmp_path / "out2")],
        ["compare", f"{finished}@0", str(finished)],
    ):
        refused = run.invoke(app, command)
        assert refused.exit_code == 2
        assert "rounds/3/evaluation.parquet: is not what the run wrote" in refused.stderr
    assert not (tmp_path / "out2").exists()

    flip_a_bit(finished / "rounds/3/reasoner/model.safetensors")
    refused = run.invoke(app, ["eval", str(finished / "rounds/3/reasoner"), "--questions", "2"])
    assert refused.exit_code == 2
    assert "reasoner/model.safetensors: is not what the run wrote there" in refused.stderr


def test_a_display_that_is_lost_is_written_down_and_ends_nothing(speaker: Path, tmp_path: Path) -> None:
    class Lost(Watcher):
        lost = "No space left on device"

    summary = evolve(config(speaker, tmp_path, "visplay.rounds=1"), progress=Lost())
    assert [(loss["file"], loss["what"]) for loss in summary["losses"]] == [
        ("progress", "could not be shown any more: No space left on device")
    ]


@pytest.mark.parametrize("full", ["stderr", "stdout"])
def test_a_full_disk_under_the_log_ends_no_run(speaker: Path, tmp_path: Path, full: str) -> None:
    place = [f"model={speaker}", f"output_dir={tmp_path}", "run_name=run"]
    command = [sys.executable, "-m", "selfsight", "evolve", "--recipe", "visplay-smoke", *place, *BUDGET]
    with Path("/dev/full").open("w") as disk:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {full: disk}
        done = subprocess.run([*command, "visplay.rounds=1"], check=False, text=True, **streams)  # type: ignore[call-overload]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    if full == "stderr":
        assert done.returncode == 0
        assert "held-out" in done.stdout
        assert [loss["file"] for loss in summary["losses"]] == ["progress"]
    else:
        assert done.returncode == 2
        assert "the run is finished, and summary.json" in done.stderr
        assert "Traceback" not in done.stderr
        assert summary["losses"] == []
