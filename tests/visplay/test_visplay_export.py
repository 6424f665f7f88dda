"""A real run of VisPlay, exported: the model loads, and the cards say what the run has measured."""

from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from selfsight.evaluate.oracle import verdict_if_known
from selfsight.export import export_run
from selfsight.export.comparison import paired_change
from selfsight.policy.weights import weights_hash
from selfsight.run import hash_bytes
from watching import table

from .conftest import Witnessed


def test_an_exported_run_is_a_model_that_loads_and_its_own_questions(straight: Witnessed, tmp_path: Path) -> None:
    done = export_run(straight.path, tmp_path, truth=verdict_if_known)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert weights_hash(model) == straight.roles.reasoner.weights_hash()
    rows = table(tmp_path / "questions" / "train" / "metadata.parquet")
    assert done.questions is not None
    assert done.questions.kept == len(rows) == sum(entry["kept"] for entry in straight.summary["rounds"])
    right = [row["audit_label_right"] for row in rows if row["round"] == 2]
    assert sum(right) / len(right) == pytest.approx(straight.summary["rounds"][1]["pseudo_label_accuracy"])
    assert all(row["completion"][0]["content"].endswith(f"\\boxed{{{row['solution']}}}") for row in rows)
    assert (
        hash_bytes((tmp_path / "model" / "model.safetensors").read_bytes())
        in (tmp_path / "model" / "README.md").read_text()
    )


def test_a_card_compares_as_the_run_does(straight: Witnessed) -> None:
    assert paired_change(straight.path, 2) == straight.summary["delta"]
