"""Questions of a run as rows that trainers read.

`kept_row` is a task: a prompt, a solution, a completion, the question's votes and where it comes from. Columns are
named as TRL 1.16 reads them (`prompt`, `completion`, `images`, `solution`); its GRPO and SFT trainers put the image
before the text of the first user turn themselves. `asked_row` is any question with what became of it.

The solution is the content of the box that most of the winning votes wrote; the label is its canonical key, by which
this package compares answers. The completion is the first winning vote in the model's own words. A text that a
tokenizer may read as a special token is never put into a conversation: such a completion is replaced by the boxed
solution, and a question that holds one, or whose solution does, is left out.
"""

import re
from collections import Counter
from typing import Final

import pyarrow as pa

from selfsight.language.prompts import PromptPack, special_token_in
from selfsight.report.questions import QuestionRecord

Row = dict[str, object]
Message = dict[str, str]

# What data loaders count as places of media, whatever the tokenizer makes of them.
_PLACEHOLDER: Final = re.compile(r"<(?:image|video|audio)>", re.IGNORECASE)

_MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
_VOTES = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("count", pa.int64())]))
_AUDIT = (
    pa.field("audit_truth", pa.string()),
    pa.field("audit_label_right", pa.bool_()),
    pa.field("audit_note", pa.string()),
)
_KEPT = (
    pa.field("prompt", _MESSAGES, nullable=False),
    pa.field("completion", _MESSAGES, nullable=False),
    pa.field("solution", pa.string(), nullable=False),
    pa.field("question", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("confidence", pa.float64()),
    pa.field("votes", _VOTES),
    pa.field("round", pa.int64(), nullable=False),
    pa.field("phase", pa.string(), nullable=False),
    pa.field("question_id", pa.string(), nullable=False),
    pa.field("image_id", pa.string(), nullable=False),
    *_AUDIT,
)
# "images_file_names": `datasets` opens the files and calls the column "images".
WITH_IMAGES = pa.schema([*_KEPT, pa.field("images_file_names", pa.list_(pa.string()), nullable=False)])
WITHOUT_IMAGES = pa.schema(_KEPT)
ASKED = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_file", pa.string()),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("readable", pa.bool_(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("votes", _VOTES),
        pa.field("kept", pa.bool_()),
        pa.field("gate", pa.string(), nullable=False),
        pa.field("gate_reason", pa.string(), nullable=False),
        pa.field("reward", pa.float64()),
        *_AUDIT,
    ]
)


def is_kept(question: QuestionRecord) -> bool:
    """Whether the reasoner was to learn from it."""
    return bool(question.kept) and question.taught is not None


def kept_row(question: QuestionRecord, pack: PromptPack) -> Row | None:
    """A kept question as a task; None when it, or its solution, cannot stand in a conversation."""
    label = question.taught or ""
    solution, said = answer_of(question, label, pack)
    if _disturbs(solution) or _disturbs(question.asked.question.text):
        return None
    boxed = f"\\boxed{{{solution}}}"
    prompt = pack.reasoner(question.asked.question.image, question.asked.question.text)
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return {
        "prompt": [*messages, {"role": "user", "content": prompt.user}],
        "completion": [{"role": "assistant", "content": boxed if said is None or _disturbs(said) else said}],
        "solution": solution,
        "question": question.asked.question.text,
        "label": label,
        "confidence": question.confidence,
        "votes": _votes(question),
        "round": question.round,
        "phase": question.phase,
        "question_id": question.id,
        "image_id": question.asked.question.image.id,
        **_audit(question, label),
    }


def asked_row(question: QuestionRecord, image_file: str | None) -> Row:
    """A question with what became of it."""
    return {
        "question_id": question.id,
        "image_id": question.asked.question.image.id,
        "image_file": image_file,
        "round": question.round,
        "phase": question.phase,
        "step": question.step,
        "readable": question.asked.question.valid,
        "question": question.asked.question.text,
        "label": question.taught or question.label,
        "confidence": question.confidence,
        "votes": _votes(question),
        "kept": question.kept,
        "gate": question.gate,
        "gate_reason": question.gate_reason,
        "reward": None if question.terms is None else question.terms.reward,
        **_audit(question, question.taught or question.label),
    }


def answer_of(question: QuestionRecord, label: str, pack: PromptPack) -> tuple[str, str | None]:
    """What stands in the box for `label`, and the first vote for it in the model's words, where there is one."""
    votes = question.votes
    texts = [] if votes is None else [
        text for key, text in zip(votes.keys, question.asked.answers, strict=True) if key == label
    ]  # fmt: skip
    boxes = Counter(reading.text for text in texts if (reading := pack.read_answer(text)).ok)
    if not boxes:  # no vote said it, as with true labels
        return label.partition(":")[2] or label, None
    return boxes.most_common(1)[0][0], texts[0]


def conversation(row: Row, image_file: str) -> dict[str, object]:
    """The row as LLaMA-Factory and ms-swift read a line: <image> marks the image's place."""
    turns = [*_turns(row["prompt"]), *_turns(row["completion"])]
    first = next(place for place, turn in enumerate(turns) if turn["role"] == "user")
    turns[first] = {"role": "user", "content": f"<image>{turns[first]['content']}"}
    return {"messages": turns, "images": [image_file], "solution": row["solution"]}


def _turns(messages: object) -> list[Message]:
    return list(messages) if isinstance(messages, list) else []


def _disturbs(text: str) -> bool:
    return special_token_in(text) is not None or _PLACEHOLDER.search(text) is not None


def _votes(question: QuestionRecord) -> list[dict[str, object]] | None:
    if question.votes is None:
        return None
    return [{"key": key, "count": count} for key, count in Counter(question.votes.keys).most_common()]


def _audit(question: QuestionRecord, label: str | None) -> Row:
    truth = question.truth
    if truth is None:
        return dict.fromkeys(("audit_truth", "audit_label_right", "audit_note"))
    right = None if label is None else truth.key == label
    return {"audit_truth": truth.key, "audit_label_right": right, "audit_note": truth.reason}
