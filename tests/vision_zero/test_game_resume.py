"""A run of games that is stopped, killed or damaged at any moment ends with the bytes of one that was not."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from interrupting import (
    DiesAt,
    DiesSoon,
    Killed,
    failing_calls,
    goes_on_from_the_checkpoint_before,
    killed_at_writes,
    newest_checkpoint,
    refused_change,
    stopped_killed_and_finished,
    until_done,
)
from selfsight.methods.vision_zero import run as loop
from selfsight.methods.vision_zero.run import Stopped, evolve, resume
from selfsight.policy import Policy
from watching import Watcher, lines, same

from .game_runs import BUDGET, Witnessed, config


def test_a_run_killed_at_every_stage_boundary_and_between_all_steps(
    player: Path, straight: Witnessed, tmp_path: Path
) -> None:
    """Between steps, and between what a step has logged and its checkpoint; each phase and both switches among them."""
    killed_at: list[str] = []
    kills = until_done(loop, config(player, tmp_path), lambda: DiesSoon(killed_at), expect=Killed, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(kills) == len(killed_at) >= 6
    assert {name.split(": ")[1] for name in killed_at} == {"games", "measurement"}


def test_a_run_killed_inside_clue_and_decision_calls(
    player: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a step, whichever stage trains in it."""
    died = []

    def die(policy: Policy, requests: Any, sampling: Any) -> None:
        died.append(requests[0].id)
        raise Killed

    watcher = failing_calls(monkeypatch, Policy, "sample", die, seed=3, between=(4, 15))
    kills = until_done(loop, config(player, tmp_path), watcher, expect=Killed, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(kills) >= 4
    assert any("/clue/" in id for id in died)


@pytest.mark.parametrize("kind", ["/clue/2/3", "/vote/referee"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_run_killed_at_a_switch(
    player: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: int
) -> None:
    """In the last step of one phase and in the first of the next, in either stage of the game."""
    sample = Policy.sample

    def deadly(self: Policy, requests: Any, sampling: Any) -> Any:
        if requests[0].id == f"step-{step}/0{kind}":
            raise Killed
        return sample(self, requests, sampling)

    with monkeypatch.context() as patch:
        patch.setattr(Policy, "sample", deadly)
        with pytest.raises(Killed):
            evolve(config(player, tmp_path), progress=Watcher())
    newest = newest_checkpoint(tmp_path / "run")
    standing = json.loads((newest / "state.json").read_text())["standing"]
    assert standing["switch"]["phase"] == ("decision" if step == 1 else "clue")
    assert standing["switch"]["steps"] == step
    resume(tmp_path / "run", progress=Watcher())
    same(tmp_path / "run", straight.path)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_writes(
    player: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Everything that must last passes through fsync: between checkpoint and journal, and in the middle of either."""
    watcher, killed_in = killed_at_writes(monkeypatch, seed)
    kills = until_done(loop, config(player, tmp_path), watcher, expect=Killed, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(kills) >= 4
    assert len(set(killed_in)) >= 3


def test_a_signal_stops_the_run_before_the_next_sampling_call_with_everything_saved(
    player: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, calls, at = Policy.sample, [0], []

    def interrupted(self: Policy, requests: Any, sampling: Any) -> Any:
        calls[0] += 1
        if calls[0] == 12:  # after the base is measured, in the second step at most; a second signal would end it
            at.append(requests[0].id)
            os.kill(os.getpid(), signal.SIGTERM)
        assert calls[0] <= 12, "a call was made after the signal"
        return sample(self, requests, sampling)

    def watcher() -> Watcher:
        calls[0] = 0
        return Watcher()

    monkeypatch.setattr(Policy, "sample", interrupted)
    settings = config(player, tmp_path, "save_steps=1000")
    stops = until_done(loop, settings, watcher, expect=Stopped, at_most=20)
    for stopped in stops:
        assert stopped.exit_code == 143
        assert "selfsight resume" in str(stopped.hint)
    assert len(stops) >= 4
    assert any("/clue/" in id for id in at)
    same(tmp_path / "run", straight.path)


@pytest.mark.parametrize(("stage", "file"), [(2, "COMPLETE"), (2, "tensors.safetensors"), (3, "state.json")])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    player: Path, straight: Witnessed, tmp_path: Path, stage: int, file: str
) -> None:
    """Also when that one lies inside a round whose parts are gone since it was finished (stage 2)."""
    goes_on_from_the_checkpoint_before(loop, config(player, tmp_path), stage, file)
    same(tmp_path / "run", straight.path)


def test_a_run_terminated_and_killed_from_the_shell_ends_the_same(
    player: Path, straight: Witnessed, tmp_path: Path
) -> None:
    done = stopped_killed_and_finished("vision-zero-smoke", player, tmp_path, BUDGET)
    assert b"plays against itself" in done.stdout
    same(tmp_path / "run", straight.path)


def test_a_longer_run_goes_on_from_a_finished_one(player: Path, straight: Witnessed, tmp_path: Path) -> None:
    evolve(config(player, tmp_path, "vision_zero.iterations=3"), progress=Watcher())
    resume(tmp_path / "run", overrides=["vision_zero.iterations=6"], progress=Watcher())
    for name in ("games.jsonl", "model/model.safetensors"):
        ours = (tmp_path / "run" / "rounds" / "2" / name).read_bytes()
        assert ours == (straight.path / "rounds" / "2" / name).read_bytes()
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 6


@pytest.fixture(scope="module")
def half_done(player: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed when its second round began."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(Killed):
        evolve(config(player, folder), progress=DiesAt("round 2"))
    return folder / "run"


@pytest.mark.parametrize(
    "change",
    [
        "method=visplay",
        "seed=1",
        "images=worlds:charts",
        "evaluation.questions=12",
        "vision_zero.players=4",
        "vision_zero.voter=seated",
        "vision_zero.rewards.alpha=0.9",
        "vision_zero.games_per_step=4",
        "vision_zero.eval_steps=2",
        "vision_zero.switching.mode=iterative",
        "vision_zero.iterations=3",
    ],
)
def test_a_change_that_would_make_nonsense_of_the_run_is_refused(half_done: Path, change: str) -> None:
    refusal = refused_change(loop, half_done, change)
    key = change.split("=")[0]
    assert key in str(refusal) + str(refusal.hint) or key == "vision_zero.rewards.alpha"
