"""Renders a chat template in a process of its own, which may be killed: run as a script, JSON in and JSON out.

A template is a program from the model folder. The sandbox of jinja2 keeps it from files and code, but not from loops
without end or strings that fill the memory, so it runs here first, under limits on time and memory. The environment is
that of transformers; this file imports jinja2 and nothing larger, so that it starts in a tenth of a second.
"""

import json
import sys
from typing import Any

_MEMORY = 2 << 30  # bytes of address space
_SECONDS = 10  # of processor time
_LONGEST = 1 << 20  # characters of a prompt; the messages have less than a hundred


def main() -> None:
    """Reads `path`, `template`, `variables` and named `conversations`; writes name: [text, error], one of them null."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]  # the interpreter was started without the environment's own path
    _limit()
    from jinja2 import TemplateError

    out: dict[str, tuple[str | None, str | None]] = {}
    try:
        template = _environment().from_string(asked["template"])
    except TemplateError as error:
        out = dict.fromkeys(asked["conversations"], (None, _in_words(error)))
    else:
        for name, messages in asked["conversations"].items():
            out[name] = _rendered(template, messages, asked["variables"])
    json.dump(out, sys.stdout)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit still holds
        return
    for kind, limit in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, _SECONDS)):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError):  # not every system limits memory
            continue


def _environment() -> Any:
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant wrote; the text is the same without it."""

        tags = {"generation"}  # noqa: RUF012 - the name and kind are jinja2's

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _rendered(template: Any, messages: Any, variables: dict[str, Any]) -> tuple[str | None, str | None]:
    from jinja2 import TemplateError

    # All that a template's own operators and methods raise on values that it did not expect.
    own = (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    )
    try:
        arguments = {"tools": None, "documents": None, "add_generation_prompt": True} | variables
        text = template.render(messages=messages, **arguments)
    except (TemplateError, *own) as error:
        return None, _in_words(error)
    if len(text) > _LONGEST:
        return None, f"it writes {len(text)} characters for a conversation of a few words"
    return text, None


def _in_words(error: BaseException) -> str:
    line = getattr(error, "lineno", None)
    return f"{type(error).__name__}: {error}" + ("" if line is None else f", line {line}")


if __name__ == "__main__":
    main()
