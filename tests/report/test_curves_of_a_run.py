"""Curves say what metrics.jsonl says: roles apart, stages apart, long runs as means, and nothing made up."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.report.curves import Curve, Stretch, curves


def line(round: int, phase: str, step: int, /, **values: object) -> dict[str, Any]:
    return {"stage": f"round-{round}/{phase}", "step": step, **values}


def curve(found: tuple[Curve, ...], title: str) -> Curve:
    return next(one for one in found if one.title == title)


def test_roles_have_series_of_their_own_that_break_between_stages() -> None:
    metrics = [
        *(line(1, "questioner", s, reward=0.1 * s) for s in range(2)),
        line(1, "curation", 0, kept=5),
        *(line(1, "reasoner", s, reward=0.5) for s in range(3)),
        *(line(2, "questioner", s, reward=0.9) for s in range(2)),
    ]
    found = curves(metrics)
    assert found.steps == 7
    assert found.stretches == (
        Stretch(1, "questioner", 0, 1), Stretch(1, "reasoner", 2, 4), Stretch(2, "questioner", 5, 6)
    )  # fmt: skip
    questioner, reasoner = curve(found.curves, "Reward").series
    assert questioner.pieces == (((0.0, 0.0), (1.0, 0.1)), ((5.0, 0.9), (6.0, 0.9)))
    assert reasoner.pieces == (((2.0, 0.5), (3.0, 0.5), (4.0, 0.5)),)


def test_a_figure_of_both_stages_of_games_runs_through() -> None:
    metrics = [line(1, "games", s, phase="clue" if s % 2 else "decision", accuracy=0.5, reward=1.0) for s in range(4)]
    found = curves(metrics)
    assert len(curve(found.curves, "Spy found").series[0].pieces) == 1
    clue, decision = curve(found.curves, "Reward of votes").series
    assert (len(clue.pieces), len(decision.pieces)) == (2, 2)


def test_a_run_of_both_methods_has_the_series_of_both_in_one_chart() -> None:
    metrics = [line(1, "reasoner", 0, entropy=0.5), {**line(2, "games", 0, entropy=0.7), "phase": "clue"}]
    (entropy,) = curves(metrics).curves
    assert [series.name for series in entropy.series] == ["reasoner", "clue stage trains"]


def test_a_long_run_is_drawn_as_means_of_neighbours_within_a_stage() -> None:
    metrics = [line(1, "questioner", s, reward=float(s)) for s in range(5)]
    metrics += [line(1, "reasoner", s, reward=100.0) for s in range(5)]
    found = curves(metrics, most_points=5)
    assert found.per_point == 2
    questioner, reasoner = curve(found.curves, "Reward").series
    assert questioner.pieces == (((0.5, 0.5), (2.5, 2.5), (4.0, 4.0)),)
    assert {value for _, value in reasoner.pieces[0]} == {100.0}


def test_the_share_of_silent_groups_is_of_all_groups() -> None:
    found = curves([line(1, "reasoner", 0, zero_variance_groups=6, groups=24)])
    assert curve(found.curves, "Groups without signal").series[0].pieces == (((0.0, 0.25),),)


def test_a_chart_without_values_is_left_out() -> None:
    found = curves([line(1, "questioner", 0, reward=0.5, entropy="high", confidence=True)])
    assert [one.title for one in found.curves] == ["Reward"]


def test_a_run_without_steps_has_no_curves() -> None:
    assert curves([]).curves == ()
    assert curves([line(1, "curation", 0), {"stage": None}, {"stage": "round-x/reasoner", "step": 1}]).steps == 0


values = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.booleans(), st.lists(st.none(), max_size=2)
)


@given(st.lists(st.dictionaries(st.sampled_from(["stage", "step", "phase", "reward", "groups"]), values, max_size=5)))
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_the_metrics_gives_finite_points(metrics: list[dict[str, Any]]) -> None:
    whole = [{"stage": "round-1/questioner", "step": 0, **one} for one in metrics]
    for found in curves(whole).curves:
        for series in found.series:
            assert all(abs(value) < float("inf") for piece in series.pieces for _, value in piece)


def test_loss_gradient_norm_and_learning_rate_have_curves_where_they_are_on_record() -> None:
    found = curves([line(1, "reasoner", step, loss=0.1, grad_norm=1.5, learning_rate=1e-6) for step in range(3)])
    assert [one.title for one in found.curves] == ["Loss", "Gradient norm", "Learning rate"]
    assert curve(found.curves, "Learning rate").series[0].pieces[0][2] == (2.0, 1e-6)
