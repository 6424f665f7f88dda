"""Games in lock-step and what a step of them comes to, played by a script instead of a model."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero import GameSettings, RoleBaselines, ScoringSettings, SwitchSettings, deal, start
from selfsight.methods.vision_zero.playing import Played, play
from selfsight.methods.vision_zero.run import all_games
from selfsight.methods.vision_zero.steps import Standing, settle
from selfsight.methods.vision_zero.switching import SwitchState
from selfsight.policy import Rollout, SampleRequest, Sampling

from .playing import COMPACT, REAL, SPYS, by_the_book

SMALL = GameSettings(players=4, clue_rounds=1, votes=8)
CLUE, VOTE = Sampling(max_completion_length=5), Sampling(max_completion_length=3)


class Script:
    """A policy that says what `speak` says, and counts how often it was asked."""

    def __init__(self, speak: Callable[..., str] = by_the_book) -> None:
        self.speak = speak
        self.calls: list[tuple[Sequence[SampleRequest], Sampling]] = []

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        self.calls.append((requests, sampling))
        return {request.id: [self._rollout(request, k) for k in range(request.n)] for request in requests}

    def _rollout(self, request: SampleRequest, k: int) -> Rollout:
        ids = np.arange(3)
        return Rollout(request.id, k, ids, np.zeros(3, np.float32), self.speak(request, k), True, 0)


def played(count: int = 1, settings: GameSettings = SMALL, speak: Callable[..., str] = by_the_book) -> Played:
    games = [deal(settings, seed=0, id=f"g-{i}", image=REAL, spy_image=SPYS) for i in range(count)]
    return play(Script(speak), games, COMPACT, clue=CLUE, vote=VOTE)


def accusing(seat: Callable[[str], int]) -> Callable[..., str]:
    """Clues by the book, and all votes of a game for one seat."""

    def speak(request: SampleRequest, k: int) -> str:
        if "/clue/" in request.id:
            return by_the_book(request, k)
        return f"\\boxed{{{seat(request.id.split('/')[0])}}}"

    return speak


def standing(phase: str, baselines: RoleBaselines | None = None) -> Standing:
    return Standing(SwitchState(phase), baselines or RoleBaselines())  # type: ignore[arg-type]


@pytest.mark.parametrize("voter", ["seated", "referee"])
def test_a_thousand_games_take_as_many_sampling_calls_as_ten(voter: str) -> None:
    settings = GameSettings(players=3, clue_rounds=2, voter=voter, votes=2)  # type: ignore[arg-type]
    found = []
    for count in (10, 1000):
        games = [deal(settings, seed=0, id=f"g-{i}", image=REAL, spy_image=SPYS) for i in range(count)]
        script = Script()
        done = play(script, games, COMPACT, clue=CLUE, vote=VOTE)
        assert all(game.stage == "over" for game in done.games)
        assert [sampling for _, sampling in script.calls] == [CLUE] * 6 + [VOTE]
        found.append(len(script.calls))
    assert found == [7, 7]


def test_a_game_is_the_same_in_a_batch_and_alone() -> None:
    together = played(5)
    alone = play(Script(), [deal(SMALL, seed=0, id="g-3", image=REAL, spy_image=SPYS)], COMPACT, clue=CLUE, vote=VOTE)
    assert alone.games[0] == together.games[3]
    asked = [answer.request.seed for answer in alone.clues["g-3"] + alone.votes["g-3"]]
    assert asked == [answer.request.seed for answer in together.clues["g-3"] + together.votes["g-3"]]
    assert len(set(asked)) == 5


def test_a_pause_is_called_before_every_sampling_call() -> None:
    order: list[str] = []

    class Telling(Script):
        def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
            order.append("sample")
            return super().sample(requests, sampling)

    games = [deal(SMALL, seed=0, id="g", image=REAL, spy_image=SPYS)]
    play(Telling(), games, COMPACT, clue=CLUE, vote=VOTE, pause=lambda: order.append("pause"))
    assert order == ["pause", "sample"] * 5


def test_no_games_need_no_calls_and_change_nothing() -> None:
    empty = play(Script(), [], COMPACT, clue=CLUE, vote=VOTE)
    before = standing("clue", RoleBaselines(0.1, -0.05))
    step = settle(empty, before, ScoringSettings(), SwitchSettings())
    assert (step.groups, step.records, step.following) == ([], [], before)
    assert step.metrics == {"phase": "clue", "games": 0}


# The golden values: n = 4, the spy caught by all of 8 votes: r_s = -.8, r_j = +.2667; b_s = -.04 after a step from 0.
@pytest.mark.parametrize(
    ("baseline", "spy", "citizen", "after"),
    [("pre", -0.8, 0.8 / 3, -0.04), ("post", -0.76, 0.76 / 3, -0.04), ("off", -0.8, 0.8 / 3, 0.0)],
)
def test_clue_advantages_by_hand_before_and_after_the_update_and_without(
    baseline: str, spy: float, citizen: float, after: float
) -> None:
    spies = {game.id: game.secret.spy for game in played(3).games}
    batch = played(3, speak=accusing(spies.__getitem__))
    scoring = ScoringSettings(baseline=baseline)  # type: ignore[arg-type]
    step = settle(batch, standing("clue"), scoring, SwitchSettings())
    assert len(step.groups) == 3 * 4
    for group in step.groups:
        (rollout,) = group.rollouts
        game, _, _, seat = rollout.request_id.split("/")
        assert group.rewards is None and group.advantages is not None
        assert group.advantages[0] == pytest.approx(spy if int(seat) == spies[game] else citizen)
    assert step.following.baselines.spy == pytest.approx(after)
    assert step.following.baselines.citizen == pytest.approx(-after / 3)


def test_the_baselines_of_earlier_steps_are_subtracted() -> None:
    spies = {game.id: game.secret.spy for game in played(2).games}
    batch = played(2, speak=accusing(spies.__getitem__))
    step = settle(batch, standing("clue", RoleBaselines(-0.8, 0.8 / 3)), ScoringSettings(), SwitchSettings())
    assert [group.advantages for group in step.groups] == [pytest.approx([0.0], abs=1e-12)] * 8


@pytest.mark.parametrize(("phase", "kinds"), [("clue", {"clue"}), ("decision", {"vote"}), ("both", {"clue", "vote"})])
def test_only_the_stage_that_trains_makes_groups(phase: str, kinds: set[str]) -> None:
    step = settle(played(3), standing(phase), ScoringSettings(), SwitchSettings())
    assert {group.rollouts[0].request_id.split("/")[1] for group in step.groups} == kinds
    assert len(step.groups) == 3 * ((4 if "clue" in kinds else 0) + (1 if "vote" in kinds else 0))
    assert len(step.records) == 3
    moved = step.following.baselines != RoleBaselines()
    assert not moved or "clue" in kinds


def test_a_refused_clue_is_punished_alone_and_the_ledger_stays_zero_sum() -> None:
    def silent_in_seat_2(request: SampleRequest, k: int) -> str:
        return "no box here" if request.id.endswith("/clue/1/2") else by_the_book(request, k)

    step = settle(played(1, speak=silent_in_seat_2), standing("clue"), ScoringSettings(), SwitchSettings())
    clean = settle(played(1), standing("clue"), ScoringSettings(), SwitchSettings())
    differences = [
        float(a.advantages[0] - b.advantages[0])  # type: ignore[index]
        for a, b in zip(step.groups, clean.groups, strict=True)
    ]
    assert differences == pytest.approx([0.0, -0.5, 0.0, 0.0])
    assert step.following.baselines == clean.following.baselines
    assert step.metrics["invalid_clues"] == 0.25 and step.metrics["clue_penalty"] == 0.125


def test_each_mode_trains_the_stages_that_it_names() -> None:
    phases: dict[str, list[str]] = {}
    for mode in ("iterative", "clue_only", "decision_only", "both", "fixed:1"):
        switching = SwitchSettings(mode=mode, k_min=2, patience=3)
        now = Standing(start(switching), RoleBaselines())
        phases[mode] = []
        for _ in range(5):
            phases[mode].append(now.switch.phase)
            now = settle(played(), now, ScoringSettings(), switching).following
    assert phases["iterative"] == ["decision"] * 3 + ["clue"] * 2
    assert phases["fixed:1"] == ["decision", "clue", "decision", "clue", "decision"]
    for mode, phase in (("clue_only", "clue"), ("decision_only", "decision"), ("both", "both")):
        assert phases[mode] == [phase] * 5


def test_votes_that_find_every_spy_bring_the_clues_to_train_and_blind_ones_bring_the_decision_back() -> None:
    switching = SwitchSettings(k_min=2, patience=None, rho=0.5)
    spies = {game.id: game.secret.spy for game in played(2).games}
    now, phases = Standing(start(switching), RoleBaselines()), []
    for step in range(6):
        seat = spies.__getitem__ if step < 3 else lambda id: spies[id] % 4 + 1
        done = settle(played(2, speak=accusing(seat)), now, ScoringSettings(), switching)
        phases.append(done.metrics["phase"])
        now = done.following
    assert phases == ["decision", "decision", "clue", "clue", "decision", "decision"]


def test_games_of_steps_that_are_done_are_never_silently_missing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    parts = [tmp_path / f"games-{number}.jsonl" for number in range(2)]
    parts[1].write_bytes(b'{"id":"step-5/0"}\n')
    with pytest.raises(SelfsightError, match=r"games\.jsonl: is missing"):
        all_games(tmp_path / "games.jsonl", parts, first=4)
    (tmp_path / "games.jsonl").write_bytes(b'{"id":"step-4/0"}\n{"id":"step-4/1"}\n{"id":"step-5/0","old":1}\n')
    assert all_games(tmp_path / "games.jsonl", parts, first=4) == (
        b'{"id":"step-4/0"}\n{"id":"step-4/1"}\n{"id":"step-5/0"}\n'
    )
