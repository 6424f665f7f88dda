"""Promises about the figures: what bench/ computes from run folders, and how it works through a set of runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import collect  # noqa: E402
import diversity  # noqa: E402
import games_table  # noqa: E402
import gates  # noqa: E402
import overhead  # noqa: E402
import run_set  # noqa: E402
import table_text  # noqa: E402
import visplay_table  # noqa: E402
from selfsight.config import config_hash, load_config  # noqa: E402
from selfsight.errors import SelfsightError  # noqa: E402
from selfsight.evaluate.questions import HeldOutQuestion, heldout_questions  # noqa: E402
from speaking import build_speaking  # noqa: E402
from tiny_models import build_qwen2_5_vl  # noqa: E402

QUESTIONS = 40


def a_run(
    folder: Path, *, seed: int, right: list[int], audited: bool = True, label_accuracy: float = 0.6, steps: int = 3
) -> Path:
    """A finished run, made by hand: of 40 questions the first `right[k]` are answered right after round k."""
    rows = []
    for number, count in enumerate(right):
        correct = [float(i < count) for i in range(QUESTIONS)]
        path = folder / "rounds" / str(number) / "evaluation.parquet"
        path.parent.mkdir(parents=True)
        ids = [f"h-{i}" for i in range(QUESTIONS)]
        pq.write_table(pa.table({"id": ids, "greedy": correct, "sampled": correct, "majority": correct}), path)
        rows.append({"accuracy": count / QUESTIONS, "format_failures": 0.1 * (len(right) - number)})
    change = (right[-1] - right[0]) / QUESTIONS
    interval = {"ci95": [change - 0.1, change + 0.1]}
    summary = {
        "seed": seed,
        "base": rows[0],
        "rounds": [
            {
                "round": number,
                "heldout": row,
                "kept": 24 * steps,
                "valid": 0.9,
                "mean_confidence": 0.6,
                "pseudo_label_accuracy": label_accuracy if audited else None,
                "well_posed": 0.8 if audited else None,
                **({"audit": {"labels": {"well_posed": 0.7}}} if audited else {}),
            }
            for number, row in enumerate(rows[1:], start=1)
        ],
        "delta": {
            "accuracy": change, **interval, "sampled": change, "sampled_ci95": interval["ci95"], "majority": change,
            "majority_ci95": interval["ci95"],
        },
        "timings": {"total": 120.0},
        "versions": {"torch": "x"},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [{"stage": f"round-{k}/reasoner", "step": i} for k in range(1, len(right)) for i in range(steps)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def table(tmp_path: Path, runs: dict[tuple[str, int], list[int]]) -> dict[str, Any]:
    return collect.build_table(
        [
            collect.read_run(variant, seed, a_run(tmp_path / f"{variant}-seed{seed}", seed=seed, right=right))
            for (variant, seed), right in runs.items()
        ]
    )


# ------------------------------------------------------------------------------------------------- the table


def test_a_row_is_the_mean_over_seeds_with_the_range_and_every_seed_beside_it(tmp_path: Path) -> None:
    figures = table(tmp_path, {("robust", 0): [20, 28, 30], ("robust", 1): [20, 24, 26]})["variants"]["robust"]
    assert figures["seeds"] == [0, 1]
    assert figures["accuracy"]["greedy"] == pytest.approx([0.5, 0.65, 0.7])
    change = figures["change"]["greedy"]
    assert (change["mean"], change["min"], change["max"]) == pytest.approx((0.2, 0.15, 0.25))
    low, high = change["pooled_ci95"]
    assert low < 0.2 < high and high - low < 0.3
    assert [entry["change"]["greedy"]["mean"] for entry in figures["per_seed"]] == pytest.approx([0.25, 0.15])
    assert figures["minutes"] == pytest.approx(2.0)
    assert figures["format_failures"] == pytest.approx([0.3, 0.1])
    assert figures["rounds"][0]["pseudo_label_accuracy"] == pytest.approx(0.6)
    assert figures["rounds"][0]["well_posed_pool"] == pytest.approx(0.7)
    assert figures["rounds"][1]["reasoner_steps"] == 3


def test_pooling_resamples_questions_and_does_not_count_a_question_once_per_seed(tmp_path: Path) -> None:
    one = table(tmp_path / "one", {("robust", 0): [20, 28]})["variants"]["robust"]
    three = table(tmp_path / "three", {("robust", seed): [20, 28] for seed in range(3)})["variants"]["robust"]
    assert three["change"]["greedy"]["pooled_ci95"] == one["change"]["greedy"]["pooled_ci95"]


def test_the_largest_drop_is_the_worst_round_of_the_worst_seed(tmp_path: Path) -> None:
    variants = table(tmp_path, {("robust", 0): [20, 28, 26], ("robust", 1): [20, 30, 31], ("paper", 0): [20, 21, 22]})
    assert variants["variants"]["robust"]["largest_drop"]["greedy"] == pytest.approx(0.05)
    assert variants["variants"]["paper"]["largest_drop"]["greedy"] == 0.0


def test_the_zero_label_gain_is_a_fraction_of_the_labelled_gain_per_round(tmp_path: Path) -> None:
    found = table(tmp_path, {("robust", 0): [20, 24, 28], ("labelled", 0): [20, 28, 36]})["variants"]
    greedy = found["robust"]["of_labelled"]["labelled"]["greedy"]
    assert [entry["fraction"] for entry in greedy] == pytest.approx([0.5, 0.5])
    low, high = greedy[-1]["ci95"]
    assert 0 < low < 0.5 < high <= 1.0  # our right answers are among theirs
    assert found["labelled"]["of_labelled"] == {}


def test_no_fraction_is_given_of_a_labelled_gain_that_may_be_none(tmp_path: Path) -> None:
    found = table(tmp_path, {("robust", 0): [20, 28], ("labelled", 0): [20, 21]})["variants"]
    (entry,) = found["robust"]["of_labelled"]["labelled"]["greedy"]
    assert entry["fraction"] is None and entry["ci95"] is None and "zero" in entry["reason"]


def test_a_ratio_of_equal_gains_is_one_and_of_opposite_gains_is_minus_one() -> None:
    gain = np.array([1.0] * 20 + [0.0] * 20)
    assert collect.ratio_interval(gain, gain, seed=0)["ci95"] == pytest.approx([1.0, 1.0])
    assert collect.ratio_interval(-gain, gain, seed=0)["fraction"] == pytest.approx(-1.0)


def test_variants_are_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    runs = {("robust", 0): [20, 30], ("robust", 1): [20, 20], ("untrained", 0): [20, 26], ("paper", 2): [20, 26]}
    found = table(tmp_path, runs)["variants"]
    assert found["untrained"]["reference_minus_this"]["seeds"] == [0]
    assert found["untrained"]["reference_minus_this"]["greedy"]["mean"] == pytest.approx(0.1)
    assert found["paper"]["reference_minus_this"] == {"seeds": []}


def test_what_one_seed_could_not_measure_is_not_averaged(tmp_path: Path) -> None:
    runs = [
        collect.read_run("robust", 0, a_run(tmp_path / "a", seed=0, right=[20, 22])),
        collect.read_run("robust", 1, a_run(tmp_path / "b", seed=1, right=[20, 22], audited=False)),
    ]
    (entry,) = collect.build_table(runs)["variants"]["robust"]["rounds"]
    assert entry["pseudo_label_accuracy"] is None
    assert entry["valid"] == pytest.approx(0.9)


def test_runs_that_do_not_belong_together_are_refused_by_name(tmp_path: Path) -> None:
    first = collect.read_run("robust", 0, a_run(tmp_path / "first", seed=0, right=[20, 22]))
    longer = collect.read_run("paper", 0, a_run(tmp_path / "longer", seed=0, right=[20, 22, 24]))
    with pytest.raises(SelfsightError, match="longer has 2 rounds"):
        collect.build_table([first, longer])
    with pytest.raises(SelfsightError, match="run with seed 0, not 7"):
        collect.read_run("robust", 7, tmp_path / "first")
    (tmp_path / "first" / "rounds" / "1" / "evaluation.parquet").unlink()
    with pytest.raises(SelfsightError, match=r"evaluation\.parquet: is missing"):
        collect.read_run("robust", 0, tmp_path / "first")
    with pytest.raises(SelfsightError, match="no finished run"):
        collect.build_table([])


def test_the_text_gives_every_figure_in_points_and_a_dash_for_what_is_unknown(tmp_path: Path) -> None:
    found = table(tmp_path, {("robust", 0): [20, 28], ("labelled", 0): [20, 36], ("random", 0): [20, 18]})
    found["unfinished"] = [
        {"run": "paper-seed0", "last_line": "Error: round 2: the pool holds 3 questions", "greedy_so_far": [0.5, 0.45]}
    ]
    text = table_text.render(found)
    robust = next(line for line in text.splitlines() if line.startswith("| robust |"))
    assert "50.0 / 50.0 | 70.0 / 70.0 | +20.0 [" in robust
    assert "0.50 [" in robust
    assert "| robust − random | 1 | +25.0 [" in text
    assert "| random-seed0 | 50.0 → 45.0 | −5.0 [−15.0, +5.0] |" in text
    assert "`paper-seed0`: Error: round 2: the pool holds 3 questions; greedy so far 50.0 → 45.0" in text
    assert table_text.percent(None) == "–" and table_text.points(-0.0004) == "0.0"


# -------------------------------------------------------------------------------------------------- the runs


def test_the_paper_variant_is_the_packaged_paper_recipe() -> None:
    paper = load_config("visplay-starter", run_set.VISPLAY["paper"])
    assert config_hash(paper) == config_hash(load_config("visplay-starter-paper"))


def test_every_variant_is_another_run_of_the_same_budget() -> None:
    configs = {name: load_config("visplay-starter", overrides) for name, overrides in run_set.VISPLAY.items()}
    assert len({config_hash(config) for config in configs.values()}) == len(configs)
    for config in configs.values():
        assert config.visplay.reasoner_steps == configs["robust"].visplay.reasoner_steps
        assert config.evaluation == configs["robust"].evaluation
    assert configs["labelled"].visplay.controls.labels == "truth"
    assert configs["labelled"].visplay.controls.questioner == "untrained"


def planned(tmp_path: Path, variants: list[str], seeds: list[int]) -> list[run_set.PlannedRun]:
    return run_set.plan(tmp_path, variants, seeds, recipe="visplay-smoke", threads=1, overrides=["seed=9"])


def test_a_planned_run_has_the_seed_threads_and_folder_of_its_cell(tmp_path: Path) -> None:
    runs = planned(tmp_path / "with space", ["robust", "random"], [0, 3])
    assert [run.name for run in runs] == ["robust-seed0", "random-seed0", "robust-seed3", "random-seed3"]
    config = runs[3].config()
    assert (config.seed, config.threads, config.run_name) == (3, 1, "random-seed3")
    assert config.visplay.controls.reward == "random"
    assert Path(config.output_dir) / "random-seed3" == runs[3].folder
    with pytest.raises(SelfsightError, match="no variant 'robsut'"):
        planned(tmp_path, ["robsut"], [0])


# Stands in for `selfsight`: writes down that it was called, leaves a run folder, and finishes unless told otherwise.
STAND_IN = """
import pathlib, signal, sys, time
verb, folder, behaviour, config, calls = sys.argv[1:6]
folder = pathlib.Path(folder); folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").write_text(pathlib.Path(config).read_text())
with open(calls, "a") as file: file.write(f"{verb} {folder.name} {time.monotonic()}\\n")
print("Error: it did not work")
if behaviour == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (folder / "waiting").touch()
    time.sleep(60)
deadline = time.monotonic() + 60
while behaviour == "beside" and time.monotonic() < deadline and open(calls).read().count("evolve") < 2:
    time.sleep(0.01)
if behaviour in ("finish", "beside"):
    (folder / "summary.json").write_text("{}")
with open(calls, "a") as file: file.write(f"end {folder.name} {time.monotonic()}\\n")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], Path]:
    """Behaviour by run name ("finish" unless set), and the file that lists the calls."""
    from selfsight.config import to_yaml

    behaviour: dict[str, str] = {}
    calls = tmp_path / "calls"

    def command(self: run_set.PlannedRun) -> list[str]:
        verb = "resume" if self.state == "unfinished" else "evolve"
        config = tmp_path / f"{self.name}.yaml"
        config.write_text(to_yaml(self.config()))
        how = behaviour.get(self.name, "finish")
        return [sys.executable, "-c", STAND_IN, verb, str(self.folder), how, str(config), str(calls)]

    monkeypatch.setattr(run_set.PlannedRun, "command", command)
    return behaviour, calls


def test_finished_runs_are_left_alone_and_unfinished_ones_resumed(
    tmp_path: Path, stand_in: tuple[dict[str, str], Path]
) -> None:
    behaviour, calls = stand_in
    behaviour["random-seed0"] = "fail"
    runs = planned(tmp_path, ["robust", "random"], [0])
    left = run_set.work_through(runs, jobs=1, threads=1, say=lambda text: None)
    assert [run.name for run in left] == ["random-seed0"]
    assert run_set.last_line(runs[1].log) == "Error: it did not work"
    behaviour.clear()
    assert run_set.work_through(runs, jobs=1, threads=1, say=lambda text: None) == []
    started = [line.rsplit(" ", 1)[0] for line in calls.read_text().splitlines() if not line.startswith("end")]
    assert started == ["evolve robust-seed0", "evolve random-seed0", "resume random-seed0"]
    assert [attempt["exit_code"] for attempt in run_set.read_attempts(runs[1].record)] == [0, 0]


def test_no_more_runs_than_jobs_are_under_way_at_once(tmp_path: Path, stand_in: tuple[dict[str, str], Path]) -> None:
    stand_in[0].update(dict.fromkeys(("robust-seed0", "random-seed0"), "beside"))  # each ends when both have begun
    runs = planned(tmp_path, ["robust", "random", "paper"], [0])
    run_set.work_through(runs, jobs=2, threads=1, say=lambda text: None)
    running = most = 0
    for line in sorted(stand_in[1].read_text().splitlines(), key=lambda line: float(line.split()[-1])):
        running += -1 if line.startswith("end") else 1
        most = max(most, running)
    assert most == 2 and running == 0


def test_a_run_of_other_settings_is_refused_before_anything_starts(
    tmp_path: Path, stand_in: tuple[dict[str, str], Path]
) -> None:
    run_set.work_through(planned(tmp_path, ["robust"], [0]), jobs=1, threads=1, say=lambda text: None)
    changed = run_set.plan(
        tmp_path, ["random", "robust"], [0], recipe="visplay-smoke", threads=1, overrides=["visplay.rounds=9"]
    )
    with pytest.raises(SelfsightError, match="robust-seed0: holds a run with other settings"):
        run_set.work_through(changed, jobs=1, threads=1, say=lambda text: None)
    assert not changed[0].folder.exists()


def test_a_request_to_stop_reaches_the_runs_under_way_and_starts_no_other(
    tmp_path: Path, stand_in: tuple[dict[str, str], Path]
) -> None:
    stand_in[0]["robust-seed0"] = "wait"
    runs = planned(tmp_path, ["robust", "random"], [0])

    def ask_to_stop() -> None:
        while not (runs[0].folder / "waiting").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_to_stop)
    asking.start()
    left = run_set.work_through(runs, jobs=1, threads=1, say=lambda text: None)
    asking.join()
    assert [run.name for run in left] == ["robust-seed0", "random-seed0"]
    assert not runs[1].folder.exists()
    assert run_set.read_attempts(runs[0].record)[0]["exit_code"] == 143


def test_the_table_says_how_far_an_unfinished_run_got(tmp_path: Path) -> None:
    run = planned(tmp_path, ["robust"], [0])[0]
    for number, accuracy in enumerate([0.5, 0.6]):
        folder = run.folder / "rounds" / str(number)
        folder.mkdir(parents=True)
        (folder / "round.json").write_text(json.dumps({"heldout": {"accuracy": accuracy}}))
    found = visplay_table._so_far(run)
    assert (found["run"], found["state"], found["greedy_so_far"]) == ("robust-seed0", "new", [0.5, 0.6])


def test_a_mistake_in_a_setting_ends_the_command_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visplay_table.main(["--out", str(tmp_path / "out"), "visplay.round=3"]) == 2
    assert "did you mean 'visplay.rounds'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------ the table of games

TINY_GAMES = (
    "vision_zero.players=5", "vision_zero.clue_rounds=1",
    "vision_zero.games_per_step=2", "vision_zero.iterations=2", "vision_zero.eval_steps=1", "vision_zero.eval_games=5",
    "vision_zero.max_clue_length=8", "vision_zero.max_vote_length=6", "evaluation.questions=9",
    "evaluation.num_samples=2",
)  # fmt: skip


def test_a_table_of_games_trains_meets_the_base_and_is_made_again_from_what_is_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build_speaking(tmp_path_factory.mktemp("models") / "player", build_qwen2_5_vl, games=True)
    options = [
        "--out",
        str(tmp_path),
        "--variants",
        "iterative,decision-only",
        "--seeds",
        "1",
        "--games",
        "4",
    ]  # made 5
    again = [*options, "--recipe", "vision-zero-smoke", f"model={model}", *TINY_GAMES]
    assert games_table.main(again) == 0
    first = capsys.readouterr().out
    rows = json.loads((tmp_path / "games.json").read_text())["variants"]
    assert set(rows) == {"iterative", "decision-only"}
    for name, row in rows.items():
        summary = json.loads((tmp_path / "runs" / f"{name}-seed1" / "summary.json").read_text())
        measured = [summary["base_decisions"], *(entry["decisions"] for entry in summary["rounds"])]
        assert row["votes"]["greedy"] == pytest.approx([decisions["accuracy"] for decisions in measured])
        change = row["votes_change"]["greedy"]
        assert change["mean"] == change["min"] == change["max"] == pytest.approx(measured[-1]["change"]["accuracy"])
        assert row["answers_change"]["sampled"]["mean"] == pytest.approx(summary["delta"]["sampled"])
        met = json.loads((tmp_path / "arena" / f"{name}-seed1" / "result.json").read_text())
        assert met["seed"] == 1
        assert met["a"].endswith("rounds/2/model") and met["b"] == str(model)
        assert met["rules"]["clue_rounds"] == 1  # as trained, not as the command's own default
        assert row["arena"]["a_citizens"]["n"] == 5
        assert row["arena"]["a_citizens"]["rate"] == met["arena"]["a_citizens"]["rate"]
    assert set(rows["decision-only"]["reference_minus_this"]) == {"seeds", "greedy", "sampled", "majority"}
    assert "| iterative | 1 | " in first and "| iterative − decision-only | " in first
    # Nothing is played twice, and a run that is missing is named.
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("arena/*/result.json")}
    assert games_table.main([*again, "--collect-only"]) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (tmp_path / "runs" / "iterative-seed1" / "summary.json").unlink()
    assert games_table.main([*again, "--collect-only"]) == 1
    assert "`iterative-seed1` has no summary" in capsys.readouterr().out


def test_wins_of_several_arenas_are_counted_together() -> None:
    found = games_table._rate([{"wins": 9, "n": 10, "rate": 0.9}, {"wins": 60, "n": 100, "rate": 0.6}])
    assert found["rate"] == 69 / 110 and (found["min"], found["max"]) == (0.6, 0.9)
    assert found["ci95"][0] == pytest.approx(0.5343, abs=1e-3)


# ------------------------------------------------------------------------------------------- single figures


def test_the_controllers_share_leaves_loading_and_measurement_out() -> None:
    timings = {
        "total": 100.0, "loading": 10.0, "sampling": 40.0, "scoring": 5.0, "learning": 13.0, "measurement": 30.0,
        "controller": 2.0,
    }  # fmt: skip
    figures = overhead.overhead(timings)
    assert figures["of_training"] == pytest.approx(2 / 60)
    assert figures["of_total"] == pytest.approx(0.02)


def test_a_run_without_parts_in_its_timings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"timings": {"total": 1.0}}))
    with pytest.raises(SelfsightError, match="timings lack loading"):
        overhead.of_run(tmp_path)


def test_gates_are_judged_by_the_truth_of_what_they_kept_and_turned_away(tmp_path: Path) -> None:
    held_out = heldout_questions(9, seed=0)
    right = [question_row(question) for question in held_out]
    wrong = [row | {"label": "text:something else", "kept": False, "gate": "supervisor"} for row in right]
    ill_posed = [row | {"question": "What is the meaning of this?", "confidence": 0.5} for row in right[:3]]
    unvoted = [row | {"label": None, "confidence": None} for row in right]
    found = gates.of_round([*right, *wrong, *ill_posed, *unvoted])
    assert found["supervisor"] == {
        "questions": 9, "well_posed": 1.0, "label_right": 0.0,
        "by_confidence": {"0.75": {"questions": 9, "well_posed": 1.0, "label_right": 0.0}},
    }  # fmt: skip
    assert found["kept"]["questions"] == 12
    assert found["kept"]["well_posed"] == found["kept"]["label_right"] == 9 / 12
    assert found["kept"]["by_confidence"]["0.5"] == {"questions": 3, "well_posed": 0.0, "label_right": 0.0}
    write_round(tmp_path, right)
    assert gates.of_run(tmp_path) == [gates.of_round(right)]
    write_round(tmp_path, [row | {"image_id": "photograph"} for row in right])
    with pytest.raises(SelfsightError, match="no truth is known"):
        gates.of_run(tmp_path)


def question_row(question: HeldOutQuestion) -> dict[str, Any]:
    """A candidate that was kept, with the true answer as its label."""
    image = question.image
    return {
        "image_id": image.id, "origin": image.origin, "question": question.question, "confidence": 0.75,
        "label": question.key, "kept": True, "gate": "",
    }  # fmt: skip


def write_round(run: Path, rows: list[dict[str, Any]]) -> None:
    (run / "rounds" / "1").mkdir(parents=True, exist_ok=True)
    (run / "summary.json").write_text(json.dumps({"rounds": [{"round": 1}]}))
    pq.write_table(pa.Table.from_pylist(rows), run / "rounds" / "1" / "questions.parquet")


def test_the_diversity_figure_is_about_whole_groups_of_questions() -> None:
    groups = diversity.world_questions(3, 8)
    assert [len(group) for group in groups] == [8, 8, 8]
    assert all(question.endswith("?") for group in groups for question in group)
    figures = diversity.seconds([["Is there a star?"] * 8, ["Is there a star?", "How many dots can you see here?"]])
    assert figures["clusters"] == 3


def test_chance_is_what_the_best_constant_answer_would_score() -> None:
    import starter_quality

    questions = heldout_questions(180, seed=0)
    chance = starter_quality.chance_level(questions)
    assert len(chance) == 9
    for family in ("existence", "comparison", "relation"):  # yes or no
        assert 0.5 <= chance[family] <= 0.75
    assert 0 < chance["chart_arithmetic"] < 0.5


def test_a_learner_that_computes_something_else_is_not_timed() -> None:
    import torch

    import learner

    weight = torch.nn.Parameter(torch.ones(3))

    def update(factor: float) -> learner.Update:
        def run() -> float:
            loss = (weight * torch.tensor([1.0, 2.0, factor])).sum() - factor
            loss.backward()
            return float(loss.detach())

        return learner.Update(run, {"weight": weight})

    right = {"padded": update(3.0), "tries": update(3.0)}
    figures = learner.measure(right, repeats=3, warmup=1)
    assert len(figures["seconds"]["tries"]) == 3 and figures["times_faster_than"]["padded"] > 0
    assert weight.grad is None
    with pytest.raises(SelfsightError, match="'tries': 0"):
        learner.measure({**right, "tries": update(3.1)}, repeats=3, warmup=1)


def test_a_sampler_that_draws_something_else_is_not_timed() -> None:
    import sampler

    right, wrong = np.zeros((1, 1, 3)), np.ones((1, 1, 3))
    policy: Any = SimpleNamespace(vlm=SimpleNamespace(backend=""))
    with pytest.raises(SelfsightError, match="greedy tokens of generate are not"):
        sampler.check(policy, [], {"shared": lambda greedy: right, "generate": lambda greedy: wrong}, 3)
    with pytest.raises(SelfsightError, match="greedy tokens of all are not"):
        sampler.check(policy, [], {"shared": lambda greedy: right}, 4)
    rollout = SimpleNamespace(token_ids=np.zeros(3), logprobs=np.zeros(3))
    for apart, refused in ((1e-5, False), (1e-3, True)):
        policy.sample = lambda requests, sampling: {"0": [rollout]}
        policy.logprobs = lambda pairs, apart=apart: [rollout.logprobs + apart]
        if refused:
            with pytest.raises(SelfsightError, match="not the learner's"):
                sampler.check(policy, [None], {"shared": lambda greedy: right}, 3)
        else:
            checked = sampler.check(policy, [None], {"shared": lambda greedy: right}, 3)
            assert checked["sampler_minus_learner"] == pytest.approx(1e-5)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read as Linux tells it")
def test_the_most_memory_that_an_update_takes_is_seen_after_it_is_given_back() -> None:
    """In a process of its own: whether freed memory is given back depends on what else a process has done."""
    script = """
from pathlib import Path
import numpy as np
import learner
Path("/proc/self/clear_refs").write_text("5")
before = learner.resident()
taken = np.ones(2**25)  # 256 MiB, all of it written
del taken
print(learner.peak_resident() - before)
Path("/proc/self/clear_refs").write_text("5")
print(learner.peak_resident() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "bench", capture_output=True, text=True, check=True
    )
    peak, left = map(int, done.stdout.split())
    assert 200 * 2**20 < peak < 400 * 2**20
    assert left < 100 * 2**20


# ------------------------------------------------------------------------------------------------- the card


FIGURES: dict[str, Any] = {
    "weights": {"blake2b": "0", "bytes": 2**23},
    "parameters": 4_000_000,
    "seed": 1,
    "samples": 8,
    "answers": {
        "n": 90, "accuracy": 0.5, "ci95": [0.4, 0.6], "sampled": 0.45, "sampled_ci95": [0.4, 0.5], "majority": 0.61,
        "majority_ci95": [0.5, 0.7], "chance": 0.4, "format_failures": 0.01, "sampled_format_failures": 0.02,
        "families": {"chart_value": {"n": 10, "chance": 0.3, "greedy": 0.4, "sampled": 0.35, "majority": 0.5}},
    },
    "questions": {
        "sampled": 600, "valid": 0.95, "well_posed_of_sampled": 0.8,
        "families_of_valid": {"existence": 0.75, "chart_value": 0.25},
    },
    "seen_while_built": 0.05,
}  # fmt: skip


def test_the_card_states_the_figures_the_mixture_and_the_stages() -> None:
    from selfsight.starter.build import STAGES
    from selfsight.starter.card import card

    text = card(FIGURES)
    assert "Here the majority is 11.0 points above the greedy answer." in text
    assert "| **all** | 90 | 40.0 % | 50.0 % | 45.0 % | 61.0 % |" in text
    assert "| chart value | 10 | 30.0 % | 40.0 % | 35.0 % | 50.0 % |" in text
    assert "existence 75.0 %, chart value 25.0 %" in text
    assert "40% with working, 30% right but without working, 30% guessed" in text
    for stage in STAGES:
        assert f"| {stage.name} | {stage.steps} |" in text
    worse = {**FIGURES, "answers": {**FIGURES["answers"], "majority": 0.45}}
    assert "Here the majority is 5.0 points below the greedy answer." in card(worse)


def test_a_card_is_written_only_beside_the_weights_it_is_about(tmp_path: Path) -> None:
    from selfsight.run.hashing import hash_path
    from selfsight.starter.card import write_card

    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(SelfsightError, match="not the weights"):
        write_card(FIGURES, tmp_path)
    own = {**FIGURES, "weights": {"blake2b": hash_path(weights), "bytes": 7}}
    assert write_card(own, tmp_path).read_text().count(hash_path(weights)) == 1


def test_the_shipped_card_is_about_the_shipped_weights() -> None:
    from selfsight.run.hashing import hash_path
    from selfsight.starter import FOLDER

    if not (FOLDER / "model.safetensors").is_file():
        pytest.skip("this checkout carries no starter yet")
    assert hash_path(FOLDER / "model.safetensors") in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["visplay_table", "overhead"])
def test_every_command_of_the_bench_explains_itself(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{script}.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert f"python bench/{script}.py" in done.stdout
