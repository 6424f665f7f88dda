"""Answers, measured runs and comparisons that no model has made, written with the functions that a real run uses.

`say(field)` is what stands in a field that a model or a stranger writes, as in made_runs.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfsight.config import load_config
from selfsight.evaluate.answers import Answered, write_evaluation
from selfsight.evaluate.paired import figures, pair_up, question_records
from selfsight.evaluate.questions import HeldOutQuestion, heldout_questions
from selfsight.images import ImageRef
from selfsight.report import with_verdict
from selfsight.run import RunDirectory

SIZE = 56


def answered(
    question: HeldOutQuestion,
    outcome: str,
    *,
    right_samples: int = 4,
    samples: int = 8,
    say: Callable[[str], str] = str,
) -> Answered:
    """`outcome` is right, wrong or unreadable; wrong answers are all the same."""
    wrong = say("text:no such answer")
    texts = {"right": "so \\boxed{it}", "wrong": say("so \\boxed{no such answer}"), "unreadable": say("I do not know")}
    keys = [question.key] * right_samples + [wrong] * (samples - right_samples - 1) + [""]
    keys = keys[:samples]
    right = sum(key == question.key for key in keys) / samples
    return Answered(
        id=question.id, family=question.family, image_id=question.image.id, question=question.question,
        key=question.key, greedy=float(outcome == "right"), sampled=right, majority=float(right > 0.5),
        greedy_format_failure=float(outcome == "unreadable"), sampled_format_failure=keys.count("") / samples,
        greedy_text=texts[outcome], sampled_keys=tuple(keys),
    )  # fmt: skip


def measured_run(
    folder: Path, rounds: Sequence[Sequence[str]], *overrides: str, name: str = "made", samples: int = 8
) -> Path:
    """A run of which nothing is left but its settings and what its rounds answered: outcomes in turn, round by round.

    It was asked 18 questions about pictures of 56 pixels, with `samples` samples, in answers of at most 64 tokens.
    """
    asked = ["evaluation.questions=18", f"evaluation.picture_size={SIZE}", f"evaluation.num_samples={samples}"]
    config = load_config("visplay-starter", [f"output_dir={folder}", f"run_name={name}", *asked, *overrides])
    own = config.evaluation
    questions = heldout_questions(own.questions, seed=own.seed, size=SIZE, world=own.world)
    with RunDirectory.create(folder / name, config.model_dump(mode="json")) as directory:
        for number, outcomes in enumerate(rounds):
            rows = [
                answered(question, outcomes[i % len(outcomes)], right_samples=2 + 2 * number, samples=samples)
                for i, question in enumerate(questions)
            ]
            write_evaluation(directory.round(number), rows)
        return directory.path


def made_comparison(
    outcomes: Sequence[tuple[str, str]], *, count: int = 18, say: Callable[[str], str] | None = None
) -> dict[str, Any]:
    """A comparison on `count` questions with these outcomes of A and B in turn. With `say` every text is its."""
    tell = say or str
    questions = heldout_questions(min(count, 60), seed=0, size=SIZE)
    questions = [
        question if say is None else HeldOutQuestion(
            f"{say('id')}{i}", ImageRef(f"{say('image')}{i}", say("origin")), say("question"), say("family"),
            say("key"))
        for i, question in enumerate((questions * -(-count // len(questions)))[:count])
    ]  # fmt: skip
    pairs = pair_up(
        [answered(q, outcomes[i % len(outcomes)][0], right_samples=5, say=tell) for i, q in enumerate(questions)],
        [answered(q, outcomes[i % len(outcomes)][1], right_samples=2, say=tell) for i, q in enumerate(questions)],
    )
    side = {"round": None, "prompt_pack": "compact", "answers": "asked"}
    asked = {
        "questions": count, "seed": 0, "world": tell("mixed"), "picture_size": SIZE, "num_samples": 8,
        "max_completion_length": 64, "min_pixels": None, "max_pixels": None, "split": "heldout",
    }  # fmt: skip
    return with_verdict(
        {
            "a": {"given": tell("runs/made@0"), "name": tell("made, before round 1"), **side},
            "b": {"given": tell("runs/made"), "name": tell("made, round 2"), **side},
            "asked": asked,
            **figures(pairs),
            "questions": question_records(pairs, {question.id: question.image for question in questions}),
        }
    )
