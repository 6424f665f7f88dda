"""Where a run's time went: parts that add up, and that are told apart by who spent it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from selfsight.methods import timings as module
from selfsight.methods.timings import PARTS, Timings
from selfsight.methods.visplay.run import evolve, resume
from selfsight.policy import Policy
from selfsight.policy.learner import Learner
from selfsight.policy.policy import Usage
from selfsight.policy.samplers.local import LocalSampler
from watching import Watcher

from .conftest import Witnessed
from .runs import config


def added_up(timings: Mapping[str, Any]) -> float:
    total = sum(timings[part] for part in PARTS)
    assert timings["total"] == pytest.approx(total, abs=0.002)
    assert sum(timings["phases"].values()) == pytest.approx(total - timings["loading"], abs=0.01)
    assert all(timings[part] >= 0 for part in PARTS)
    return float(total)


def test_the_parts_of_a_run_add_up_to_its_wall_time(speaker: Path, tmp_path: Path) -> None:
    start = time.perf_counter()
    summary = evolve(config(speaker, tmp_path), progress=Watcher())
    wall = time.perf_counter() - start
    total = added_up(summary["timings"])
    assert 0.9 * wall < total <= wall
    assert all(summary["timings"][part] > 0 for part in PARTS)
    assert set(summary["timings"]["phases"]) == {"evaluation", "questioner", "curation", "reasoner"}


def test_tokens_are_counted_where_they_are_sampled_and_not_in_measurement(straight: Witnessed) -> None:
    drawn = sum(
        len(rollout.token_ids)
        for at, _, _, rollouts in straight.sampled
        for rollout in rollouts
        if "measurement" not in at
    )
    assert straight.summary["timings"]["tokens_sampled"] == drawn > 0
    for policy in straight.roles.policies().values():
        assert policy.usage.tokens_sampled == sum(
            len(rollout.token_ids)
            for _, role, _, rollouts in straight.sampled
            for rollout in rollouts
            if role == policy.name
        )


@pytest.mark.parametrize(
    ("verb", "part"), [("sample", "sampling"), ("_logprobs", "scoring"), ("learn", "learning"), ("save", "controller")]
)
def test_time_is_charged_to_the_one_who_spent_it(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, part: str
) -> None:
    """On a clock that only one verb moves, all of the time is that verb's."""
    now, calls = [100.0], 0
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def slow(original: Callable[..., Any]) -> Callable[..., Any]:
        def slowed(self: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            now[0] += 10
            return original(self, *arguments, **options)

        return slowed

    owner: type = {"sample": LocalSampler, "learn": Learner}.get(verb, Policy)
    monkeypatch.setattr(owner, verb, slow(getattr(owner, verb)))
    timings = evolve(config(speaker, tmp_path, "visplay.rounds=1"), progress=Watcher())["timings"]
    assert calls >= 2
    spent = {name: timings[name] for name in PARTS if timings[name]}
    measured = spent.pop("measurement", 0.0)
    assert list(spent) == [part]
    assert spent[part] + measured == pytest.approx(10 * calls)
    assert (measured > 0) == (verb == "sample")


def test_a_resumed_run_reports_the_time_behind_its_result(speaker: Path, straight: Witnessed, tmp_path: Path) -> None:
    class Dies(Watcher):
        def phase(self, name: str, total: int | None, **more: int | None) -> None:
            if name == "round 2: questioner":
                raise KeyError
            super().phase(name, total, **more)

    with pytest.raises(KeyError):
        evolve(config(speaker, tmp_path), progress=Dies())
    start = time.perf_counter()
    timings = resume(tmp_path / "run", progress=Watcher())["timings"]
    second = time.perf_counter() - start
    assert added_up(timings) > 1.2 * second
    assert timings["tokens_sampled"] == straight.summary["timings"]["tokens_sampled"]


def test_a_lap_tells_the_policies_time_from_the_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    class Fake:
        usage = Usage()

    timings, policy = Timings(), Fake()
    now[0] += 5
    timings.loaded([policy])  # type: ignore[list-item]
    now[0] += 10
    policy.usage.seconds["sampling"] += 4
    policy.usage.seconds["learning"] += 3
    policy.usage.tokens_sampled += 70
    timings.lap("reasoner")
    now[0] += 6
    policy.usage.seconds["sampling"] += 5
    policy.usage.tokens_sampled += 1000
    timings.lap("evaluation")
    now[0] += 2
    timings.lap("evaluation", "controller")
    assert timings.summary() == {
        "total": 23.0, "loading": 5.0, "sampling": 4.0, "scoring": 0.0, "learning": 3.0, "measurement": 6.0,
        "controller": 5.0, "controller_share": round(5 / 12, 4), "tokens_sampled": 70,
        "phases": {"reasoner": 10.0, "evaluation": 8.0},
    }  # fmt: skip
    later = Timings()
    later.add(timings.state())
    now[0] += 1
    later.lap("reasoner")
    assert later.summary()["total"] == 24.0
    assert later.summary()["phases"] == {"reasoner": 11.0, "evaluation": 8.0}


def test_usage_counts_the_time_of_a_verb_that_fails() -> None:
    usage = Usage()
    with pytest.raises(KeyError), usage.spending("learning"):
        time.sleep(0.01)
        raise KeyError
    assert usage.seconds["learning"] >= 0.01
