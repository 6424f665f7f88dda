"""Which figures a tracker gets, and under which names."""

from selfsight.trackers.figures import round_figures, step_figures, summary_figures


def test_a_line_keeps_its_names_behind_its_phase() -> None:
    line = {"stage": "round-2/questioner", "step": 3, "reward": 0.5, "groups": 8, "skipped": True}
    assert step_figures(line) == {
        "questioner/reward": 0.5, "questioner/groups": 8.0, "questioner/skipped": 1.0, "round/number": 2.0,
    }  # fmt: skip


def test_names_that_a_model_wrote_and_texts_stay_here() -> None:
    line = {"stage": "round-1/games", "step": 0, "phase": "clue", "families": {"<script>": 2}, "note": "x", "kl": None}
    assert step_figures(line) == {"round/number": 1.0}


def test_gates_are_figures_too() -> None:
    line = {"stage": "round-1/curation", "step": 0, "gates": {"format": {"seen": 40, "rejected": 3}}}
    assert step_figures(line)["curation/gates/format/rejected"] == 3.0


def test_an_interval_becomes_two_figures() -> None:
    entry = {"round": 1, "heldout": {"accuracy": 0.5, "ci95": [0.4, 0.6], "families": {"counting": {"greedy": 1.0}}}}
    assert round_figures(entry) == {
        "round/heldout/accuracy": 0.5, "round/heldout/ci95/low": 0.4, "round/heldout/ci95/high": 0.6,
    }  # fmt: skip


def test_what_was_not_measured_is_no_figure() -> None:
    assert round_figures({"round": 1, "well_posed": None, "kept": float("nan"), "decisions": None}) == {}


def test_the_summary_gives_what_no_round_has_said() -> None:
    summary = {"seed": 3, "rounds": [{"kept": 1}], "delta": {"accuracy": 0.1}, "versions": {"torch": "2"}}
    assert summary_figures(summary) == {"summary/delta/accuracy": 0.1}
