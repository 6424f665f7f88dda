"""Which stage trains next, by table."""

from dataclasses import asdict, replace

import pytest

from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero import (
    SwitchSettings,
    SwitchState,
    averages,
    next_phase,
    observe,
    paper_literal,
    start,
)

DEFAULT = SwitchSettings()


@pytest.mark.parametrize(
    ("phase", "accuracy", "abstention", "since", "following"),
    [
        ("decision", 0.90, 0.10, 5, "clue"),
        ("decision", 0.899, 0.05, 9, "decision"),
        ("decision", 0.95, 0.101, 9, "decision"),
        ("decision", 0.95, 0.0, 4, "decision"),
        ("decision", 0.30, 0.9, 19, "decision"),
        ("clue", 0.60, 0.0, 5, "decision"),
        ("clue", 0.601, 0.0, 9, "clue"),
        ("clue", 0.95, 0.50, 5, "decision"),
        ("clue", 0.95, 0.499, 9, "clue"),
        ("clue", 0.30, 0.9, 4, "clue"),  # both conditions of the "or", and still not before k_min
        ("decision", 0.75, 0.3, 19, "decision"),  # between the thresholds nothing moves
        ("clue", 0.75, 0.3, 19, "clue"),
    ],
)
@pytest.mark.parametrize("rules", [DEFAULT, paper_literal()])
def test_the_table_of_the_rule(
    phase: str, accuracy: float, abstention: float, since: int, following: str, rules: SwitchSettings
) -> None:
    assert next_phase(phase, accuracy, abstention, since, rules) == following  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", ["decision", "clue"])
def test_patience_switches_between_the_thresholds_and_is_off_in_the_papers_letter(phase: str) -> None:
    other = {"decision": "clue", "clue": "decision"}[phase]
    assert next_phase(phase, 0.75, 0.3, 20, DEFAULT) == other  # type: ignore[arg-type]
    assert next_phase(phase, 0.75, 0.3, 1000, paper_literal()) == phase  # type: ignore[arg-type]
    assert next_phase(phase, 0.75, 0.3, 1000, replace(DEFAULT, patience=None)) == phase  # type: ignore[arg-type]


def first_switch(rules: SwitchSettings, accuracy: float, *, limit: int = 500) -> int | None:
    state = start(rules)
    for step in range(1, limit + 1):
        state = observe(state, accuracy, 0.0, rules)
        if state.phase != "decision":
            return step
    return None


def test_averages_that_start_at_zero_need_45_steps_at_perfect_accuracy_and_never_switch_at_the_threshold() -> None:
    assert first_switch(paper_literal(), 1.0) == 45
    assert first_switch(paper_literal(), 0.95) == 58
    assert first_switch(paper_literal(), 0.90, limit=200) is None


def test_corrected_averages_switch_as_soon_as_they_may() -> None:
    assert first_switch(DEFAULT, 1.0) == 5
    assert first_switch(DEFAULT, 0.9) == 5
    assert first_switch(replace(DEFAULT, patience=None), 0.899, limit=200) is None
    assert first_switch(DEFAULT, 0.899) == 20


def test_the_corrected_average_of_equal_observations_is_the_observation() -> None:
    state = start(DEFAULT)
    assert averages(state, DEFAULT) == (0.0, 0.0)
    for _ in range(3):
        state = observe(state, 0.7, 0.2, DEFAULT)
        assert averages(state, DEFAULT) == pytest.approx((0.7, 0.2))
    assert averages(state, paper_literal()) == pytest.approx((0.7 * (1 - 0.95**3), 0.2 * (1 - 0.95**3)))


def test_averages_live_on_through_a_switch_and_the_count_of_steps_starts_again() -> None:
    state = start(DEFAULT)
    for _ in range(5):
        state = observe(state, 1.0, 0.0, DEFAULT)
    assert (state.phase, state.since_switch, state.steps) == ("clue", 0, 5)
    assert averages(state, DEFAULT)[0] == pytest.approx(1.0)
    steps = 0
    while state.phase == "clue":
        state, steps = observe(state, 0.0, 0.0, DEFAULT), steps + 1
    assert 5 <= steps < 20 and state.steps == 5 + steps  # by the rule, not by patience


@pytest.mark.parametrize(
    ("mode", "phases"),
    [
        ("clue_only", ["clue"] * 8),
        ("decision_only", ["decision"] * 8),
        ("both", ["both"] * 8),
        ("fixed:1", ["decision", "clue"] * 4),
        ("fixed:3", ["decision"] * 3 + ["clue"] * 3 + ["decision"] * 2),
        ("iterative", ["decision"] * 5 + ["clue"] * 3),
    ],
)
def test_what_trains_in_each_mode(mode: str, phases: list[str]) -> None:
    rules = SwitchSettings(mode=mode)
    state, seen = start(rules), []
    for _ in phases:
        seen.append(state.phase)
        assert state.trains("clue") is (state.phase in ("clue", "both"))
        assert state.trains("decision") is (state.phase in ("decision", "both"))
        state = observe(state, 1.0, 0.0, rules)
    assert seen == phases


def test_a_state_that_was_written_down_goes_on_as_if_nothing_had_happened() -> None:
    straight = resumed = start(DEFAULT)
    for step in range(60):
        observed = (0.5 + 0.5 * ((step * 7) % 10) / 10, ((step * 3) % 5) / 10)
        straight = observe(straight, *observed, DEFAULT)
        resumed = observe(SwitchState(**asdict(resumed)), *observed, DEFAULT)
    assert resumed == straight


@pytest.mark.parametrize("mode", ["fixed", "fixed:0", "fixed:-1", "fixed:01", "alternate", "fixed:k", "fixed:٣"])
def test_an_unknown_mode_is_refused_with_the_choices(mode: str) -> None:
    with pytest.raises(SelfsightError, match="iterative, clue_only"):
        SwitchSettings(mode=mode)


@pytest.mark.parametrize("wrong", [{"rho": 1.0}, {"k_min": 0}, {"patience": 4}])
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SelfsightError):
        SwitchSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("observed", [(1.1, 0.0), (0.0, -0.1), (float("nan"), 0.0)])
def test_only_shares_are_observed(observed: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a share"):
        observe(start(DEFAULT), *observed, DEFAULT)
