"""A mixed run, exported: the questions of its rounds of questions, and the model of its last round of games."""

from pathlib import Path

from selfsight.evaluate.oracle import verdict_if_known
from selfsight.export import export_run
from watching import table

from .conftest import Witnessed


def test_a_mixed_run_exports_its_questions_and_the_model_that_played_last(straight: Witnessed, tmp_path: Path) -> None:
    done = export_run(straight.path, tmp_path, truth=verdict_if_known)
    assert done.model is not None
    assert done.model.round == 4
    rows = table(tmp_path / "questions" / "train" / "metadata.parquet")
    assert {row["round"] for row in rows} == {1, 3}
    text = (tmp_path / "model" / "README.md").read_text()
    assert "VisPlay, arXiv 2511.15661 and Vision-Zero, arXiv 2509.25541" in text
    assert "| spy found, greedy |" in text
    assert "weights: round 4, ` model `" in text
    assert "The model plays against itself" in text
    voted = straight.summary["rounds"][-1]["decisions"]["change"]
    assert ("Not shown to be better: spy found, greedy" in text) == (voted["ci95"][0] <= 0)
