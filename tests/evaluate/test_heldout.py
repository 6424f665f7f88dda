"""The built-in evaluation, with a scripted policy whose accuracy is known exactly."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.evaluate import heldout as heldout_module
from selfsight.evaluate.answers import Answered, as_records, compare, summarise
from selfsight.evaluate.heldout import answer_questions, evaluate_model, majority_credit
from selfsight.evaluate.questions import (
    ANSWER_LENGTHS,
    PICTURE_SIZES,
    HeldOutQuestion,
    families_of_world,
    heldout_questions,
)
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.grammar import CHART_FAMILIES, FAMILIES, SCENE_FAMILIES
from selfsight.images.worlds.truth import scene_of, truth
from selfsight.language.prompts import PACKS, get_pack
from selfsight.policy import Rollout, SampleRequest, Sampling
from selfsight.policy.processor import PromptEncoder
from tiny_models import build_qwen2_5_vl

COMPACT, FULL = get_pack("compact"), get_pack("full")


@dataclass(frozen=True)
class Said:
    text: str
    finished: bool = True


class Scripted:
    """Answers by a script: say(question, sample index or None for greedy) -> completion."""

    def __init__(self, script: Callable[[HeldOutQuestion, int | None], str], questions: list[HeldOutQuestion]) -> None:
        self.script, self.questions = script, {q.id: q for q in questions}
        self.asked: list[tuple[SampleRequest, Sampling]] = []

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        self.asked += [(request, sampling) for request in requests]
        nothing = np.zeros(0)
        return {
            r.id: [
                Rollout(
                    r.id,
                    k,
                    nothing,
                    nothing,
                    self.script(self.questions[r.id], None if sampling.greedy else k),
                    True,
                    0,
                )
                for k in range(r.n)
            ]
            for r in requests
        }


def right(question: HeldOutQuestion) -> str:
    """The true answer in words, from the scene itself."""
    found = truth(question.question, scene_of(question.image)).answer
    assert found is not None
    return found


def box(answer: str) -> str:
    return f"a1 b2, so \\boxed{{{answer}}}"


def measure(
    script: Callable[[HeldOutQuestion, int | None], str], count: int = 45, *, num_samples: int = 8, batch_size: int = 16
) -> tuple[list[Answered], Scripted]:
    questions = heldout_questions(count, seed=0)
    policy = Scripted(script, questions)
    answered = answer_questions(
        policy,  # type: ignore[arg-type]
        COMPACT,
        questions,
        num_samples=num_samples,
        seed=3,
        batch_size=batch_size,
        max_completion_length=32,
    )
    return answered, policy


# --- the questions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [9, 90, 100])
def test_families_come_in_equal_numbers(count: int) -> None:
    families = Counter(q.family for q in heldout_questions(count, seed=0))
    assert sum(families.values()) == count and set(families) == set(FAMILIES)
    assert max(families.values()) - min(families.values()) <= 1


@pytest.mark.parametrize(
    ("world", "families"), [("scenes", SCENE_FAMILIES), ("charts", CHART_FAMILIES), ("mixed", FAMILIES)]
)
def test_a_world_is_asked_its_own_families(world: str, families: tuple[str, ...]) -> None:
    assert families_of_world(world) == families
    found = Counter(q.family for q in heldout_questions(36, seed=0, world=world))
    assert found == Counter({family: 36 // len(families) for family in families})


def test_the_questions_are_a_function_of_the_seed() -> None:
    questions = heldout_questions(60, seed=4)
    assert heldout_questions(60, seed=4) == questions
    other = heldout_questions(60, seed=5)
    assert not {q.image.id for q in questions} & {q.image.id for q in other}
    assert len({q.question for q in questions} & {q.question for q in other}) < 30


def test_every_question_has_its_own_picture_and_is_well_posed() -> None:
    questions = heldout_questions(180, seed=1)
    assert len({q.id for q in questions}) == len({q.image.id for q in questions}) == 180
    for question in questions:
        found = truth(question.question, scene_of(question.image))
        assert found.family == question.family
        assert COMPACT.read_key(Said(f"\\boxed{{{found.answer}}}")) == question.key


def test_no_question_is_about_a_picture_of_training() -> None:
    held_out = {q.image.id for q in heldout_questions(180, seed=0)}
    for world in ("mixed", "scenes", "charts"):
        assert not held_out & {ref.id for ref in WorldSource(world, seed=0).take(0, 2000)}
    assert all("-heldout-" in image_id for image_id in held_out)
    audit = heldout_questions(30, seed=0, split="audit")
    assert all("-audit-" in q.image.id for q in audit)
    source = WorldSource(seed=0)
    seen = {source.open(ref).tobytes() for ref in source.take(0, 300)}
    assert not any(source.open(q.image).tobytes() in seen for q in heldout_questions(90, seed=0))


def test_yes_and_no_are_balanced_so_that_neither_is_a_good_guess() -> None:
    keys = Counter(q.key for q in heldout_questions(900, seed=2) if q.key in ("yes", "no"))
    assert 0.42 < keys["yes"] / keys.total() < 0.58


def test_a_world_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SelfsightError, match="no world named 'photos'"):
        heldout_questions(9, seed=0, world="photos")


# --- the answers ---------------------------------------------------------------------------------------------------


def test_who_always_answers_truly_is_always_right() -> None:
    answered, _ = measure(lambda q, _: box(right(q)))
    summary = summarise(answered)
    assert (summary["accuracy"], summary["sampled"], summary["majority"]) == (1.0, 1.0, 1.0)
    # Wilson's for 45 of 45.
    assert summary["ci95"] == summary["sampled_ci95"] == summary["majority_ci95"] == [pytest.approx(0.9213484), 1.0]
    assert (summary["format_failures"], summary["sampled_format_failures"], summary["n"]) == (0.0, 0.0, 45)
    one = {"n": 5, "greedy": 1.0, "ci95": [pytest.approx(0.5655175), 1.0], "sampled": 1.0, "majority": 1.0}
    assert summary["families"] == dict.fromkeys(sorted(FAMILIES), one)


@pytest.mark.parametrize("constant", ["yes", "2", "red"])
def test_who_always_says_the_same_is_right_where_that_is_the_answer(constant: str) -> None:
    answered, _ = measure(lambda q, _: box(constant), 180)
    expected = np.mean([right(q) == constant for q in heldout_questions(180, seed=0)])
    summary = summarise(answered)
    assert 0 < expected < 0.4
    assert summary["accuracy"] == summary["sampled"] == summary["majority"] == pytest.approx(expected)
    assert summary["format_failures"] == 0.0


def test_who_boxes_nothing_is_wrong_and_unreadable_even_when_the_text_is_right() -> None:
    summary = summarise(measure(lambda q, _: f"The answer is {right(q)}.")[0])
    assert (summary["accuracy"], summary["sampled"], summary["majority"]) == (0.0, 0.0, 0.0)
    assert (summary["format_failures"], summary["sampled_format_failures"]) == (1.0, 1.0)


@pytest.mark.parametrize("text", ["", "\\boxed{}", "\\boxed{I don't know}", "\\boxed{3", "\\boxed{<|im_end|>}"])
def test_what_cannot_be_read_is_a_format_failure(text: str) -> None:
    summary = summarise(measure(lambda q, _: text, 9)[0])
    assert (summary["accuracy"], summary["format_failures"], summary["sampled_format_failures"]) == (0.0, 1.0, 1.0)


def test_greedy_sampled_and_majority_are_three_different_things() -> None:
    """Greedy wrong; five of eight samples right, one wrong, two unreadable."""

    def script(q: HeldOutQuestion, k: int | None) -> str:
        if k is None or k == 6:
            return box("a circle of none of these")
        return box(right(q)) if k < 5 else "no idea"

    summary = summarise(measure(script)[0])
    assert (summary["accuracy"], summary["sampled"], summary["majority"]) == (0.0, 5 / 8, 1.0)
    assert (summary["format_failures"], summary["sampled_format_failures"]) == (0.0, 2 / 8)


def test_abstentions_do_not_outvote_an_answer_but_a_wrong_majority_does() -> None:
    few = measure(lambda q, k: box(right(q)) if k in (None, 0, 1) else "no idea", 9)[0]
    assert summarise(few)["majority"] == 1.0
    wrong = measure(lambda q, k: box(right(q)) if k in (None, 0, 1) else box("banana"), 9)[0]
    assert (summarise(wrong)["accuracy"], summarise(wrong)["majority"]) == (1.0, 0.0)


def test_the_last_box_counts_and_spelling_does_not() -> None:
    def script(q: HeldOutQuestion, _: int | None) -> str:
        words = {"1": "one", "2": "Two", "3": "3.0", "yes": "Yes."}
        return box("17 bananas") + box(words.get(right(q), right(q).upper()))

    assert summarise(measure(script)[0])["accuracy"] == 1.0


def test_accuracy_is_counted_per_family() -> None:
    summary = summarise(measure(lambda q, _: box(right(q)) if q.family == "relation" else box("banana"))[0])
    assert summary["accuracy"] == pytest.approx(1 / 9)
    greedy = {family: entry["greedy"] for family, entry in summary["families"].items()}  # type: ignore[attr-defined]
    assert greedy == {family: float(family == "relation") for family in sorted(FAMILIES)}


def test_the_policy_sees_the_image_and_the_question_and_nothing_of_the_answer() -> None:
    answered, policy = measure(lambda q, _: box(right(q)), 18, num_samples=4)
    questions = {q.id: q for q in heldout_questions(18, seed=0)}
    assert len(answered) == 18 and len(policy.asked) == 36
    for request, sampling in policy.asked:
        question = questions[request.id]
        assert request.prompt == COMPACT.reasoner(question.image, question.question)
        assert request.prompt.user == question.question
        assert (request.n, sampling.greedy) in ((1, True), (4, False))
        assert (sampling.temperature, sampling.max_completion_length) == (1.0, 32)
    seeds = {request.id: request.seed for request, _ in policy.asked}
    assert len(set(seeds.values())) == 18


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    def script(q: HeldOutQuestion, k: int | None) -> str:
        return box(right(q)) if (len(q.question) + (k or 0)) % 3 else "no idea"

    expected, one = measure(script)
    found, other = measure(script, batch_size=batch_size)
    assert found == expected

    def key(asked: tuple[SampleRequest, Sampling]) -> tuple[str, int]:
        return asked[0].id, asked[0].n

    assert sorted(one.asked, key=key) == sorted(other.asked, key=key)


def test_a_pack_reads_its_own_format() -> None:
    questions = heldout_questions(9, seed=0)

    def script(q: HeldOutQuestion, _: int | None) -> str:
        return f"<think>It might be \\boxed{{banana}}.</think> It is \\boxed{{{right(q)}}}."

    policy = Scripted(script, questions)
    answered = answer_questions(
        policy,  # type: ignore[arg-type]
        FULL,
        questions,
        num_samples=2,
        seed=0,
        batch_size=4,
        max_completion_length=64,
    )
    assert summarise(answered)["accuracy"] == 1.0
    assert all(request.prompt.user.startswith(questions_text) for request, questions_text in
               ((r, policy.questions[r.id].question) for r, _ in policy.asked))  # fmt: skip


# --- what is made of them ------------------------------------------------------------------------------------------


def rows(*greedy: float, sampled: float = 0.5) -> list[Answered]:
    return [
        Answered(f"h-{i}", "counting", f"w-{i}", "How many?", "num:1", g, sampled, g, 0.0, 0.0, "", ())
        for i, g in enumerate(greedy)
    ]


def test_the_interval_is_around_the_mean_and_does_not_depend_on_the_day() -> None:
    answered = rows(*([1.0] * 60 + [0.0] * 40))
    summary = summarise(answered)
    assert summary == summarise(answered)
    low, high = summary["ci95"]  # type: ignore[misc]
    assert low == pytest.approx(0.504, abs=0.02) and high == pytest.approx(0.696, abs=0.02)
    # 100 times 1/2, a 0 and a 1: 1/2 +- z sqrt(1/2) / 102.
    assert summary["sampled_ci95"] == pytest.approx([0.4864127, 0.5135873])


def test_a_change_is_paired_by_question() -> None:
    before = rows(1, 0, 0, 1, 0, 0, 1, 0, sampled=0.25)
    after = rows(1, 1, 0, 1, 1, 0, 0, 0, sampled=0.5)
    change = compare(before, after)
    assert change["accuracy"] == pytest.approx((2 - 1) / 8)
    assert (change["sampled"], change["sampled_ci95"]) == (
        0.25,
        [pytest.approx(-0.08402577), pytest.approx(0.48402577)],
    )
    back = compare(after, before)
    assert back["accuracy"] == pytest.approx(-1 / 8)
    # No difference among eight questions: z sqrt(2) / 10 each way.
    assert compare(before, before)["ci95"] == pytest.approx([-0.27718076, 0.27718076])


def test_evaluations_of_different_questions_are_not_compared() -> None:
    one = rows(1, 0, 1)
    for other in (one[:2], list(reversed(one))):
        with pytest.raises(SelfsightError, match="not about the same questions"):
            compare(one, other)


def test_what_was_answered_survives_as_rows() -> None:
    answered, _ = measure(lambda q, k: box(right(q)) if (k or 0) % 2 else "no idea")
    stored = json.loads(json.dumps(as_records(answered)))
    assert [Answered(**row | {"sampled_keys": tuple(row["sampled_keys"])}) for row in stored] == answered


# --- the whole way with a real model -------------------------------------------------------------------------------


def test_a_model_folder_is_measured_in_the_pack_it_was_taught(tmp_path: Path) -> None:
    folder = build_qwen2_5_vl(tmp_path / "model")
    first = evaluate_model(str(folder), questions=9, seed=1, num_samples=2, batch_size=9, max_completion_length=3)
    assert (first["model"], first["prompt_pack"], first["seed"]) == (str(folder), "full", 1)
    heldout = first["heldout"]
    assert isinstance(heldout, dict)
    assert (heldout["n"], heldout["accuracy"], heldout["format_failures"]) == (9, 0.0, 1.0)  # three tokens hold no box
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"selfsight_prompt_pack": "compact"}))
    again = evaluate_model(str(folder), questions=9, seed=1, num_samples=2, batch_size=4, max_completion_length=3)
    assert again["prompt_pack"] == "compact"


def test_pictures_have_the_size_of_the_pack_unless_another_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starter's default is what it always was: 112 pixels of the mixed world."""
    shown: list[tuple[int, int]] = []
    encode = PromptEncoder._call_processor

    def watched(self: PromptEncoder, text: str, images: list[Image.Image]) -> Any:
        shown.extend(image.size for image in images)
        return encode(self, text, images)

    monkeypatch.setattr(PromptEncoder, "_call_processor", watched)
    monkeypatch.setattr("selfsight.policy.policy.check_model", lambda vlm: None)  # it looks at a picture, too
    asked: list[list[HeldOutQuestion]] = []
    draw = heldout_module.heldout_questions

    def drawn(*arguments: Any, **options: Any) -> list[HeldOutQuestion]:
        asked.append(draw(*arguments, **options))
        return asked[-1]

    monkeypatch.setattr(heldout_module, "heldout_questions", drawn)
    budget: dict[str, Any] = {"questions": 9, "seed": 1, "num_samples": 2, "batch_size": 9, "max_completion_length": 2}
    compact, full = build_qwen2_5_vl(tmp_path / "compact"), build_qwen2_5_vl(tmp_path / "full")
    config = json.loads((compact / "config.json").read_text())
    (compact / "config.json").write_text(json.dumps(config | {"selfsight_prompt_pack": "compact"}))

    result = evaluate_model(str(compact), **budget)
    assert (result["world"], result["picture_size"]) == ("mixed", 112)
    assert asked[-1] == draw(9, seed=1, size=112, world="mixed", split="heldout") == draw(9, seed=1)
    assert set(shown) == {(112, 112)}
    shown.clear()
    assert evaluate_model(str(full), **budget)["picture_size"] == 448
    assert set(shown) == {(448, 448)}
    # The same questions about the same scenes, drawn larger.
    assert [(q.id, q.question, q.key) for q in asked[0]] == [(q.id, q.question, q.key) for q in asked[1]]
    shown.clear()
    result = evaluate_model(str(full), **budget, world="charts", picture_size=84)
    assert (result["world"], result["picture_size"]) == ("charts", 84)
    assert set(shown) == {(84, 84)}
    assert {q.family for q in asked[-1]} == set(CHART_FAMILIES)


def test_every_pack_has_a_picture_size_and_an_answer_length() -> None:
    assert set(PICTURE_SIZES) == set(ANSWER_LENGTHS) == set(PACKS)


def test_a_tied_majority_is_credited_as_a_random_pick_among_the_tied() -> None:
    assert majority_credit(["a", "a", "b"], "a") == 1.0
    assert majority_credit(["a", "b", None], "b") == 0.5
    assert majority_credit(["a", "b", "c", None], "c") == pytest.approx(1 / 3)
    assert majority_credit(["a", "a", "b"], "b") == 0.0
    assert majority_credit([None, None], "a") == 0.0


def test_an_answer_that_was_cut_off_is_an_abstention() -> None:
    assert COMPACT.read_key(Said("\\boxed{3}")) == "num:3"
    assert COMPACT.read_key(Said("\\boxed{3}", finished=False)) is None
