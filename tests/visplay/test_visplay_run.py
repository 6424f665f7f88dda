"""A whole run of VisPlay: what it leaves on disk, and that its numbers follow from each other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from interrupting import newest_checkpoint
from selfsight.evaluate.oracle import true_label
from selfsight.images.source import ImageRef
from selfsight.language import count_votes
from selfsight.methods.parts import part
from selfsight.methods.visplay.records import VOTES
from selfsight.methods.visplay.rewards import answer_rewards, question_rewards
from selfsight.methods.visplay.run import _all_votes, resume
from selfsight.policy.weights import weights_hash
from selfsight.run import derive, read_journal
from selfsight.run.tables import read_table, write_columns, write_table
from watching import Watcher, lines, same, table

from .conftest import Witnessed

ROUNDS = (1, 2)


def test_a_run_leaves_its_rounds_on_disk(straight: Witnessed) -> None:
    names = {"asked", "asked_votes", "questions", "votes", "pool", "evaluation"}
    for round in ROUNDS:
        folder = straight.path / "rounds" / str(round)
        assert {path.name for path in folder.iterdir()} == {
            *(f"{name}.parquet" for name in names), "questioner", "reasoner", "round.json",
        }  # fmt: skip
    stages = [entry.stage for entry in read_journal(straight.path / "journal.jsonl")]
    assert stages == [
        "round-0/evaluation",
        *(f"round-{r}/{phase}" for r in ROUNDS for phase in ("questioner", "curation", "reasoner", "evaluation")),
    ]
    assert (straight.path / "config.yaml").is_file()


def test_the_summary_keeps_its_contract(straight: Witnessed) -> None:
    written = json.loads((straight.path / "summary.json").read_text())
    assert written == straight.summary
    assert {"method", "recipe", "seed", "rounds", "base", "final", "delta", "timings", "versions"} <= set(written)
    assert (written["method"], written["recipe"], written["seed"]) == ("visplay", "visplay-smoke", 0)
    assert [entry["round"] for entry in written["rounds"]] == [1, 2]
    for entry in written["rounds"]:
        folder = straight.path / "rounds" / str(entry["round"])
        questions, pool = table(folder / "questions.parquet"), table(folder / "pool.parquet")
        assert entry["candidates"] == len(questions)
        assert entry["kept"] == len(pool)
        assert entry["kept"] + sum(entry["rejected"].values()) == entry["candidates"]
        asked = [row["confidence"] for row in questions if row["confidence"] is not None]
        assert entry["mean_confidence"] == pytest.approx(sum(asked) / len(asked))
        assert 0 <= entry["pseudo_label_accuracy"] <= 1
        assert {"accuracy", "ci95", "n", "format_failures"} <= set(entry["heldout"])
    assert written["final"] == written["rounds"][-1]["heldout"]
    change = written["final"]["accuracy"] - written["base"]["accuracy"]
    assert written["delta"]["accuracy"] == pytest.approx(change)
    assert written["images"]["kind"] == "worlds"


@pytest.mark.parametrize("round", ROUNDS)
@pytest.mark.parametrize("role", ["questioner", "reasoner"])
def test_transformers_loads_the_model_of_every_round_with_the_very_weights(
    straight: Witnessed, role: str, round: int
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(straight.path / "rounds" / str(round) / role)
    phases = [name for name, *_ in straight.hashes]
    after = straight.hashes[phases.index(f"round {round}: {role}") + 1]
    assert weights_hash(model) == after[1 if role == "questioner" else 2]
    assert model.config.selfsight_prompt_pack == "compact"


@pytest.mark.parametrize("round", ROUNDS)
def test_questions_votes_and_pool_are_joined_by_question_id(straight: Witnessed, round: int) -> None:
    folder = straight.path / "rounds" / str(round)
    questions = {row["question_id"]: row for row in table(folder / "questions.parquet")}
    votes: dict[str, list[dict]] = {}
    for row in table(folder / "votes.parquet"):
        votes.setdefault(row["question_id"], []).append(row)
    assert len(questions) == straight.summary["rounds"][round - 1]["candidates"] == 24
    floor = straight.config.visplay.gates.plausibility_floor
    assert floor is not None
    for id, row in questions.items():
        asked = row["valid"] and row["min_logprob"] >= floor
        assert (id in votes) == asked
        if asked:
            assert [vote["sample"] for vote in votes[id]] == list(range(6))
            counted = count_votes([vote["key"] for vote in votes[id]])
            assert (row["confidence"], row["label"]) == (counted.confidence, counted.label)
        assert row["kept"] == (row["gate"] == "")
    pool = table(folder / "pool.parquet")
    assert {row["question_id"] for row in pool} == {id for id, row in questions.items() if row["kept"]}
    assert pool
    for item in pool:
        asked_about = questions[item["question_id"]]
        assert [item[key] for key in ("image_id", "origin", "question", "confidence")] == [
            asked_about[key] for key in ("image_id", "origin", "question", "confidence")
        ]
        assert item["label"] == count_votes([vote["key"] for vote in votes[item["question_id"]]]).winner


@pytest.mark.parametrize("round", ROUNDS)
def test_the_questioners_rewards_follow_from_the_answers_it_got(straight: Witnessed, round: int) -> None:
    """From the rollouts themselves to asked.parquet and to the groups that were learned from."""
    phase = f"round {round}: questioner"
    keys = {
        request.id: [straight.roles.pack.read_key(rollout) for rollout in rollouts]
        for at, role, request, rollouts in straight.sampled
        if at == phase and role == "reasoner"
    }
    rows = table(straight.path / "rounds" / str(round) / "asked.parquet")
    groups = [group for at, _, learned, _ in straight.learned if at == phase for group in learned]
    assert len(rows) == 4 * len(groups) == 24
    for number, group in enumerate(groups):
        members = rows[4 * number : 4 * number + 4]
        assert {row["image_id"] for row in members} == {group.prompt.image and group.prompt.image.id}
        votes = [count_votes(keys[row["question_id"]]) if row["question_id"] in keys else None for row in members]
        rewards = question_rewards(
            [vote is not None for vote in votes], votes, [row["question"] for row in members], diversity_weight=1.0
        )
        for row, reward, vote in zip(members, rewards, votes, strict=True):
            assert (row["r_unc"], row["r_div"], row["reward"]) == (reward.r_unc, reward.r_div, reward.reward)
            assert row["cluster"] == reward.cluster
            assert row["confidence"] == (None if vote is None else vote.confidence)
            assert (vote is not None) == (row["valid"] and row["gate"] is None)
        assert group.rewards.tolist() == [row["reward"] for row in members]
        assert [rollout.text for rollout in group.rollouts] == [row["completion"] for row in members]
    assert len({row["reward"] for row in rows}) > 3


@pytest.mark.parametrize("round", ROUNDS)
def test_the_answers_behind_the_questioners_rewards_are_kept_word_by_word(straight: Witnessed, round: int) -> None:
    phase = f"round {round}: questioner"
    drawn = [
        (request.id, rollout.index, straight.roles.pack.read_key(rollout), rollout.text)
        for at, role, request, rollouts in straight.sampled
        if at == phase and role == "reasoner"
        for rollout in rollouts
    ]
    kept = table(straight.path / "rounds" / str(round) / "asked_votes.parquet")
    assert [(row["question_id"], row["sample"], row["key"], row["text"]) for row in kept] == drawn
    assert {row["kind"] for row in kept} == {"vote"}
    assert len(drawn) > 40


def test_answers_of_steps_whose_parts_are_gone_are_taken_from_the_whole_table(tmp_path: Path) -> None:
    """Where a damaged checkpoint sends a run back into a finished phase, the bytes must come out the same."""

    def rows(step: int) -> list[dict[str, object]]:
        return [
            {"question_id": f"r1/questioner/{step}/w/{i}", "sample": 0, "kind": "vote", "key": key, "text": f"{step}"}
            for i, key in enumerate(("num:1", None) if step else ())
        ]

    parts = [part(tmp_path, "asked_votes", step) for step in range(12)]
    for step, path in enumerate(parts):
        write_table(path, rows(step), VOTES)
    whole = tmp_path / "asked_votes.parquet"
    write_columns(whole, _all_votes(tmp_path, 1, 12))
    written = whole.read_bytes()
    assert read_table(whole, VOTES) == [row for step in range(12) for row in rows(step)]
    for step in (0, 1, 2, 11):
        parts[step].unlink()
    write_columns(whole, _all_votes(tmp_path, 1, 12))
    assert whole.read_bytes() == written
    write_table(whole, [row for step in range(12) for row in rows(step)], VOTES)
    assert whole.read_bytes() == written


@pytest.mark.parametrize("round", ROUNDS)
def test_the_reasoner_sees_each_pool_question_once_and_is_rewarded_by_its_label(
    straight: Witnessed, round: int
) -> None:
    pool = {row["question_id"]: row for row in table(straight.path / "rounds" / str(round) / "pool.parquet")}
    phase = f"round {round}: reasoner"
    asked = [request for at, _, request, _ in straight.sampled if at == phase]
    steps = min(3, len(pool) // 3)
    assert len(asked) == len({request.id for request in asked}) == steps * 3
    assert {request.id for request in asked} <= set(pool)
    groups = [group for at, _, learned, _ in straight.learned if at == phase for group in learned]
    for request, group in zip(asked, groups, strict=True):
        keys = [straight.roles.pack.read_key(rollout) for rollout in group.rollouts]
        assert group.rewards.tolist() == list(answer_rewards(keys, pool[request.id]["label"]))
        assert request.prompt == group.prompt


def test_one_prompt_builder_serves_votes_labels_training_and_evaluation(straight: Witnessed) -> None:
    by_question = {(at, request.id): request.prompt for at, role, request, _ in straight.sampled if role == "reasoner"}
    trained = [(at, id) for at, id in by_question if at.endswith(": reasoner")]
    assert trained
    encoder = straight.roles.reasoner.vlm.encoder
    for at, id in trained:
        label_prompt, prompt = by_question[at.replace("reasoner", "curation"), id], by_question[at, id]
        assert encoder.encode(prompt).input_ids.tolist() == encoder.encode(label_prompt).input_ids.tolist()
        assert prompt.image is not None
        again = straight.roles.pack.reasoner(prompt.image, prompt.user)
        assert encoder.encode(again).input_ids.tolist() == encoder.encode(prompt).input_ids.tolist()
    heldout = [prompt for (at, id), prompt in by_question.items() if "measurement" in at and id.startswith("h-")]
    assert heldout
    for prompt in heldout:
        assert prompt.image is not None
        assert prompt == straight.roles.pack.reasoner(prompt.image, prompt.user)


def test_no_image_is_used_twice_in_a_run(straight: Witnessed) -> None:
    used: list[str] = []
    for round in ROUNDS:
        for name in ("asked", "questions"):
            rows = table(straight.path / "rounds" / str(round) / f"{name}.parquet")
            used += sorted({row["image_id"] for row in rows})
    assert len(used) == len(set(used)) == 2 * (2 * 3 + 6)


def test_every_draw_has_a_seed_of_its_own_that_its_place_decides(straight: Witnessed) -> None:
    training = [(at, role, request) for at, role, request, _ in straight.sampled if "measurement" not in at]
    seeds = [request.seed for _, _, request in training]
    assert len(seeds) == len(set(seeds)) > 50
    at, _, request = next(entry for entry in training if entry[1] == "questioner")
    assert at == "round 1: questioner"
    assert request.seed == derive(0, 1, "questioner", 0, "questioner", request.id)


def test_a_phase_changes_the_weights_of_its_own_role_only(straight: Witnessed) -> None:
    assert len(straight.hashes) == 9
    final = ("end", straight.roles.questioner.weights_hash(), straight.roles.reasoner.weights_hash())
    for (phase, *before), (_, *after) in zip(straight.hashes, [*straight.hashes[1:], final], strict=True):
        changed = [old != new for old, new in zip(before, after, strict=True)]
        assert changed == [phase.endswith("questioner"), phase.endswith("reasoner")], phase
    assert straight.hashes[0][1] == straight.hashes[0][2] == straight.base_hash


def test_sampler_and_learner_agree_on_every_batch(straight: Witnessed) -> None:
    stats = [learned for *_, learned in straight.learned]
    assert len(stats) == len([line for line in lines(straight.path / "metrics.jsonl") if "ratio_max" in line]) == 10
    for learned in stats:
        assert learned.ratio_max == pytest.approx(1.0, abs=1e-4)
        assert abs(learned.mismatch_kl) < 1e-6


def test_every_batch_is_held_to_the_start_of_its_phase_and_to_the_base(straight: Witnessed) -> None:
    starts = {name: hashes for name, *hashes in straight.hashes}
    for (phase, role, _, _), (reference, anchor) in zip(straight.learned, straight.references, strict=True):
        assert reference == starts[phase][0 if role == "questioner" else 1]
        assert anchor == straight.base_hash
    assert len({reference for reference, _ in straight.references}) == 3  # the base, and two of round 2


def test_the_last_checkpoint_holds_the_weights_of_both_roles(straight: Witnessed) -> None:
    from safetensors.torch import load_file

    newest = newest_checkpoint(straight.path)
    tensors = load_file(newest / "tensors.safetensors")
    for role, policy in straight.roles.policies().items():
        for name, parameter in policy.learner.parameters.items():
            assert torch.equal(tensors[f"{role}/model.{name}"], parameter.detach())
    assert len(list((straight.path / "checkpoints").iterdir())) == straight.config.save_total_limit


def test_a_finished_run_that_is_resumed_stays_as_it_is(straight: Witnessed, tmp_path: Path) -> None:
    shutil.copytree(straight.path, tmp_path / "run")
    summary = resume(tmp_path / "run", progress=Watcher())
    same(tmp_path / "run", straight.path)
    assert summary["final_weights"] == straight.summary["final_weights"]


def test_later_rounds_remember_the_wordings_of_earlier_ones(straight: Witnessed) -> None:
    gates = [
        {row["gate"] for row in table(straight.path / "rounds" / str(round) / f"{name}.parquet")}
        for round in ROUNDS
        for name in ("asked", "questions")
    ]
    assert ["novelty" in found for found in gates] == [False, False, True, True]


def test_round_1s_questions_are_answered_again_except_for_those_that_were_learned_from(straight: Witnessed) -> None:
    folder = straight.path / "rounds" / "1"
    learned = {row["question_id"] for row in table(folder / "pool.parquet")}
    keys: dict[str, list[str | None]] = {}
    for row in table(folder / "votes.parquet"):
        keys.setdefault(row["question_id"], []).append(row["key"])
    shares = []
    for row in table(folder / "questions.parquet"):
        if row["question_id"] in keys and row["question_id"] not in learned:
            true = true_label(ImageRef(row["image_id"], row["origin"]), row["question"])
            if true is not None:
                shares.append(sum(key == true for key in keys[row["question_id"]]) / len(keys[row["question_id"]]))
    assert shares and learned
    for entry in straight.summary["rounds"]:
        again = entry["round_1_questions"]
        assert again["n"] == len(shares)
        assert again["base_sampled"] == pytest.approx(sum(shares) / len(shares))
        change = again["sampled_change"]
        assert change["mean"] == pytest.approx(again["sampled"] - again["base_sampled"])
        assert change["ci95"][0] <= change["mean"] <= change["ci95"][1]
