"""`selfsight compare A B`: two checkpoints on the same held-out questions about the same pictures.

Answers that a run has kept are taken where they were given to the very questions that are to be compared, asked in the
same way; only then nothing needs to be sampled, and no torch is loaded. Each model is asked in the words of the prompt
pack that it was taught. Sample k of a question is drawn from the same random stream for both.

Left out: pictures of the user's own. Wins and losses need to know which answer is right, and that is known of worlds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import EVALUATION, Answered, read_evaluation
from selfsight.evaluate.paired import figures, pair_up, question_records
from selfsight.evaluate.questions import ANSWER_LENGTHS, PICTURE_SIZES, HeldOutQuestion, heldout_questions
from selfsight.evaluate.sides import Asking, ModelSide, RoundSide, Side, find_side
from selfsight.language.prompts import get_pack, taught_pack
from selfsight.run.progress import Progress

if TYPE_CHECKING:
    from selfsight.policy import Policy

_BATCH: Final = 64
_QUESTIONS, _SEED, _WORLD, _SAMPLES = 600, 0, "mixed", 8


@dataclass(frozen=True)
class ComparisonSettings:
    """What the user wants asked; None is as the runs were measured, or else as `selfsight eval` measures."""

    questions: int | None = None
    seed: int | None = None
    world: str | None = None
    picture_size: int | None = None
    num_samples: int | None = None
    max_completion_length: int | None = None
    anew: bool = False

    def given(self) -> dict[str, Any]:
        """What was said about the asking."""
        return {name: value for name, value in asdict(self).items() if name != "anew" and value is not None}


def run_comparison(a: str, b: str, settings: ComparisonSettings, *, progress: Progress) -> dict[str, object]:
    """Compares A with B, the one after it; JSON-ready, with every question, the biggest regression first."""
    sides = (find_side(a), find_side(b))
    folders: dict[str, Path] = {}
    asking = _asking(sides, settings, folders)
    kept = [isinstance(side, RoundSide) and side.asking == asking and not settings.anew for side in sides]
    for side, known in zip(sides, kept, strict=True):
        if not known:
            folders.setdefault(side.given, _folder(side))  # what cannot be opened is found before anything is asked
    questions = heldout_questions(asking.questions, seed=asking.seed, size=asking.picture_size, world=asking.world)
    answers: dict[str, list[Answered]] = {}
    for side, known in zip(sides, kept, strict=True):
        if side.given not in answers:
            answers[side.given] = (
                kept_answers(side, questions)
                if known and isinstance(side, RoundSide)
                else _ask(side, folders[side.given], asking, questions, progress)
            )
    pairs = pair_up(answers[a], answers[b])
    about = [_about(side, known, folders.get(side.given)) for side, known in zip(sides, kept, strict=True)]
    return {
        "a": about[0],
        "b": about[1],
        "asked": {**asdict(asking), "split": "heldout"},
        **figures(pairs, seed=0),
        "questions": question_records(pairs, {question.id: question.image for question in questions}),
    }


def kept_answers(side: RoundSide, questions: Sequence[HeldOutQuestion]) -> list[Answered]:
    """The answers that a run has kept, if they are answers to these very questions; errors name the row."""
    answered = read_evaluation(side.folder)
    file = side.folder / EVALUATION
    hint = "ask anew with --anew: it was written by another version of selfsight, or changed"
    if len(answered) != len(questions):
        raise SelfsightError(f"{file}: holds {len(answered)} answers, not {len(questions)}", hint=hint)
    for row, (found, asked) in enumerate(zip(answered, questions, strict=True)):
        if not found.key:
            raise SelfsightError(f"{file}: row {row}: there is no right answer (key is empty)", hint=hint)
        theirs = (found.id, found.image_id, found.family, found.question, found.key)
        ours = (asked.id, asked.image.id, asked.family, asked.question, asked.key)
        if theirs != ours:
            name, had, has = next(
                (name, one, other)
                for name, one, other in zip(("id", "image_id", "family", "question", "key"), theirs, ours, strict=True)
                if one != other
            )
            raise SelfsightError(f"{file}: row {row}: {name} is {had!r}, where today {has!r} is asked", hint=hint)
        if len(found.sampled_keys) != side.asking.num_samples:
            raise SelfsightError(
                f"{file}: row {row}: sampled_keys has {len(found.sampled_keys)} answers, not {side.asking.num_samples}",
                hint=hint,
            )
        if found.greedy not in (0, 1) or not 0 <= found.sampled <= 1:
            raise SelfsightError(f"{file}: row {row}: greedy or sampled is not a share of right answers", hint=hint)
    return answered


def _asking(sides: Sequence[Side], settings: ComparisonSettings, folders: dict[str, Path]) -> Asking:
    """What both sides are asked: what the user said, else as the runs were, else as `selfsight eval` does."""
    given = settings.given()
    runs = [side for side in sides if isinstance(side, RoundSide)]
    if not runs:
        for side in sides:
            folders[side.given] = _folder(side)
        packs = [taught_pack(folders[side.given]) for side in sides]
        size, length = min(PICTURE_SIZES[pack] for pack in packs), max(ANSWER_LENGTHS[pack] for pack in packs)
        return replace(Asking(_QUESTIONS, _SEED, _WORLD, size, _SAMPLES, length), **given)
    first, last = replace(runs[0].asking, **given), replace(runs[-1].asking, **given)
    other = [
        (field.name, getattr(first, field.name), getattr(last, field.name))
        for field in fields(Asking)
        if getattr(first, field.name) != getattr(last, field.name)
    ]
    if other:
        raise SelfsightError(
            f"{runs[0].given} and {runs[-1].given} were not measured alike: "
            + ", ".join(f"{name} {one} and {two}" for name, one, two in other),
            hint=_how_to_agree(other),
        )
    return first


def _how_to_agree(other: Sequence[tuple[str, object, object]]) -> str:
    if any(name in ("min_pixels", "max_pixels") for name, _, _ in other):
        return "their models see other pixels; compare their model folders instead, such as RUN/rounds/1/reasoner"
    options = " ".join(f"--{name.removeprefix('num_').replace('_', '-')} {value}" for name, value, _ in other)
    return f"say what both are to be asked, such as {options}; who has not answered that yet is asked now"


def _folder(side: Side) -> Path:
    """The folder of a side's model."""
    from selfsight.policy.folder_check import check_folder
    from selfsight.policy.open import model_folder

    if isinstance(side, ModelSide):
        folder = model_folder(side.given)
    else:
        folder = side.model or model_folder(side.config.model, side.config.revision)
    check_folder(folder)
    return folder


def _ask(
    side: Side, folder: Path, asking: Asking, questions: Sequence[HeldOutQuestion], progress: Progress
) -> list[Answered]:
    """A side's answers, drawn now."""
    from selfsight.evaluate.heldout import answer_questions

    policy, pack = _open(side, folder, asking), get_pack(_pack(side, folder))
    progress.phase(f"answers of {side.name}", -(-len(questions) // _BATCH))
    answered: list[Answered] = []
    for start in range(0, len(questions), _BATCH):
        answered += answer_questions(
            policy,
            pack,
            questions[start : start + _BATCH],
            num_samples=asking.num_samples,
            seed=asking.seed,
            batch_size=_BATCH,
            max_completion_length=asking.max_completion_length,
        )
        right = sum(one.greedy for one in answered) / len(answered)
        progress.step({"accuracy": right})
    return answered


def _open(side: Side, folder: Path, asking: Asking) -> "Policy":
    from selfsight.images.worlds import WorldSource
    from selfsight.policy import ModelOptions, Policy
    from selfsight.policy.device import choose_device

    options = ModelOptions(
        dtype=side.config.dtype if isinstance(side, RoundSide) else "float32",
        device=choose_device("auto"),
        min_pixels=asking.min_pixels,
        max_pixels=asking.max_pixels,
    )
    return Policy.load("model", folder, open_image=WorldSource.open_any, options=options)


def _pack(side: Side, folder: Path) -> str:
    return side.pack if isinstance(side, RoundSide) else taught_pack(folder)


def _about(side: Side, kept: bool, folder: Path | None) -> dict[str, object]:
    """Who a side is; `answers` is "kept" when its run had given them already, "asked" when they were drawn now."""
    if isinstance(side, RoundSide):
        round: int | None = side.round
        pack = side.pack
    else:
        assert folder is not None, "a model has been asked, so it has been opened"
        round, pack = None, taught_pack(folder)
    return {
        "given": side.given,
        "name": side.name,
        "round": round,
        "prompt_pack": pack,
        "answers": "kept" if kept else "asked",
    }
