"""Alarms in runs of Vision-Zero: voters who name nobody are noticed, and a run goes back to its best round."""

from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

import speaking
from selfsight.methods.vision_zero import measure
from selfsight.methods.vision_zero.run import evolve
from selfsight.policy.weights import weights_hash
from selfsight.report.overview import overview
from selfsight.report.reading import read_run
from selfsight.run.hashing import hash_bytes
from tiny_models import build_qwen2_5_vl
from watching import Watcher, lines

from .game_runs import Witnessed, config

OFF = tuple(
    f"alarms.{name}=null"
    for name in ("answer_prior", "zero_variance", "policy_kl", "policy_entropy", "format_failures", "heldout_drop",
                 "abstention", "length_drift")
)  # fmt: skip


def test_voters_who_name_nobody_set_off_the_alarms_of_games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "VOTES", ("I vote \\boxed{|n/a|}",))
    monkeypatch.setattr(speaking, "_IMPOSSIBLE", -18.0)
    model = speaking.build_speaking(tmp_path / "model", build_qwen2_5_vl, games=True)
    settings = ("vision_zero.switching.mode=decision_only", "vision_zero.iterations=3")
    evolve(config(model, tmp_path, *settings), progress=Watcher())
    fired = {(line["phase"], line["alarm"], line["who"]): line for line in lines(tmp_path / "run" / "alarms.jsonl")
             if line["state"] == "fired"}  # fmt: skip
    assert fired["evaluation", "abstention", ""]["value"] == 1.0
    assert fired["evaluation", "role_wins", "spy"]["value"] == 1.0
    assert fired["games", "zero_variance", "player"]["value"] == 1.0


def test_a_run_of_games_is_watched_for_what_games_can_show(straight: Witnessed) -> None:
    found = lines(straight.path / "alarms.jsonl")
    assert list(dict.fromkeys(line["stage"] for line in found)) == [
        f"round-{round}/{phase}" for round in (1, 2) for phase in ("games", "evaluation")
    ]
    assert {line["alarm"] for line in found} == {
        "answer_prior", "zero_variance", "policy_kl", "policy_entropy", "format_failures", "heldout_drop", "role_wins",
        "abstention", "length_drift",
    }  # fmt: skip
    fired = {line["alarm"] for line in found if line["state"] == "fired"}
    assert not fired & {"abstention", "policy_kl", "policy_entropy", "length_drift"}
    assert (straight.summary["final_round"], straight.summary["final_model"]) == (2, "rounds/2/model")


def test_a_run_of_games_is_rolled_back_by_the_spies_it_found(
    player: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = measure.summarise, [0.2, 0.6, 0.4]
    monkeypatch.setattr(measure, "summarise", lambda found: original(found) | {"accuracy": left.pop(0)})
    watcher = Watcher()
    always = ("alarms.role_wins=0.5", "alarms.policy=rollback")  # of nine games one side wins more
    summary = evolve(config(player, tmp_path, *OFF, *always), progress=watcher)
    assert "nothing to roll back: round 1 is the best so far; going on" in watcher.notes
    back = summary["rollback"]
    assert (back["by"], back["scores"], back["to"]) == ("spies found in held-out games", [0.2, 0.6, 0.4], 1)
    assert (summary["final_round"], summary["final_model"]) == (1, "rounds/1/model")
    assert [entry["round"] for entry in summary["rounds"]] == [1, 2]
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "run" / "rounds/1/model")
    assert summary["final_weights"] == hash_bytes(weights_hash(model).encode())
    found = overview(read_run(tmp_path / "run"), [])
    assert any(sentence.startswith("Rolled back") for sentence in found.headline.sentences)
    assert "60.0 %" in found.before_after[0].after
