"""The chat template of a model folder: found, tried once under limits, and described.

A template is a jinja program that turns messages into the text of a prompt. Folders differ in where they keep it (four
places), in whether they name several, and in whether a message's content may be a list of parts or must be a string.
What goes wrong with it would otherwise show as a wrong prompt or a traceback in the first batch, so every form that
this package uses is rendered once when a model is loaded, in a child process with limits (`template_child`).
"""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from selfsight.errors import SelfsightError
from selfsight.policy import template_child
from selfsight.run.progress import plain_text

# What a template raises: its own errors, and those of Python's operators on a value that it did not expect.
TEMPLATE_ERRORS = (
    TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
_WALL_SECONDS = 30
_SYSTEM, _QUESTION, _ANSWER, _NEXT = "Probe of system", "Probe of question", "Probe of answer", "Probe of following"


@dataclass(frozen=True)
class ChatTemplate:
    """A template that renders user turns with images.

    Attributes:
        text: The jinja source.
        file: Where it was found; named in errors.
        system_as_text: A system turn's content must be a string, not a list of parts.
        no_system: Why the template refuses a system turn, or None.
        after_answer: What it writes between an assistant's answer and the user's next words; None if it does not
            render such a conversation.
    """

    text: str
    file: Path
    system_as_text: bool
    no_system: str | None
    after_answer: str | None

    def messages(self, user: str, images: Sequence[Any] = (), system: str | None = None) -> list[dict[str, Any]]:
        """One user turn, images first, after a system turn if there is one.

        Args:
            user: The user's words.
            images: One part of the content each: {"type": "image"}, with the picture under "image" if it is to be
                processed.
            system: The system turn's words.

        Raises:
            SelfsightError: the template refuses system turns.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": [*images, _text(user)]}]
        if system is not None:
            if self.no_system is not None:
                raise SelfsightError(
                    f"Model file {self.file}: its chat template refuses a system turn ({self.no_system}).",
                    hint="Use prompts without a system turn, or a template that takes one.",
                )
            content = system if self.system_as_text else [_text(system)]
            messages.insert(0, {"role": "system", "content": content})
        return messages


def load_template(folder: Path, tokenizer: Any) -> ChatTemplate:
    """The folder's chat template, rendered once in every form in which it is used here.

    Args:
        folder: The model folder.
        tokenizer: Its tokenizer, which gives the names of special tokens to a template.

    Raises:
        SelfsightError: there is none, it cannot be rendered, or it does not take a user turn with an image.
    """
    text, file = _find(folder, tokenizer)
    variables = json.dumps(tokenizer.special_tokens_map, default=str, sort_keys=True)
    return _tried(text, file, variables)


def _find(folder: Path, tokenizer: Any) -> tuple[str, Path]:
    for name in ("chat_template.jinja", "chat_template.json", "processor_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
            content = {"chat_template": text} if file.suffix == ".jinja" else json.loads(text)
        except (OSError, ValueError) as error:
            raise SelfsightError(
                f"Model file {file}: cannot be read ({error}).", hint="Download or save the model again."
            ) from error
        stated = content.get("chat_template") if isinstance(content, dict) else None
        if stated is not None:
            return _default_of(stated, file), file
        if name == "chat_template.json":
            raise SelfsightError(
                f"Model file {file}: has no key 'chat_template'.", hint="Remove the file or download it again."
            )
    file = folder / "tokenizer_config.json"
    if tokenizer.chat_template is not None:
        return _default_of(tokenizer.chat_template, file), file
    raise SelfsightError(
        f"Model {folder}: has no chat template.",
        hint="Add chat_template.jinja to the folder (instruction-tuned models ship one).",
    )


def _default_of(stated: Any, file: Path) -> str:
    """The template, or of several with names the one that is called default."""
    if isinstance(stated, list):
        stated = {str(one.get("name")): one.get("template") for one in stated if isinstance(one, dict)}
    if isinstance(stated, dict):
        if "default" not in stated:
            raise SelfsightError(
                f"Model file {file}: names chat templates {', '.join(map(repr, stated)) or '(none)'}, none of them "
                "'default'.",
                hint="Save the one to use as chat_template.jinja in the folder.",
            )
        stated = stated["default"]
    if not isinstance(stated, str):
        raise SelfsightError(
            f"Model file {file}: its chat template is a {type(stated).__name__}, not a text.",
            hint="Save the template to use as chat_template.jinja in the folder.",
        )
    return stated


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def _tried(text: str, file: Path, variables: str) -> ChatTemplate:
    user = {"role": "user", "content": [_text(_QUESTION)]}
    shown = {"role": "user", "content": [{"type": "image"}, _text(_QUESTION)]}
    following = {"role": "user", "content": [_text(_NEXT)]}
    conversations = {
        "question": [user],
        "image": [shown],
        "system": [{"role": "system", "content": [_text(_SYSTEM)]}, shown],
        "system as text": [{"role": "system", "content": _SYSTEM}, shown],
        "answer": [shown, {"role": "assistant", "content": [_text(_ANSWER)]}, following],
        "answer as text": [shown, {"role": "assistant", "content": _ANSWER}, following],
    }
    found, ended = _in_child(text, variables, json.dumps(conversations))
    if found is None:
        raise SelfsightError(
            f"Model file {file}: its chat template {ended}.",
            hint="Replace the template by that of the model's publisher.",
        )
    for name in ("image", "question"):
        if problem := _problem(found[name], _QUESTION):
            raise SelfsightError(
                f"Model file {file}: its chat template does not render a user turn: {plain_text(problem)}.",
                hint="Use a template that takes content as a list of parts, as current vision models ship it.",
            )
    no_system = _problem(found["system"], _SYSTEM, _QUESTION)
    as_text = no_system is not None and _problem(found["system as text"], _SYSTEM, _QUESTION) is None
    after = None
    for name in ("answer", "answer as text"):
        if after is None and _problem(found[name], _ANSWER, _NEXT) is None:
            after = _between(str(found[name][0]))
    return ChatTemplate(text, file, as_text, None if as_text else no_system, after)


def _problem(outcome: tuple[str | None, str | None], *words: str) -> str | None:
    """Why a rendered conversation cannot be used: an error, or words that it lacks."""
    text, error = outcome
    if text is None:
        return error
    # A template that takes content as a string writes the list as Python prints it.
    if "{'type':" in text or '{"type":' in text:
        return "it takes content as a string, and writes a list of parts as Python prints it"
    return next((f"it leaves out the words {one!r}" for one in words if one not in text), None)


def _between(text: str) -> str | None:
    """What stands between the answer and the next question."""
    begin = text.rindex(_ANSWER) + len(_ANSWER)
    end = text.find(_NEXT, begin)
    return text[begin:end] if end >= 0 else None


@functools.lru_cache(maxsize=64)
def _in_child(text: str, variables: str, conversations: str) -> tuple[dict[str, Any] | None, str]:
    """What each conversation (JSON, by name) becomes, and else why the child process was ended."""
    asked = {"path": sys.path, "template": text, "conversations": json.loads(conversations)}
    asked["variables"] = json.loads(variables)
    try:
        child = subprocess.run(
            [sys.executable, "-I", template_child.__file__],
            input=json.dumps(asked),
            capture_output=True,
            encoding="utf-8",
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "does not come to an end"
    if child.returncode != 0:  # killed by a limit, or out of memory outside the template
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return None, f"passes the limits on time or memory ({last})"
    return json.loads(child.stdout), ""
