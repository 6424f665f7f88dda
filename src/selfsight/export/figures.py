"""How figures stand in a card, and what a run says about its base, its images and its controls, in Markdown.

Nothing is computed here but the intervals of shares that no file of the run states.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

from selfsight.evaluate.statistics import share_interval
from selfsight.export.inert import block, cell, code
from selfsight.recipes import dump_yaml
from selfsight.report.figures import with_interval
from selfsight.report.overview import control
from selfsight.report.reading import RunReading
from selfsight.run import RunDirectory
from selfsight.run.history import read_history
from selfsight.settings.public import public_settings, without_folders

VISPLAY = "VisPlay, arXiv 2511.15661"
VISION_ZERO = "Vision-Zero, arXiv 2509.25541"
_OTHER_METHODS: Final = {"visplay": ("vision_zero", "mixed"), "vision-zero": ("visplay", "mixed"), "mixed": ()}


def front_matter(fields: Mapping[str, Any], licence: str) -> str:
    """The card's metadata, and a line that its publisher replaces by a licence."""
    return f"---\n{dump_yaml(dict(fields))}# license: {licence}\n---\n"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))


def share_right(right: Sequence[bool], images: Sequence[Hashable]) -> str:
    """A share with its 95 % interval over images; a dash when nothing is known."""
    if not right:
        return with_interval(None, None)
    found = share_interval([float(one) for one in right], clusters=images)
    return with_interval(found.mean, (found.low, found.high))


def methods(run: RunReading) -> str:
    """The run's method or methods with their papers."""
    return " and ".join([*([VISPLAY] if run.asks else []), *([VISION_ZERO] if run.plays else [])])


def about_run(run: RunReading) -> list[str]:
    """Where an export comes from, a line each."""
    config = run.config
    revision = f", revision {code(config.revision)}" if config.revision else ""
    lines = [
        f"base model: {code(without_folders(config.model))}{revision}",
        f"method: {methods(run)}; recipe {code(without_folders(config.recipe))}, seed {config.seed}",
        f"images: {images_in_words(run)}",
        f"rounds: {len(run.rounds)} of {run.rounds_planned}",
    ]
    if changed := control(run):
        lines.append(f"**a control run, not the method**: {code(', '.join(changed))}")
    if run.summary is None:
        lines.append("**the run was not finished** when this was exported")
    versions = (run.summary or {}).get("versions")
    if isinstance(versions, dict):
        lines.append(f"versions: {code(', '.join(f'{name} {version}' for name, version in sorted(versions.items())))}")
    return lines


def images_in_words(run: RunReading) -> str:
    """What the run's images are, as far as it says."""
    if run.config.images.startswith("worlds"):
        return f"{code(run.config.images)}: pictures drawn by selfsight, of coloured shapes and of charts"
    described = _described(run)
    many = described.get("images")
    counted = f", {many} files" if isinstance(many, int) else ""
    left_out = described.get("quarantined")
    bad = f", {len(left_out)} of them left out as unreadable" if isinstance(left_out, list) and left_out else ""
    return f"the user's own, {code(without_folders(run.config.images))}{counted}{bad}"


def limits_of_images(run: RunReading) -> list[str]:
    """What the run's record of its images warns of."""
    found = []
    if (run.summary or {}).get("images_repeat"):
        found.append("The images were fewer than the run needed: some were used more than once.")
    return found


def settings_block(run: RunReading, group: tuple[str, ...] = ()) -> str:
    """The settings in the run's own file, or a group of them, without those of a method that it did not follow."""
    shown = public_settings(RunDirectory.open(run.path).read_config())
    settings = {name: value for name, value in shown.items() if name not in _OTHER_METHODS[run.config.method]}
    for name in group:
        settings = {name: settings.get(name)} if name == group[-1] else dict(settings.get(name) or {})
    text = block(dump_yaml(settings), "yaml")
    others = _OTHER_METHODS[run.config.method]
    changes = [one for one in read_history(run.path).settings if one.key.partition(".")[0] not in others]
    if not changes:
        return text
    told = bullets([code(str(change)) for change in changes])
    return f"{text}\n\nThese hold at the run's end. Settings that were changed while it went on:\n\n{told}"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def family(name: str) -> str:
    """A kind of question in a cell of a table: one of ours, or what stands in the run's file."""
    return cell(name.replace("_", " "))


def _described(run: RunReading) -> Mapping[str, Any]:
    images = (run.summary or {}).get("images")
    while isinstance(images, dict) and isinstance(images.get("of"), dict):
        images = images["of"]
    return images if isinstance(images, dict) else {}
