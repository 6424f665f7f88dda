"""What the commands share: options, how a result is printed as JSON, and how mistakes are told."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Literal, TextIO

import typer

from selfsight.errors import SelfsightError

World = Literal["mixed", "scenes", "charts"]
PictureSize = Annotated[
    int | None,
    typer.Option(
        min=56, max=2048, help="Side of the pictures in pixels; starter 112, other models 448.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@contextmanager
def errors() -> Iterator[None]:
    """A mistake the user can mend is a message and exit code 2; a bug keeps its traceback.

    A run that was asked to stop brings its own exit code.
    """
    try:
        yield
    except SelfsightError as error:
        from selfsight.run.progress import plain_text

        asked_to_stop: int | None = getattr(error, "exit_code", None)
        first, *more = error.message.split("\n")
        with suppress(OSError):  # a log on a full disk: the exit code still tells
            print(plain_text(f"{'' if asked_to_stop else 'Error: '}{first}"), file=sys.stderr)
            for line in more:  # indented further than a hint, so that no file's name can look like one
                print(f"    {plain_text(line)}", file=sys.stderr)
            if error.hint:
                print(f"  -> {plain_text(error.hint)}", file=sys.stderr)
        raise typer.Exit(asked_to_stop or 2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def discard_output(stream: TextIO) -> None:
    """Lets standard output or error go nowhere: what it still holds would fail once more when Python ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def discard_unwritable() -> None:
    """Discards what a standard stream cannot write (a log on a full disk), which would change the exit code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard_output(stream)


def json_text(data: object) -> str:
    """A result for standard output."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
