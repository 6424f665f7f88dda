"""`comparison.html`: two models side by side as one file, on the report's page and behind the report's walls.

Data, scripts, style and pictures lie in it as in a report (see page.py): texts become text nodes, the policy names what
may run. The page shows a comparison as `selfsight compare --json` prints it, with the pictures, which are drawn again
from their references. The models are called by their names, without the folders that they lie in.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from rich.text import Text

from selfsight.images import ImageRef
from selfsight.report.arithmetic import answer_text
from selfsight.report.comparison import MEASURES, p_is, probability
from selfsight.report.figures import change, console, share, with_interval
from selfsight.report.gallery import PIECE, Album, Names, shortened
from selfsight.report.page import Block, harmless_json, picture_blocks, render
from selfsight.report.pictures import copies_of_worlds
from selfsight.run import plain_text, write_atomic
from selfsight.run.atomic import disk_errors

MOST_QUESTIONS: Final = 3_000
_QUESTION, _ANSWER = 400, 3_000  # characters
_SCRIPTS: Final = ("dom.js", "charts.js", "gallery.js", "comparison.js", "pairs.js")
_STYLES: Final = ("report.css", "gallery.css", "comparison.css")
_RESULTS: Final = {"win": 0, "loss": 1, "tie": 2}
_OUTCOMES: Final = ("right", "wrong", "unreadable")


@dataclass(frozen=True)
class ComparisonPage:
    """A written comparison: its two files, how many questions the page shows, and its size."""

    page: Path
    data: Path
    questions: int
    size: int
    missing: tuple[str, ...]


def write_comparison(result: Mapping[str, Any], folder: Path, *, most: int = MOST_QUESTIONS) -> ComparisonPage:
    """Writes comparison.html and comparison.json into `folder`; `result` has its verdict.

    The page shows at most `most` questions: those that changed most, either way.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    shown = _most_changed(result["questions"], most)
    album = Album()
    blocks = [Block("comparison", harmless_json(_summary(result))), *_question_blocks(shown, result["n"], album)]
    copies = copies_of_worlds(len(album.refs))
    blocks += picture_blocks(album, copies)
    # A name comes from the command line, where bytes that are no UTF-8 arrive as lone surrogates.
    name = f"{result['a']['name']} \N{RIGHTWARDS ARROW} {result['b']['name']}"
    page = render(
        f"{name}: comparison", name, result["verdict"]["sentences"][0], blocks, scripts=_SCRIPTS, styles=_STYLES
    ).encode("utf-8", "backslashreplace")
    paths = folder / "comparison.html", folder / "comparison.json"
    write_atomic(paths[0], page)
    write_atomic(paths[1], json.dumps(result, indent=1, allow_nan=False).encode() + b"\n")
    return ComparisonPage(*paths, len(shown), len(page), tuple(copies.missing))


def render_written(written: ComparisonPage, stream: TextIO) -> None:
    """Where a comparison is and what it holds."""
    out = console(stream)
    for missing in written.missing:
        out.print(Text(f"left out: {plain_text(missing)}"), soft_wrap=True)
    about = f"{written.questions} questions with pictures, {written.size / 1e6:.1f} MB"
    out.print(Text(f"\n{plain_text(str(written.page))}: {about}"), soft_wrap=True)
    out.print(Text(plain_text(str(written.data))), soft_wrap=True)


def _most_changed(questions: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The `most` questions that changed most, in their order."""
    order = sorted(range(len(questions)), key=lambda place: (-abs(questions[place]["drop"]), place))
    return [questions[place] for place in sorted(order[:most])]


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    a, b, moved = result["measured"]["a"], result["measured"]["b"], result["change"]
    asked = result["asked"]
    measures = [
        [label, with_interval(a[name], a[ci]), with_interval(b[name], b[ci]), change(moved[name], moved[ci])]
        for label, name, ci in MEASURES
    ]
    measures += [
        [label, share(a[name]), share(b[name]), change(b[name] - a[name], None)]
        for label, name in (
            ("unreadable, greedy", "format_failures"),
            ("unreadable, sampled", "sampled_format_failures"),
        )
    ]
    return {
        "verdict": result["verdict"],
        "sides": [[result[side]["name"], result[side]["answers"]] for side in ("a", "b")],
        "facts": [
            ["questions", str(result["n"])],
            ["pictures", str(result["images"])],
            ["world", f"{asked['world']}, held-out, seed {asked['seed']}"],
            ["picture size", f"{asked['picture_size']} pixels a side"],
            ["samples", f"{asked['num_samples']} each, T = 1"],
            ["answers", f"at most {asked['max_completion_length']} tokens"],
        ],
        "n": result["n"],
        "measures": measures,
        "wins": result["wins"],
        "losses": result["losses"],
        "ties": result["ties"],
        "mcnemar": p_is(result["mcnemar"]["p"]),
        "parts": [
            [name, change(result["parts"][name]["difference"], result["parts"][name]["ci95"])]
            for name in ("answers", "form")
        ],
        "outcomes": [[result["outcomes"][mine][theirs] for theirs in _OUTCOMES] for mine in _OUTCOMES],
        "families": [_family(name, one) for name, one in _by_change(result["families"])],
    }


def _by_change(families: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The families, the largest loss first."""
    return sorted(families.items(), key=lambda item: item[1]["change"]["accuracy"])


def _family(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    moved = one["change"]
    return {
        "name": name,
        "n": one["n"],
        "a": share(one["a"]["accuracy"]),
        "b": share(one["b"]["accuracy"]),
        "greedy": [moved["accuracy"], *moved["ci95"]],
        "changes": [change(moved[value], moved[ci]) for _, value, ci in MEASURES[:2]],
        "wins": one["wins"]["all"],
        "losses": one["losses"]["all"],
        "p": probability(one["p"]),
    }


def _question_blocks(shown: Sequence[Mapping[str, Any]], asked: int, album: Album) -> list[Block]:
    families, answers = Names(), Names()
    columns: dict[str, list[Any]] = {}
    details = []

    def number(key: str | None) -> int:
        return -1 if key is None else answers.number(key)

    for question in shown:
        row: dict[str, Any] = {
            "id": question["id"],
            "image": album.number(ImageRef(question["image_id"], question["origin"])),
            "text": shortened(question["question"], _QUESTION),
            "family": families.number(question["family"]),
            "truth": number(question["key"]),
            "result": _RESULTS[question["result"]],
            "form": int(question["by_form"]),
            "drop": round(question["drop"], 4),
        }
        for side in ("a", "b"):
            answer = question[side]
            row[side] = [_OUTCOMES.index(answer["outcome"]), number(answer["key"]), _votes(answer, number)]
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        details.append([shortened(question[side]["text"], _ANSWER) for side in ("a", "b")])
    pieces = [details[start : start + PIECE] for start in range(0, len(details), PIECE)]
    names = {"families": families.texts, "answers": [answer_text(key) for key in answers.texts]}
    about = {"columns": columns, "names": names, "piece": PIECE, "shown": len(shown), "asked": asked}
    return [
        Block("questions", harmless_json(about)),
        *(Block(f"details-{i}", harmless_json(piece)) for i, piece in enumerate(pieces)),
    ]


def _votes(answer: Mapping[str, Any], number: Callable[[str | None], int]) -> list[int]:
    """The sampled answers as pairs (answer, count), the most frequent first; -1 are the unreadable ones, at the end."""
    counts = Counter(answer["sampled_keys"])
    unreadable = counts.pop(None, 0)
    flat = [part for key, count in counts.most_common() for part in (number(key), count)]
    return [*flat, -1, unreadable] if unreadable else flat
