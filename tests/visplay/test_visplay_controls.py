"""The controls do what they say, and truth reaches no run that did not ask for it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import selfsight.evaluate.oracle
import selfsight.images.worlds.grammar
import selfsight.images.worlds.truth
import selfsight.methods.visplay.measure
from selfsight.errors import SelfsightError
from selfsight.evaluate.oracle import true_label
from selfsight.images.source import ImageRef
from selfsight.methods.visplay.curation import permuted
from selfsight.methods.visplay.records import PoolItem
from selfsight.methods.visplay.rewards import answer_rewards, random_answer_rewards
from selfsight.methods.visplay.run import evolve
from selfsight.run import derive
from watching import Watcher, table

from .conftest import Witnessed, witness
from .runs import config


def test_an_untrained_questioner_stays_the_base_and_has_no_phase(speaker: Path, tmp_path: Path) -> None:
    seen = witness(config(speaker, tmp_path, "visplay.controls.questioner=untrained"))
    assert {questioner for _, questioner, _ in seen.hashes} == {seen.base_hash}
    assert seen.roles.questioner.weights_hash() == seen.base_hash
    assert not seen.roles.questioner.trainable
    assert not any("questioner" in phase for phase in seen.watcher.phases)
    for round in (1, 2):
        folder = seen.path / "rounds" / str(round)
        assert not (folder / "questioner").exists()
        assert not (folder / "asked.parquet").exists()
        assert (folder / "reasoner").is_dir()
        # The plausibility gate asks the questioner itself, which is the base.
        rows = [row for row in table(folder / "questions.parquet") if row["valid"]]
        own = {
            f"{request.prompt.image and request.prompt.image.id}/{rollout.index}": float(rollout.logprobs.min())
            for at, role, request, rollouts in seen.sampled
            for rollout in rollouts
            if role == "questioner" and at == f"round {round}: curation"
        }
        assert rows
        for row in rows:
            assert row["min_logprob"] == pytest.approx(own[row["question_id"].split("/", 3)[3]], abs=1e-4)
    assert seen.summary["controls"]["questioner"] == "untrained"
    assert seen.roles.reasoner.weights_hash() != seen.base_hash


def test_random_rewards_are_coin_flips_that_know_nothing_of_the_answers(speaker: Path, tmp_path: Path) -> None:
    seen = witness(config(speaker, tmp_path, "visplay.controls.reward=random", "visplay.rounds=1"))
    differs = 0
    pool = {row["question_id"]: row for row in table(seen.path / "rounds" / "1" / "pool.parquet")}
    phase = "round 1: reasoner"
    requests = [request for at, _, request, _ in seen.sampled if at == phase]
    learned = [groups for at, _, groups, _ in seen.learned if at == phase]
    for number, request in enumerate(requests):
        step, place = divmod(number, 3)
        group = learned[step][place]
        seed = derive(0, 1, step, request.id)
        assert group.rewards.tolist() == list(random_answer_rewards(4, seed))
        keys = [seen.roles.pack.read_key(rollout) for rollout in group.rollouts]
        differs += group.rewards.tolist() != list(answer_rewards(keys, pool[request.id]["label"]))
    assert differs > 3
    # The questioner is still paid by votes.
    first = next(groups for _, role, groups, _ in seen.learned if role == "questioner")
    assert any(0 < reward < 1 for group in first for reward in group.rewards)


def test_shuffled_images_show_the_reasoner_another_image_everywhere_but_in_measurement(
    speaker: Path, tmp_path: Path
) -> None:
    seen = witness(
        config(
            speaker, tmp_path, "visplay.rounds=1", "visplay.controls.images=shuffled", "visplay.gates.supervisor=0.01"
        )
    )
    shown: dict[str, set[str]] = {}
    kinds = set()
    for at, role, request, _ in seen.sampled:
        assert request.prompt.image is not None
        image = request.prompt.image.id
        if role == "questioner":
            assert request.id == image
        elif "measurement" in at:
            continue
        else:
            own = request.id.split("/")[3]
            assert image != own
            shown.setdefault(own, set()).add(image)
            kinds.add((at.split(": ")[1], request.prompt.user.startswith("Can this be answered")))
    assert all(len(partners) == 1 for partners in shown.values())
    assert kinds == {("questioner", False), ("curation", False), ("curation", True), ("reasoner", False)}
    heldout = [r for at, _, r, _ in seen.sampled if "measurement" in at and r.id.startswith("h-")]
    assert all(request.id == f"h-{request.prompt.image and request.prompt.image.id}" for request in heldout)


def test_true_labels_are_true_and_replace_nothing_else(speaker: Path, straight: Witnessed, tmp_path: Path) -> None:
    seen = witness(config(speaker, tmp_path, "visplay.controls.labels=truth", "visplay.min_pool=1"))
    for round in (1, 2):
        folder = seen.path / "rounds" / str(round)
        pool = table(folder / "pool.parquet")
        assert pool
        for item in pool:
            assert item["label"] == true_label(ImageRef(item["image_id"], item["origin"]), item["question"])
        rows = {row["question_id"]: row for row in table(folder / "questions.parquet")}
        assert {row["question_id"] for row in pool} == {id for id, row in rows.items() if row["kept"]}
        dropped = [row for row in rows.values() if row["gate"] == "truth"]
        assert dropped
        for row in dropped:
            assert true_label(ImageRef(row["image_id"], row["origin"]), row["question"]) is None
        groups = [group for at, _, learned, _ in seen.learned if at == f"round {round}: reasoner" for group in learned]
        by_prompt = {(item["image_id"], item["question"]): item["label"] for item in pool}
        for group in groups:
            assert group.prompt.image is not None
            label = by_prompt[group.prompt.image.id, group.prompt.user]
            keys = [seen.roles.pack.read_key(rollout) for rollout in group.rollouts]
            assert group.rewards.tolist() == list(answer_rewards(keys, label))
        assert seen.summary["rounds"][round - 1]["pseudo_label_accuracy"] == 1.0
    # Round 1's questioner has not met a label yet.
    asked = Path("rounds", "1", "asked.parquet")
    assert (seen.path / asked).read_bytes() == (straight.path / asked).read_bytes()


def test_permuted_labels_are_as_often_each_answer_and_belong_to_other_questions(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    seen = witness(config(speaker, tmp_path, "visplay.controls.labels=permuted", "visplay.rounds=1"))
    folder = Path("rounds", "1")
    voted, pool = table(straight.path / folder / "pool.parquet"), table(seen.path / folder / "pool.parquet")
    assert Counter(item["label"] for item in pool) == Counter(item["label"] for item in voted)
    moved = [(theirs["label"], ours["label"]) for theirs, ours in zip(voted, pool, strict=True)]
    assert any(before != after for before, after in moved)
    without_label = [[{**item, "label": ""} for item in items] for items in (voted, pool)]
    assert without_label[0] == without_label[1]
    # What a question was voted to be stays on record, and the reasoner is paid by the other label.
    votes = folder / "votes.parquet"
    assert (seen.path / votes).read_bytes() == (straight.path / votes).read_bytes()
    by_prompt = {(item["image_id"], item["question"]): item["label"] for item in pool}
    groups = [group for at, _, learned, _ in seen.learned if at == "round 1: reasoner" for group in learned]
    assert groups
    for group in groups:
        assert group.prompt.image is not None
        keys = [seen.roles.pack.read_key(rollout) for rollout in group.rollouts]
        label = by_prompt[group.prompt.image.id, group.prompt.user]
        assert group.rewards.tolist() == list(answer_rewards(keys, label))


def test_labels_are_permuted_among_those_of_one_kind() -> None:
    labels = ["yes", "no", "num:1", "num:2", "num:3", "text:red", "text:blue", "yes", "no", "yes"]
    image = ImageRef("i", "")
    pool = [PoolItem(str(place), image, "?", label, 0.5) for place, label in enumerate(labels)]
    drawn = [tuple(item.label for item in permuted(pool, seed)) for seed in range(20)]
    assert len(set(drawn)) > 10
    assert permuted(pool, 3) == permuted(pool, 3)
    for found in drawn:
        assert sorted(found) == sorted(labels)
        assert [label.partition(":")[0] if ":" in label else "word" for label in found] == [
            label.partition(":")[0] if ":" in label else "word" for label in labels
        ]


def test_true_labels_are_refused_for_images_without_truth(speaker: Path, photographs: Path, tmp_path: Path) -> None:
    settings = config(speaker, tmp_path, "visplay.controls.labels=truth", f"images={photographs}")
    with pytest.raises(SelfsightError, match="labels=truth needs images with exact truth") as refusal:
        evolve(settings, progress=Watcher())
    assert str(photographs) in refusal.value.message
    assert refusal.value.hint == "set images=worlds"
    assert not (tmp_path / "run").exists()


def test_an_ordinary_run_trains_to_the_same_weights_when_truth_raises(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a training path asked for the truth")

    oracle, truth = selfsight.evaluate.oracle, selfsight.images.worlds.truth
    for name in ("truth", "scene_of"):
        monkeypatch.setattr(truth, name, forbidden)
        monkeypatch.setattr(oracle, name, forbidden)
    for name in ("true_label", "verdict"):
        monkeypatch.setattr(oracle, name, forbidden)
    monkeypatch.setattr(selfsight.methods.visplay.measure, "verdict", forbidden)
    monkeypatch.setattr(selfsight.images.worlds.grammar, "read", forbidden)
    with pytest.raises(AssertionError, match="asked for the truth"):
        oracle.true_label(ImageRef("w-mixed-train-0-0", ""), "Is there a red circle?")
    summary = evolve(config(speaker, tmp_path, "evaluation.audit=false"), progress=Watcher())
    assert summary["final_weights"] == straight.summary["final_weights"]
    assert summary["rounds"][0]["pseudo_label_accuracy"] is None
    with pytest.raises(AssertionError, match="asked for the truth"):
        evolve(config(speaker, tmp_path, run_name="audited"), progress=Watcher())
