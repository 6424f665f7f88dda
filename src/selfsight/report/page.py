"""`report.html`: a run as one file that holds all it shows, loads nothing, and treats every text in it as hostile.

What models and strangers wrote goes into the page as JSON in blocks that a browser does not run, with `<`, `>` and `&`
written as escapes, and comes out of them as text nodes only. A content security policy names the page's own scripts and
style by their hashes and forbids everything else: scripts of others, markup made of text (Trusted Types), requests,
forms, frames. So a hole in one of these walls is not a hole in the house.

Charts are drawn by hand as SVG (`charts.js`). Libraries that a package could bring were looked at: plotly 7.1 brings
4.8 MB of script and bokeh 3.9 1.3 MB, more than the whole report of a small run; both make code from text
(`new Function`) and set style attributes, which that policy forbids; and their canvas knows neither dark colours by the
system's choice nor paper. What is needed here, lines, dots and bars, is some 200 lines.

Left out: a framework and a build step (the scripts are what the browser reads), and compression of the data (a page
whose text cannot be searched with ordinary tools).
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, TextIO

from jinja2 import Environment, StrictUndefined
from rich.text import Text

from selfsight import __version__
from selfsight.config import to_yaml
from selfsight.report.curves import Curves, curves
from selfsight.report.figures import console
from selfsight.report.gallery import PIECE, Album, gallery
from selfsight.report.overview import Overview, failed, overview
from selfsight.report.pictures import Copies, Pictures, Thumbnail
from selfsight.report.questions import TruthOf
from selfsight.report.reading import Failure, RunReading, Trouble, damage_in, read_run
from selfsight.report.replays import PIECE as GAMES_PIECE
from selfsight.report.replays import replays
from selfsight.run import plain_text, write_atomic

MOST_QUESTIONS: Final = 15_000
MOST_GAMES: Final = 1_500
_PICTURES_PIECE: Final = 100
_SCRIPTS: Final = ("dom.js", "charts.js", "overview.js", "gallery.js", "question.js", "replay.js", "main.js")
_LIVE_SCRIPTS: Final = ("live.js",)
_STYLES: Final = ("report.css", "gallery.css")


@dataclass(frozen=True)
class Block:
    """A piece of the page's data by its name; `json` is harmless inside a script element."""

    name: str
    json: str


@dataclass(frozen=True)
class Report:
    """A written report: where it is, what it holds, what could not be read, and what is shown although the run did not
    write it so.
    """

    path: Path
    size: int
    questions: int
    games: int
    pictures: int
    troubles: tuple[Trouble, ...]
    damaged: tuple[Trouble, ...]
    failure: Failure | None = None


def write_report(
    run_path: Path,
    out: Path | None = None,
    *,
    truth: TruthOf | None = None,
    most_questions: int = MOST_QUESTIONS,
    most_games: int = MOST_GAMES,
) -> Report:
    """Reads the run in `run_path` and writes its report, by default `report.html` in it."""
    run = read_run(run_path)
    troubles = list(run.troubles)
    damaged = damage_in(run.path)
    first = overview(run, troubles)
    album = Album()
    questions, games, blocks = table_blocks(run, album, truth, troubles, most_questions, most_games)
    pictures = Pictures(run.config, picture_root(run), len(album.refs))
    blocks += picture_blocks(album, pictures)
    troubles += pictures.troubles()
    blocks.insert(0, overview_block(run, first, [*troubles, *damaged]))
    path = (run.path / "report.html") if out is None else Path(out)
    page = render(f"{run.name}: {run.config.method}", run.name, first.headline.sentences[0], blocks).encode()
    write_atomic(path, page)
    pictured, left_out = len(pictures.thumbnails), tuple(troubles)
    return Report(path, len(page), questions, games, pictured, left_out, tuple(damaged), run.failure)


def overview_block(run: RunReading, first: Overview, troubles: Sequence[Trouble]) -> Block:
    """The data of the first page; `troubles` are all there were, those of the tables too."""
    return _block("overview", _overview_data(run, first, curves(run.metrics), troubles))


def table_blocks(
    run: RunReading,
    album: Album,
    truth: TruthOf | None,
    troubles: list[Trouble],
    most_questions: int = MOST_QUESTIONS,
    most_games: int = MOST_GAMES,
) -> tuple[int, int, list[Block]]:
    """How many questions and games are shown, and their data; their pictures go into `album`."""
    blocks: list[Block] = []
    questions = games = 0
    if run.asks:
        found = gallery(run, album, truth, troubles, most=most_questions)
        questions = found.shown
        if questions:
            columns = {"columns": found.columns, "names": found.names, "piece": PIECE}
            blocks.append(_block("questions", {**columns, "shown": found.shown, "asked": found.asked}))
            blocks += [_block(f"details-{i}", piece) for i, piece in enumerate(found.details)]
    if run.plays:
        played = replays(run, album, troubles, most=most_games)
        games = played.shown
        if games:
            about = {"columns": played.columns, "piece": GAMES_PIECE, "shown": played.shown, "played": played.played}
            blocks.append(_block("games", about))
            blocks += [_block(f"plays-{i}", piece) for i, piece in enumerate(played.details)]
    return questions, games, blocks


def album_block(album: Album, places: Sequence[int | str]) -> Block:
    """The names of the pictures, and where a page finds each: its number among the pieces, or its name in a request."""
    images = [
        [place, ref.id if ref.id.startswith(("w-", "blank-")) else Path(ref.origin).name]
        for place, ref in zip(places, album.refs, strict=True)
    ]
    return _block("album", {"images": images, "piece": _PICTURES_PIECE})


def render_written(report: Report, stream: TextIO) -> None:
    """Where a report is and what it holds, after a line for everything of the run that could not be read."""
    out = console(stream)
    for sentence in failed(report.failure) if report.failure is not None else []:
        out.print(Text(sentence), soft_wrap=True)
    for trouble in report.troubles:
        out.print(Text(f"left out: {plain_text(f'{trouble.where}: {trouble.what}')}"), soft_wrap=True)
    for trouble in report.damaged:
        out.print(Text(f"WARNING: {plain_text(f'{trouble.where}: {trouble.what}')}"), soft_wrap=True)
    counts = ((report.questions, "questions"), (report.games, "games"))
    held = [f"{count} {what}" for count, what in counts if count] or ["no questions and no games"]
    out.print(Text(f"{plain_text(str(report.path))}: {', '.join(held)}, {report.size / 1e6:.1f} MB"), soft_wrap=True)


def render(
    title: str,
    name: str,
    headline: str,
    blocks: Sequence[Block],
    *,
    scripts: Sequence[str] = _SCRIPTS,
    styles: Sequence[str] = _STYLES,
    live: bool = False,
) -> str:
    """The page around its data; `scripts` and `styles` are names of assets. A live page fetches its data itself, from
    where it came.
    """
    code, style = _sources(scripts, styles, live)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("report.html.j2")).render(
        title=title,
        name=name,
        headline=headline,
        version=__version__,
        policy=policy(code, style, live=live),
        live=live,
        style=style,
        scripts=code,
        blocks=blocks,
    )


def policy(scripts: Sequence[str], style: str, *, live: bool = False) -> str:
    """The content security policy: these scripts, this style, pictures out of the page itself, and nothing else.

    A live page has its pictures and data from its own server.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(style)}",
            *(["connect-src 'self'", "img-src 'self'"] if live else ["img-src data:"]),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def live_policy() -> str:
    """The content security policy of a live page."""
    return policy(*_sources(_SCRIPTS, _STYLES, live=True), live=True)


def _sources(scripts: Sequence[str], styles: Sequence[str], live: bool) -> tuple[list[str], str]:
    code = [_asset(name) for name in (*scripts, *(_LIVE_SCRIPTS if live else ()))]
    return code, "\n".join(_asset(name) for name in styles)


def harmless_json(value: object) -> str:
    """`value` as JSON that cannot end the script element it stands in, and that no reader takes for markup.

    Everything outside ASCII is escaped, U+2028 and U+2029 and lone surrogates among it; NaN is refused.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _block(name: str, value: object) -> Block:
    return Block(name, harmless_json(value))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return resources.files("selfsight.report").joinpath("assets", name).read_text(encoding="utf-8")


def picture_root(run: RunReading) -> str | None:
    """Where the run's image files lay, by its summary."""
    images = (run.summary or {}).get("images")
    while isinstance(images, dict):
        root = images.get("root")
        if isinstance(root, str) and root.startswith("/") and "\0" not in root:
            return root
        images = images.get("of")
    return None


def picture_blocks(album: Album, pictures: Copies) -> list[Block]:
    """The pictures of an album by number, with their names, and their pixels in pieces."""
    names = [pictures.add(ref) for ref in album.refs]
    place = {thumbnail.name: number for number, thumbnail in enumerate(pictures.thumbnails)}
    blocks = [album_block(album, [-1 if name is None else place[name] for name in names])]
    for number, start in enumerate(range(0, len(pictures.thumbnails), _PICTURES_PIECE)):
        piece = pictures.thumbnails[start : start + _PICTURES_PIECE]
        blocks.append(_block(f"pictures-{number}", [_picture(thumbnail) for thumbnail in piece]))
    return blocks


def _picture(thumbnail: Thumbnail) -> list[Any]:
    return [thumbnail.width, thumbnail.height, base64.b64encode(thumbnail.data).decode()]


def _overview_data(run: RunReading, first: Overview, drawn: Curves, troubles: Sequence[Trouble]) -> dict[str, Any]:
    settings = run.config.model_copy(update={"output_dir": ".", **_named(run)})
    return {
        "headline": {
            "status": first.headline.status,
            "sentences": first.headline.sentences,
            "control": first.headline.control,
        },
        "facts": first.facts,
        "before_after": [[row.name, row.before, row.after, row.change] for row in first.before_after],
        "measured": [
            [curve.name, [[round, e.value, e.low, e.high] for round, e in curve.points]] for curve in first.measured
        ],
        "chance": first.chance,
        "families": [[one.family, one.before, one.after] for one in first.families],
        "rounds": [
            {
                "round": one.round,
                "candidates": one.candidates,
                "kept": one.kept,
                "confidence": one.confidence,
                "labels_right": one.labels_right,
                "well_posed": one.well_posed,
                "rejected": one.rejected,
                "calibration": [[bin.confidence, bin.accuracy, bin.n] for bin in one.calibration],
            }
            for one in first.rounds
        ],
        "stages": [[stage.name, stage.seconds] for stage in first.stages],
        "notes": first.notes,
        "alarms": first.alarms,
        "troubles": [[trouble.where, trouble.what] for trouble in troubles],
        "settings": to_yaml(settings) + "".join(f"# {plain_text(change)}\n" for change in run.changes),
        "curves": {
            "steps": drawn.steps,
            "per_point": drawn.per_point,
            "stretches": [[s.round, s.phase, s.first, s.last] for s in drawn.stretches],
            "curves": [
                {
                    "title": curve.title,
                    "about": curve.about,
                    "form": curve.form,
                    "series": [{"name": s.name, "role": s.role, "pieces": _short(s.pieces)} for s in curve.series],
                }
                for curve in drawn.curves
            ],
        },
    }


def _named(run: RunReading) -> dict[str, str]:
    """Model and images without the folders that they lie in."""
    return {name: Path(value).name if value.startswith(("/", ".", "~")) else value
            for name, value in (("model", run.config.model), ("images", run.config.images))}  # fmt: skip


def _short(pieces: Sequence[Sequence[tuple[float, float]]]) -> list[list[list[float]]]:
    return [[[step, float(f"{value:.5g}")] for step, value in piece] for piece in pieces]
