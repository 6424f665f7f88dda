"""A run of games, exported: its model with what is known of its votes, and no questions."""

from pathlib import Path

from selfsight.export import export_run

from .game_runs import Witnessed


def test_a_run_of_games_exports_its_model_with_what_its_votes_are_worth(straight: Witnessed, tmp_path: Path) -> None:
    done = export_run(straight.path, tmp_path)
    assert done.questions is None
    text = (tmp_path / "model" / "README.md").read_text()
    assert "question answering (transfer)" in text
    assert "| spy found, greedy |" in text
    assert "In the last round's games voters found the spy" in text
    assert "labels" not in text.partition("## Known failures")[2].partition("##")[0]
    assert not (tmp_path / "questions").exists()
