"""The same loop on real photographs, with other model families, adapters, bfloat16 and more than one iteration."""

from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from selfsight.methods.visplay.run import evolve
from selfsight.policy.weights import weights_hash
from speaking import build_speaking
from tiny_models import BUILDERS
from watching import Watcher, lines, table

from .runs import config

VARIANTS = {
    "idefics3": ["lora.r=4", "visplay.gates.blind=true", "visplay.gates.supervisor=null"],
    "qwen3_vl": ["dtype=bfloat16", "grpo.num_iterations=2", "visplay.gates.preset=paper", "max_pixels=12544"],
}


@pytest.mark.parametrize("family", sorted(VARIANTS))
def test_a_run_on_photographs_goes_through(family: str, photographs: Path, tmp_path: Path) -> None:
    model = build_speaking(tmp_path / "model", BUILDERS[family], pack="full")
    watcher = Watcher()
    settings = config(
        model, tmp_path, f"images={photographs}", "visplay.min_pool=1", "visplay.questions_per_step=2",
        *VARIANTS[family],
    )  # fmt: skip
    summary = evolve(settings, progress=watcher)
    run = tmp_path / "run"
    assert summary["images_repeat"]
    assert [note for note in watcher.notes if "holds 12 images, fewer than the" in note]
    assert summary["images"]["images"] == 12
    for entry in summary["rounds"]:
        folder = run / "rounds" / str(entry["round"])
        questions, pool = table(folder / "questions.parquet"), table(folder / "pool.parquet")
        assert sum(row["valid"] for row in questions) > len(questions) / 2
        assert pool
        votes = table(folder / "votes.parquet")
        assert {row["question_id"] for row in pool} <= {row["question_id"] for row in votes}
        assert {row["kind"] for row in votes} == ({"vote", "blind"} if family == "idefics3" else {"vote"})
        assert all(row["image_id"].startswith("f-") and Path(row["origin"]).is_file() for row in questions)
        # There is no truth about photographs: nothing is made up.
        assert entry["pseudo_label_accuracy"] is None
        assert entry["well_posed"] is None
    base = weights_hash(AutoModelForImageTextToText.from_pretrained(model))
    last = weights_hash(AutoModelForImageTextToText.from_pretrained(run / "rounds" / "2" / "reasoner"))
    assert last != base
    learned = [line for line in lines(run / "metrics.jsonl") if "mismatch_kl" in line]
    assert learned
    tolerance = 1e-3 if family == "qwen3_vl" else 1e-6
    assert all(abs(line["mismatch_kl"]) < tolerance for line in learned)
    if family == "qwen3_vl":
        # The second pass over a batch has left the weights that sampled it.
        assert any(line["ratio_max"] > 1.02 for line in learned)


def test_two_seeds_give_two_sets_of_adapters(photographs: Path, tmp_path: Path) -> None:
    """The seed decides everything random, the inner halves of fresh adapters included."""
    from selfsight.images import image_source
    from selfsight.methods.visplay.roles import open_roles

    model = build_speaking(tmp_path / "model", BUILDERS["idefics3"], pack="full")
    hashes = []
    for seed in (0, 0, 1):
        roles = open_roles(config(model, tmp_path, "lora.r=4", f"seed={seed}"), image_source("worlds", seed=0))
        hashes.append((roles.questioner.weights_hash(), roles.reasoner.weights_hash()))
    assert hashes[0] == hashes[1]
    assert len({hash for pair in hashes for hash in pair}) == 4
