"""What each role is asked: one prompt builder per role, used by training, reward, labelling and evaluation.

A `Prompt` is words and an image reference. Chat templates, token ids and pixels belong to the policy.

Two packs. `compact` is the dialect of the starter VLM: the shortest user turn that names the role, a bare
question back, free working and a box back. `full` is for instruction-tuned VLMs and uses <think>,
<question> and \\boxed{}. <think> is offered, never demanded, because the readers do not demand it; the readers of
`full` also accept what untrained VLMs write around these elements.

Left out: few-shot examples (they set the answer prior), question types and the questioner's own answer
(VisPlay, arXiv 2511.15661, labels by vote, so a proposed answer would only be a second thing to parse).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language import parse
from selfsight.language.keys import key_of
from selfsight.language.model_files import read_object
from selfsight.language.parse import Reading
from selfsight.language.question_reader import read_bare_question, read_tagged_question, tagged_question_span

# Text that a tokenizer may turn into a special token: an image placeholder smuggled in by a question would
# make the number of image tokens disagree with the number of image features.
_SPECIAL = re.compile(r"<\|[^<>|]{0,64}\|>|</?(?:image|img|video|s|bos|eos|pad)>", re.IGNORECASE)

PACK_KEY: Final = "selfsight_prompt_pack"  # in a model's config.json: the pack that it was taught


class Completion(Protocol):
    """What a model wrote, and whether it came to an end by itself."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> bool: ...


@dataclass(frozen=True)
class Prompt:
    """One user turn: the image first, then the text, so that all prompts of an image share a prefix.

    `further` are images that follow the first.
    """

    image: ImageRef | None
    user: str
    system: str | None = None
    further: tuple[ImageRef, ...] = ()

    def __post_init__(self) -> None:
        if self.further and self.image is None:
            raise ValueError("a prompt has further images but no first one")

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images, in order."""
        return () if self.image is None else (self.image, *self.further)


def special_token_in(text: str) -> str | None:
    """The first part of a text that a tokenizer may read as a special token."""
    found = _SPECIAL.search(text)
    return None if found is None else found.group()


def refuse_special_tokens(text: str, what: str) -> None:
    """SelfsightError when a model's own text would put a special token into another prompt."""
    found = special_token_in(text)
    if found is not None:
        raise SelfsightError(
            f"the {what} {text[:80]!r} contains {found!r}, which a tokenizer may read as a special token",
            hint=f"remove it from the {what}; what a model writes is checked by its reader",
        )


@dataclass(frozen=True)
class PromptPack:
    """The wording of every role, and how what comes back is read.

    `{question}` is filled by plain replacement, never by `str.format`: a question may contain braces.
    """

    name: str
    questioner_user: str
    reasoner_user: str
    describer_user: str
    supervisor_user: str
    tagged_question: bool
    system: str | None = None

    def questioner(self, image: ImageRef) -> Prompt:
        """Asks for one question about the image."""
        return Prompt(image, self.questioner_user, self.system)

    def reasoner(self, image: ImageRef, question: str) -> Prompt:
        """Asks for working and a boxed answer."""
        return Prompt(image, self._fill(self.reasoner_user, question), self.system)

    def blind(self, question: str) -> Prompt:
        """The reasoner's prompt without the image: what can be guessed from the words alone."""
        return Prompt(None, self._fill(self.reasoner_user, question), self.system)

    def describer(self, image: ImageRef) -> Prompt:
        """Asks for a short description of the image."""
        return Prompt(image, self.describer_user, self.system)

    def supervisor(self, image: ImageRef, question: str) -> Prompt:
        """Asks whether the question can be answered from the image, yes or no in a box."""
        return Prompt(image, self._fill(self.supervisor_user, question), self.system)

    def read_question(self, text: str) -> Reading:
        """The question in a questioner's completion."""
        return read_tagged_question(text) if self.tagged_question else read_bare_question(text)

    def question_span(self, text: str) -> tuple[int, int]:
        """Where the question begins and ends, tags included, in a completion that `read_question` accepts."""
        return tagged_question_span(text) if self.tagged_question else (0, len(text))

    def read_answer(self, text: str) -> Reading:
        """The content of the last balanced box of a reasoner's completion."""
        return parse.read_boxed_answer(text)

    def read_key(self, completion: Completion, question: str | None = None) -> str | None:
        """The answer key of a reasoner's completion to `question`. None is an abstention: no box, nothing readable in
        it, or a completion that was cut off, which never said that it was done.
        """
        return key_of(self.read_answer(completion.text), question) if completion.finished else None

    def read_description(self, text: str) -> Reading:
        """The description in a describer's completion."""
        return parse.read_description(text)

    def read_verdict(self, text: str) -> bool | None:
        """A supervisor's yes (True) or no (False); None when it gave neither."""
        reading = parse.read_boxed_answer(text)
        return {"yes": True, "no": False}.get(reading.text.strip(" .!").casefold()) if reading.ok else None

    def _fill(self, template: str, question: str) -> str:
        refuse_special_tokens(question, "question")
        return template.replace("{question}", question)


COMPACT = PromptPack(
    name="compact",
    questioner_user="Ask a question about the image.",
    reasoner_user="{question}",
    describer_user="Describe the image.",
    supervisor_user="Can this be answered from the image? {question}",
    tagged_question=False,
)

FULL = PromptPack(
    name="full",
    questioner_user=(
        "Ask one question about this image. It must need a careful look at the image and some reasoning, "
        "have a single short answer that the image alone decides (a number, a word or two, or yes or no), "
        "and make sense to someone who has only the image.\n"
        "You may think first, inside <think> and </think>. Then write the question, on one line and ending "
        "with a question mark, inside <question> and </question>, and nothing after it."
    ),
    reasoner_user=(
        "{question}\n\n"
        "You may think first, inside <think> and </think>. Then give your final answer, as short as "
        "possible, inside \\boxed{}."
    ),
    describer_user="Describe this image in one short paragraph of plain sentences.",
    supervisor_user=(
        "Here is a question about this image: {question}\n\n"
        "Do not answer it. Decide whether it makes sense for this image and whether the image alone "
        "determines one correct answer. You may think first, inside <think> and </think>. Then give "
        "\\boxed{yes} or \\boxed{no}."
    ),
    tagged_question=True,
)

PACKS = {pack.name: pack for pack in (COMPACT, FULL)}


def get_pack(name: str) -> PromptPack:
    """The pack called `name`: "compact" (starter VLM) or "full" (instruction-tuned VLMs)."""
    if name not in PACKS:
        raise SelfsightError(f"unknown prompt pack {name!r}", hint=f"use one of: {', '.join(sorted(PACKS))}")
    return PACKS[name]


def taught_pack(folder: Path) -> str:
    """The name of the pack that a model folder says it was taught, in its config.json; `full` when it names none.

    Raises:
        SelfsightError: config.json cannot be read, or it names a pack that does not exist.
    """
    file = folder / "config.json"
    name = read_object(file).get(PACK_KEY, "full")
    if not isinstance(name, str) or name not in PACKS:
        raise SelfsightError(
            f"Model file {file}: {PACK_KEY} is {str(name)[:100]!r}, which is no prompt pack.",
            hint=f"Set it to one of: {', '.join(sorted(PACKS))}; or remove the key.",
        )
    return name
