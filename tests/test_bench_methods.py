"""Promises about the table of methods: what it measures of each, and that runs without games vote like those with."""

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import methods_table  # noqa: E402
from selfsight.evaluate.games import read_decisions  # noqa: E402
from speaking import build_speaking  # noqa: E402
from tiny_models import build_qwen2_5_vl  # noqa: E402

TINY = (
    "visplay.rounds=1", "visplay.gates.preset=paper", "visplay.gates.supervisor=null", "visplay.gates.band=[0.0, 1.0]",
    "visplay.gates.agreement_floor=null", "vision_zero.players=3", "vision_zero.clue_rounds=1",
    "vision_zero.games_per_step=2", "vision_zero.iterations=2", "vision_zero.eval_steps=1", "vision_zero.eval_games=6",
    "vision_zero.max_clue_length=8",
    "vision_zero.max_vote_length=6", "evaluation.questions=9", "evaluation.num_samples=2",
)  # fmt: skip


def test_a_table_of_methods_measures_both_skills_of_each_on_the_same_questions_and_clues(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build_speaking(tmp_path_factory.mktemp("models") / "player", build_qwen2_5_vl, games=True)
    smoke = {name: methods_table.Schedule(f"{name}-smoke", ()) for name in ("visplay", "vision-zero", "mixed")}
    monkeypatch.setattr(methods_table, "SCHEDULES", smoke)
    out, overrides = tmp_path / "out", [f"model={model}", *TINY]
    again = ["--out", str(out), "--seeds", "1", *overrides]
    assert methods_table.main(again) == 0
    first = capsys.readouterr().out
    rows = json.loads((out / "methods.json").read_text())["methods"]
    assert set(rows) == set(smoke)
    for name, row in rows.items():
        summary = json.loads((out / "runs" / f"{name}-seed1" / "summary.json").read_text())
        assert row["tokens_sampled"] == [summary["timings"]["tokens_sampled"]]
        assert row["answers"]["sampled"] == pytest.approx([summary["base"]["sampled"], summary["final"]["sampled"]])
        assert row["answers_change"]["greedy"]["mean"] == pytest.approx(summary["delta"]["accuracy"])
        if name != "visplay":
            last = summary["rounds"][-1]["decisions"]
            assert row["votes"]["greedy"] == pytest.approx([summary["base_decisions"]["accuracy"], last["accuracy"]])
    assert set(rows["visplay"]["mixed_minus_this"]) == {"answers", "votes"}
    assert "| mixed − visplay | " in first

    # Nothing is voted on twice.
    (kept,) = (out / "votes").glob("visplay-seed1-*.jsonl")
    cast = kept.stat().st_mtime_ns
    assert methods_table.main([*again, "--collect-only"]) == 0
    assert capsys.readouterr().out == first
    assert kept.stat().st_mtime_ns == cast

    # Votes cast here are those of a run with games: the base's own come out the same.
    options = argparse.Namespace(
        out=out, variants=["visplay", "vision-zero"], seeds=[1], threads=1, overrides=overrides
    )
    asked, played = methods_table.planned(options)
    moved = dataclasses.replace(asked, out=tmp_path / "moved")
    shutil.copytree(model, moved.folder / "rounds" / "1" / "reasoner")
    assert methods_table._vote(moved, played) == read_decisions(played.folder / "rounds" / "0" / "decisions.jsonl")


def test_a_table_of_methods_needs_one_that_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert methods_table.main(["--out", str(tmp_path / "out"), "--variants", "visplay"]) == 2
    assert "one of vision-zero and mixed" in capsys.readouterr().err


def test_the_schedules_of_the_methods_are_settings_that_exist(tmp_path: Path) -> None:
    names = list(methods_table.SCHEDULES)
    options = argparse.Namespace(out=tmp_path, variants=names, seeds=[0], threads=1, overrides=[])
    assert [run.config().method for run in methods_table.planned(options)] == names
