"""Alarms in runs of VisPlay: a model that has collapsed is noticed; a run stops, or goes back to its best round."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText

import speaking
from interrupting import DiesSoon, Killed, flip_a_bit, until_done
from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods import loop as every_loop
from selfsight.methods.alarms import rounds
from selfsight.methods.alarms.ending import StoppedByAlarm
from selfsight.methods.alarms.rules import watched
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import evolve, resume
from selfsight.policy.weights import weights_hash
from selfsight.report import render_summary
from selfsight.report.overview import overview
from selfsight.report.reading import read_run
from selfsight.run import read_journal
from selfsight.run.hashing import hash_bytes
from tiny_models import build_qwen2_5_vl
from watching import Watcher, lines, same

from .conftest import Witnessed
from .runs import config

# Off, but for one that goes off at every curation and measurement.
ALWAYS = tuple(
    f"alarms.{name}={'0.01' if name == 'answer_prior' else 'null'}"
    for name in ("question_cluster", "family_entropy", "novelty", "answer_prior", "zero_variance", "policy_kl",
                 "policy_entropy", "format_failures", "label_accuracy", "label_accuracy_drop", "confidence_gap",
                 "heldout_drop", "length_drift")
)  # fmt: skip
# ... that cannot go off before the second round's curation, and always does then.
LATE = (*ALWAYS, "alarms.novelty=1.0", "alarms.answer_prior=null")


def fired(run: Path) -> list[dict[str, Any]]:
    return [line for line in lines(run / "alarms.jsonl") if line["state"] == "fired"]


def shown(summary: Mapping[str, Any]) -> str:
    out = io.StringIO()
    render_summary(summary, out)
    return " ".join(out.getvalue().split())


def scripted_accuracies(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Lets held-out accuracy be what it says, round by round."""
    original, left = every_loop.summarise, list(accuracies)

    def summarise(*arguments: Any) -> dict[str, object]:
        return original(*arguments) | {"accuracy": left.pop(0)}

    monkeypatch.setattr(every_loop, "summarise", summarise)


@pytest.fixture(scope="module")
def one_track(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that asks one question, has one answer, and hardly ever says anything else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaking, "QUESTIONS", ("How many| red squares| can you see in this picture?",))
        patch.setattr(speaking, "ANSWERS", ("\\boxed{|yes|}",))
        patch.setattr(speaking, "_IMPOSSIBLE", -18.0)
        return speaking.build_speaking(tmp_path_factory.mktemp("models") / "one-track", build_qwen2_5_vl)


def test_a_collapsed_model_sets_off_the_alarms_that_are_there_for_it(one_track: Path, tmp_path: Path) -> None:
    gates = "visplay.gates={preset: paper, band: [0.0, 1.0]}"  # which let everything through
    size = ("visplay.images_per_step=5", "visplay.pool_images=12", "evaluation.questions=18")
    evolve(config(one_track, tmp_path, gates, *size), progress=Watcher())
    gone_off = {(line["phase"], line["alarm"]) for line in fired(tmp_path / "run")}
    assert {
        ("curation", "question_cluster"), ("curation", "novelty"), ("curation", "answer_prior"),
        ("questioner", "zero_variance"), ("reasoner", "zero_variance"),
        ("evaluation", "answer_prior"), ("evaluation", "label_accuracy"), ("evaluation", "confidence_gap"),
    } <= gone_off  # fmt: skip


def test_answers_that_need_no_image_set_off_an_alarm_where_they_are_asked_for(one_track: Path, tmp_path: Path) -> None:
    settings = ("visplay.gates.blind=true", "visplay.gates.agreement_ceiling=1.0", "visplay.gates.duplicates=false",
                "visplay.rounds=1", "visplay.reasoner_steps=0", "visplay.pool_images=12")  # fmt: skip
    summary = evolve(config(one_track, tmp_path, *settings), progress=Watcher())
    (found,) = (line for line in fired(tmp_path / "run") if line["alarm"] == "blind_answers")
    assert (found["phase"], found["value"], found["limit"]) == ("curation", 1.0, 0.6)
    assert "blind_answers" not in summary["alarms"]["not_measured"]


def test_a_run_that_speaks_in_many_ways_sets_off_none_about_questions_or_weights(straight: Witnessed) -> None:
    """Its answers do collapse, at this learning rate: nearly all are the same in the end, and that is noticed."""
    calm = {line["alarm"] for line in fired(straight.path)}
    assert not calm & {"question_cluster", "family_entropy", "zero_variance", "policy_kl", "policy_entropy"}
    assert "answer_prior" in calm


def test_every_alarm_is_looked_at_in_every_stage_it_is_about(straight: Witnessed) -> None:
    found = lines(straight.path / "alarms.jsonl")
    assert list(dict.fromkeys(line["stage"] for line in found)) == [
        f"round-{round}/{phase}" for round in (1, 2) for phase in ("questioner", "curation", "reasoner", "evaluation")
    ]
    assert {line["alarm"] for line in found} == {rule.name for rule in watched(straight.config)}
    assert {line["phase"]: line["steps"] for line in found} == {
        "questioner": 2, "curation": None, "reasoner": 3, "evaluation": None,
    }  # fmt: skip
    assert all((line["value"] is None) == (line["state"] == "not measured") for line in found)
    account = straight.summary["alarms"]
    assert (account["policy"], account["off"]) == ("warn", [])
    assert account["not_measured"]["blind_answers"].startswith("nobody was asked without the image")
    assert "novelty" not in account["not_measured"]  # only in the first round
    assert [line["says"] for line in account["fired"]] == [line["says"] for line in fired(straight.path)]
    assert [note for note in straight.watcher.notes if note.startswith("ALARM")] == [
        note for note in straight.watcher.notes if any(line["says"] in note for line in account["fired"])
    ]
    assert ("ALARM" in " ".join(straight.watcher.notes)) == bool(account["fired"])
    assert (straight.summary["final_round"], straight.summary["final_model"]) == (2, "rounds/2/reasoner")
    assert straight.summary["rollback"] is None


def test_an_alarm_stops_the_run_with_everything_saved_and_it_goes_on_as_if_nothing_had_been(
    speaker: Path, tmp_path: Path
) -> None:
    undisturbed = evolve(config(speaker, tmp_path, *ALWAYS, run_name="undisturbed"), progress=Watcher())
    watcher = Watcher()
    with pytest.raises(StoppedByAlarm) as stopped:
        evolve(config(speaker, tmp_path, *ALWAYS, "alarms.policy=stop"), progress=watcher)
    run = tmp_path / "run"
    assert stopped.value.exit_code == 3
    assert "stopped by an alarm after round 1, curation (answer_prior)" in stopped.value.message
    assert f"selfsight resume {run} visplay.gates.max_answer_share=0.25" in str(stopped.value.hint)
    assert watcher.notes[-1].startswith("ALARM answer_prior at the end of round 1, curation")
    assert not (run / "rounds" / "1" / "reasoner").exists()  # nothing was learned from that pool
    with pytest.raises(StoppedByAlarm, match="round 1, measurement"):
        resume(run, progress=Watcher())
    # A stop in the last stage would have nothing left to stop.
    summary = resume(run, overrides=["alarms.policy=warn"], progress=Watcher())
    assert summary == undisturbed | {"timings": summary["timings"]}
    same(run, tmp_path / "undisturbed")


def test_an_alarm_at_the_end_of_the_last_round_stops_nothing(speaker: Path, tmp_path: Path) -> None:
    settings = [
        *ALWAYS,
        "alarms.answer_prior=null",
        "alarms.heldout_drop=0.0",
        "visplay.rounds=1",
        "alarms.policy=stop",
    ]
    with pytest.MonkeyPatch.context() as patch:
        scripted_accuracies(patch, 0.5, 0.4)
        patch.setattr(rounds, "SURE", 1.1)  # scripted accuracies have no questions behind them to be judged by
        summary = evolve(config(speaker, tmp_path, *settings), progress=Watcher())
    assert [line["alarm"] for line in summary["alarms"]["fired"]] == ["heldout_drop"]
    assert summary["final_round"] == 1


def test_a_rollback_ends_the_run_with_the_best_round_as_its_result(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_accuracies(monkeypatch, 0.2, 0.6)
    watcher = Watcher()
    summary = evolve(config(speaker, tmp_path, *LATE, "alarms.policy=rollback"), progress=watcher)
    run = tmp_path / "run"
    assert watcher.notes[-1].startswith(
        "ROLLED BACK to round 1, the best of 2 measurements by held-out accuracy (60.0%)"
    )
    assert summary["rollback"] == {
        "stage": "round-2/curation", "alarms": ["novelty"], "to": 1, "measured": 1, "by": "held-out accuracy",
        "scores": [0.2, 0.6],
    }  # fmt: skip
    assert (summary["final_round"], summary["final_model"]) == (1, "rounds/1/reasoner")
    assert [entry["round"] for entry in summary["rounds"]] == [1]
    assert summary["final"] == summary["rounds"][0]["heldout"]
    entry = read_journal(run / "journal.jsonl")[-1]
    assert (entry.stage, entry.inputs) == ("round-2/rollback", {"weights": summary["final_weights"]})
    # The fingerprint is that of both roles, as they were measured: they are the folders on disk.
    models = [
        AutoModelForImageTextToText.from_pretrained(run / "rounds/1" / name) for name in ("questioner", "reasoner")
    ]
    assert summary["final_weights"] == hash_bytes(" ".join(weights_hash(model) for model in models).encode())
    assert "Rolled back: alarms ended this run (novelty), and its result is round 1" in shown(summary)
    headline = overview(read_run(run), []).headline
    assert any(sentence.startswith("Rolled back") for sentence in headline.sentences)
    for again in (Watcher(), Watcher()):
        assert resume(run, progress=again) == json.loads((run / "summary.json").read_text())
        assert again.phases == [] and any(note.startswith("ROLLED BACK to round 1") for note in again.notes)
    with pytest.raises(SelfsightError, match="was rolled back to round 1 and has ended") as refusal:
        resume(run, overrides=["visplay.rounds=3"], progress=Watcher())
    assert f"model={run}/rounds/1/reasoner" in str(refusal.value.hint)


def test_a_run_that_only_got_worse_is_rolled_back_to_the_base(speaker: Path, tmp_path: Path) -> None:
    summary = evolve(config(speaker, tmp_path, *ALWAYS, "alarms.policy=rollback"), progress=Watcher())
    assert (summary["final_round"], summary["final_model"]) == (0, str(speaker))
    assert (summary["rounds"], summary["final"]) == ([], summary["base"])
    assert summary["delta"]["accuracy"] == 0.0
    assert "its result is the base model, the only one that was measured." in shown(summary)
    found = overview(read_run(tmp_path / "run"), [])
    assert found.headline.status == "unclear"
    assert found.before_after[0].before == found.before_after[0].after


def test_the_best_round_is_not_rolled_back(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_accuracies(monkeypatch, 0.2, 0.6)
    watcher = Watcher()
    settings = [
        *ALWAYS,
        "alarms.answer_prior=null",
        "alarms.label_accuracy=1.0",
        "visplay.pool_images=40",
        "alarms.policy=rollback",
        "visplay.rounds=1",
    ]
    summary = evolve(config(speaker, tmp_path, *settings), progress=watcher)
    assert watcher.notes[-1] == "nothing to roll back: round 1 is the best so far; going on"
    assert (summary["final_round"], summary["rollback"]) == (1, None)


def test_a_run_killed_around_its_rollback_ends_the_same(speaker: Path, tmp_path: Path) -> None:
    settings = ["alarms.policy=rollback", *LATE]
    evolve(config(speaker, tmp_path, *settings, run_name="undisturbed"), progress=Watcher())
    killed_at: list[str] = []
    until_done(loop, config(speaker, tmp_path, *settings), lambda: DiesAtRollback(killed_at), expect=Killed, at_most=99)
    same(tmp_path / "run", tmp_path / "undisturbed")
    assert "note" in killed_at and len(killed_at) > 4


class DiesAtRollback(DiesSoon):
    """Also dies once when it is told of the rollback, which is before the checkpoint that knows of it."""

    def note(self, text: str) -> None:
        super().note(text)
        if text.startswith("ROLLED BACK") and "note" not in self._killed_at:
            self._killed_at.append("note")
            raise Killed


def test_a_result_that_was_damaged_meanwhile_is_named(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_accuracies(monkeypatch, 0.2, 0.6)
    run = tmp_path / "run"

    class Damages(Watcher):
        def phase(self, name: str, total: int | None, **more: int | None) -> None:
            if name == "round 2: questioner":
                flip_a_bit(run / "rounds/1/reasoner/model.safetensors")

    settings: EvolveConfig = config(speaker, tmp_path, *LATE, "alarms.policy=rollback")
    with pytest.raises(SelfsightError, match=r"rounds/1/reasoner .* is changed"):
        evolve(settings, progress=Damages())
