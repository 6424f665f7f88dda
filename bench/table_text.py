"""The VisPlay table as Markdown for docs/evidence.md: accuracies in per cent, changes in points, nothing new."""

from collections.abc import Sequence
from typing import Any

_DASH = "–"


def render(table: dict[str, Any]) -> str:
    """The whole report: results, what was learned from, comparisons, seeds, and what is missing."""
    parts = [
        f"{table['held_out_questions']} held-out questions, {table['rounds']} rounds. Greedy / sampled (T = 1) "
        "accuracy in per cent, means over seeds. Change: last round against base; in brackets the 95 % interval over "
        "questions, pooled over seeds, then the range over seeds. Of labelled gain: our gain as a fraction of that of "
        "labelled GRPO, greedy / sampled. Unreadable: greedy answers without a readable box, base and last round.",
        _results(table),
        "What was learned from, per round, means over seeds: share of pseudo-labels that were right, share of the "
        "pool's questions with exactly one right answer, the same share of everything asked, questions kept, "
        "optimiser steps of the reasoner.",
        _learned_from(table),
        _comparisons(table),
        "Every seed by itself: greedy accuracy per round, change with the run's own paired 95 % interval, and by how "
        "many points a round fell below the one before it at worst.",
        _seeds(table),
    ]
    if table.get("unfinished"):
        parts.append(_unfinished(table["unfinished"]))
    return "\n\n".join(parts) + "\n"


def _results(table: dict[str, Any]) -> str:
    rounds = [f"round {k}" for k in range(1, table["rounds"] + 1)]
    header = [
        "run",
        "seeds",
        "base",
        *rounds,
        "change greedy",
        "change sampled",
        "of labelled gain",
        "unreadable",
        "minutes",
    ]
    rows = []
    for name, figures in table["variants"].items():
        greedy, sampled = figures["accuracy"]["greedy"], figures["accuracy"]["sampled"]
        rows.append(
            [
                name, str(len(figures["seeds"])),
                *(f"{percent(g)} / {percent(s)}" for g, s in zip(greedy, sampled, strict=True)),
                change_text(figures["change"]["greedy"]), change_text(figures["change"]["sampled"]),
                _fraction(figures["of_labelled"]), " → ".join(map(percent, figures["format_failures"])),
                f"{figures['minutes']:.1f}",
            ]
        )  # fmt: skip
    return markdown(header, rows)


def _learned_from(table: dict[str, Any]) -> str:
    header = ["run", "round", "labels right", "well-posed in pool", "well-posed asked", "kept", "steps", "confidence"]
    rows = []
    for name, figures in table["variants"].items():
        for number, entry in enumerate(figures["rounds"], start=1):
            rows.append(
                [
                    name, str(number), percent(entry["pseudo_label_accuracy"]), percent(entry["well_posed_pool"]),
                    percent(entry["well_posed_asked"]), _number(entry["kept"], 0), _number(entry["reasoner_steps"], 0),
                    _number(entry["mean_confidence"], 2),
                ]
            )  # fmt: skip
    return markdown(header, rows)


def _comparisons(table: dict[str, Any]) -> str:
    reference = table["reference"]
    rows = []
    for name, figures in table["variants"].items():
        found = figures.get("reference_minus_this")
        if found and "greedy" in found:
            rows.append(
                [
                    f"{reference} − {name}",
                    str(len(found["seeds"])),
                    gap_text(found["greedy"]),
                    gap_text(found["sampled"]),
                ]
            )
    if not rows:
        return f"No other run shares a seed with {reference!r}, so nothing is compared with it."
    title = f"How far `{reference}` ends above each other run, in points: paired by question, 95 % interval pooled."
    return f"{title}\n\n{markdown(['difference', 'seeds', 'greedy', 'sampled'], rows)}"


def _seeds(table: dict[str, Any]) -> str:
    rows = []
    for figures in table["variants"].values():
        for entry in figures["per_seed"]:
            greedy = entry["accuracy"]["greedy"]
            rows.append(
                [
                    entry["run"], " → ".join(percent(value) for value in greedy), _interval(entry["change"]["greedy"]),
                    _interval(entry["change"]["sampled"]), _number(entry["largest_drop"]["greedy"] * 100, 1),
                ]
            )  # fmt: skip
    return markdown(["run", "greedy", "change greedy", "change sampled", "largest drop"], rows)


def _unfinished(unfinished: Sequence[dict[str, Any]]) -> str:
    lines = ["**Not in the table**, because they ended without a summary:", ""]
    for entry in unfinished:
        greedy = " → ".join(percent(value) for value in entry["greedy_so_far"])
        reached = f"; greedy so far {greedy}" if greedy else ""
        lines.append(f"- `{entry['run']}`: {entry['last_line'] or 'not started'}{reached}")
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """0.4567 as 45.7; a dash for what was not measured."""
    return _DASH if share is None else f"{share * 100:.1f}"


def points(change: float) -> str:
    """0.123 as +12.3; no change has no sign."""
    text = f"{change * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def change_text(change: dict[str, Any]) -> str:
    """A change with its pooled interval and its range over seeds."""
    return f"{gap_text(change)}, {points(change['min'])} to {points(change['max'])}"


def gap_text(gap: dict[str, Any]) -> str:
    """A difference with its pooled interval."""
    return f"{points(gap['mean'])} [{points(gap['pooled_ci95'][0])}, {points(gap['pooled_ci95'][1])}]"


def _interval(change: dict[str, Any]) -> str:
    return f"{points(change['mean'])} [{points(change['ci95'][0])}, {points(change['ci95'][1])}]"


def _fraction(of_labelled: dict[str, Any]) -> str:
    """The last round's fractions, greedy and sampled, of every labelled control that is there."""
    found = [
        " / ".join(_one_fraction(figures[measure][-1]) for measure in ("greedy", "sampled")) + f" ({name})"
        for name, figures in of_labelled.items()
        if "greedy" in figures
    ]
    return "; ".join(found) or _DASH


def _one_fraction(found: dict[str, Any]) -> str:
    if found["fraction"] is None:
        return _DASH
    low, high = found["ci95"]
    return f"{found['fraction']:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _number(value: float | None, digits: int) -> str:
    return _DASH if value is None else f"{value:.{digits}f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
