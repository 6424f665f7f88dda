"""What became of a model's completions: how many could be read, why the others could not, and what to change.

A base model that writes no box, or a length limit that cuts every completion off, shows in the first few completions.
A run that goes on regardless trains on nothing, or ends hours later with an empty pool. So the first completions of
every kind are counted here by the reason that their reader gives, and `Loop.require_readable` stops the run when nearly
all of them are unreadable.

Looked at are the sampled answers of the base model's measurement, and the first completions of every phase that
samples: until there are `ENOUGH` of a kind, because a share of fewer says nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.language import PromptPack
from selfsight.language.prompts import Completion
from selfsight.run.invoked import command, shortest
from selfsight.run.progress import counted, plain_text

Kind = Literal["questions", "answers", "clues", "votes"]

ENOUGH: Final = 16  # completions; of fewer no share is taken
SHOWN: Final = 3  # completions that are shown
CUT_OFF: Final = "cut off at the length limit"
_LONGEST: Final = 200  # characters of a completion that is shown
_MOST_REASONS: Final = 200

# The setting that says how long a completion may be.
LENGTHS: Final[Mapping[Kind, str]] = {
    "questions": "visplay.max_question_length",
    "answers": "visplay.max_answer_length",
    "clues": "vision_zero.max_clue_length",
    "votes": "vision_zero.max_vote_length",
}
_WRITER: Final[Mapping[Kind, str]] = {
    "questions": "questioner", "answers": "reasoner", "clues": "player", "votes": "voter",
}  # fmt: skip
# What a reason quotes of its completion: two completions with one fault have one reason.
_QUOTED: Final = re.compile(
    r"(?<=marker )(?:'.*'|\".*\")|(?<=speaker )(?:'.*'|\".*\")|^(?:'.*'|\".*\")(?= names)|U\+[0-9A-F]+|(?<=player )\d+"
)


class Unreadable(SelfsightError):
    """Nearly all of a model's first completions cannot be read; `completions` shows some."""

    def __init__(self, message: str, *, hint: str, completions: tuple[str, ...]) -> None:
        super().__init__(message, hint=hint)
        self.completions = completions


class Readings:
    """Counts completions of one kind by what their reader said.

    readings = Readings("questions")
    readings.add("What is this", "question does not end in '?'")
    readings.share  # 1.0
    """

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, completion: str, reason: str) -> None:
        """One completion; `reason` says why it could not be read and is empty if it could."""
        self.total += 1
        if not reason:
            return
        name = _QUOTED.sub("...", reason)
        if name not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            name = "another reason"
        self.reasons[name] += 1
        kept = self._examples.setdefault(name, [])
        if len(kept) < SHOWN and (shown := shortened(completion)) not in kept:
            kept.append(shown)

    def add_answer(self, pack: PromptPack, rollout: Completion) -> None:
        """One answer, read as votes are."""
        self.add(rollout.text, why_no_answer(pack, rollout))

    def add_first(self, completions: Iterable[tuple[str, str]]) -> None:
        """Completions of a step, each with its reason, unless there are enough already."""
        if self.total < ENOUGH:
            for completion, reason in completions:
                self.add(completion, reason)

    @property
    def unreadable(self) -> int:
        """How many could not be read."""
        return self.reasons.total()

    @property
    def share(self) -> float:
        """The share that could not be read; 0 without any completion."""
        return self.unreadable / self.total if self.total else 0.0

    def beyond(self, limit: float | None) -> bool:
        """Whether the unreadable share reaches `limit`, of enough completions; None and 1 are never reached."""
        return limit is not None and limit < 1.0 and self.total >= ENOUGH and self.share >= limit

    def examples(self) -> tuple[str, ...]:
        """Up to three unreadable completions, shortened: one of each reason first, the most frequent reason first."""
        names = [name for name, _ in self.reasons.most_common()]
        by_turn = [self._examples[name][turn : turn + 1] for turn in range(SHOWN) for name in names]
        return tuple(text for texts in by_turn for text in texts)[:SHOWN]

    def failure(self, where: str, config: EvolveConfig, run: Path) -> Unreadable:
        """The error that stops the run at `where`, such as "round 1, questioner, step 0"."""
        worst = self.reasons.most_common(SHOWN)
        reasons = "; ".join(f"{name} ({count})" for name, count in worst)
        who = "base model" if where.startswith("round 0") else _WRITER[self.kind]
        # Of rare reasons nothing is said: mending them would change little.
        often = [name for name, count in worst if count >= self.unreadable / 10] or [worst[0][0]]
        advice = dict.fromkeys(advise(self.kind, name, config) for name in often)
        resume = f"{command()} resume {shortest(run)}"
        go_on = f"to train on regardless: {resume} max_unreadable=1"
        return Unreadable(
            f"{where}: {self.unreadable} of the {who}'s first {counted(self.total, self.kind[:-1])} cannot be read: "
            f"{reasons}",
            hint="; ".join([*advice, f"`{resume} KEY=VALUE` goes on from here", go_on]),
            completions=self.examples(),
        )


def why_no_answer(pack: PromptPack, rollout: Completion) -> str:
    """Why a completion holds no answer that could be compared; empty if it does."""
    if pack.read_key(rollout) is not None:
        return ""
    if not rollout.finished:
        return CUT_OFF
    reading = pack.read_answer(rollout.text)
    return "the box holds no answer that could be compared" if reading.ok else reading.reason


def advise(kind: Kind, reason: str, config: EvolveConfig) -> str:
    """What to change when completions of a kind are refused for a reason; only what a run can really change."""
    key = LENGTHS[kind]
    if "cut off" in reason:
        now = length_of(kind, config)
        return (
            f"{kind} are cut off at {counted(now, 'token')}: raise {key}, for example {key}={2 * now} (a model that "
            "never ends its turn needs another chat template or model)"
        )
    if "think" in reason:
        return f"the model's thinking is not one closed <think> block: raise {key}, or use a model that does not think"
    if "box" in reason or "<answer>" in reason or "<question>" in reason:
        return _instructed(kind, config)
    return f"the {kind} have another form than was asked for: {_SEE[kind]} says which can be read"


_SEE: Final[Mapping[Kind, str]] = {
    "questions": "docs/visplay.md", "answers": "docs/visplay.md",
    "clues": "docs/vision_zero.md", "votes": "docs/vision_zero.md",
}  # fmt: skip


def _instructed(kind: Kind, config: EvolveConfig) -> str:
    form = "<question>...</question>" if kind == "questions" else "\\boxed{...}"
    own = config.visplay.prompt_pack if kind in ("questions", "answers") else config.vision_zero.prompt_pack
    pack = "visplay.prompt_pack" if kind in ("questions", "answers") else "vision_zero.prompt_pack"
    other = f", or with {pack}=full" if own == "compact" else ""
    return (
        f"the model does not write {form} as it is asked to: start a new run with an instruction-tuned vision-language "
        f"model (model=...){other}"
    )


def length_of(kind: Kind, config: EvolveConfig) -> int:
    """The tokens that a completion of this kind may have."""
    lengths: Mapping[Kind, int] = {
        "questions": config.visplay.max_question_length,
        "answers": config.visplay.max_answer_length,
        "clues": config.vision_zero.max_clue_length,
        "votes": config.vision_zero.max_vote_length,
    }
    return lengths[kind]


def shortened(completion: str) -> str:
    """A completion on one line without control characters, its middle left out where it is long: the start shows what
    a model tried to write, and the end how it stopped.
    """
    # A completion of 100 kB needs no cleaning of all its characters.
    head, tail = completion[: 4 * _LONGEST], completion[-4 * _LONGEST :] if len(completion) > 4 * _LONGEST else ""
    line, end = plain_text(head), plain_text(tail)
    if not end and len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST * 2 // 3]} ... {(end or line)[-_LONGEST // 3 :]}"
