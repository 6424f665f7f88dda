"""A run's summary, an evaluation and an arena as text for a person.

Reads `summary.json` as it is (accuracies and shares in [0, 1], `ci95` a pair [low, high]) and adds no
number of its own. A figure that a run could not measure (exact truth exists for worlds only) is shown as
a dash, never as zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfsight.config import ControlSettings
from selfsight.run.progress import plain_text

Summary = Mapping[str, Any]

_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_ACCURACIES = (("accuracy", "ci95"), ("sampled", "sampled_ci95"), ("majority", "majority_ci95"))


def render_summary(summary: Summary, stream: TextIO) -> None:
    """The end of a run: before and after with intervals, a row per round, and the verdict."""
    console = _console(stream)
    base, final, delta = summary["base"], summary["final"], summary["delta"]
    title = f"{summary['method']}, recipe {summary['recipe']}, seed {summary['seed']}"
    console.print(Text(f"\n{plain_text(title)}: {base['n']} held-out questions"))
    normal = ControlSettings().model_dump()
    changed = [f"{name}={value}" for name, value in summary["controls"].items() if value != normal.get(name)]
    if changed:
        console.print(Text(f"A control run, not the method: {plain_text(', '.join(changed))}"))
    console.print(_before_and_after(base, final, delta))
    console.print(_rounds(summary["rounds"]))
    left_out = summary.get("images", {}).get("quarantined", [])
    if left_out:
        console.print(Text(f"\nImage files left out: {len(left_out)}, named in the run's quarantine.jsonl."))
    console.print(Text(f"\n{verdict(summary)}"))


def render_evaluation(result: Summary, stream: TextIO) -> None:
    """One model's measurement: over all held-out questions, then by question family."""
    console = _console(stream)
    heldout = result["heldout"]
    table = _table("", "greedy", "sampled (T = 1)", "majority")
    table.add_row(
        "all families",
        _with_interval(heldout["accuracy"], heldout["ci95"]),
        _with_interval(heldout.get("sampled"), heldout.get("sampled_ci95")),
        _with_interval(heldout.get("majority"), heldout.get("majority_ci95")),
    )
    for family, accuracy in heldout.get("families", {}).items():
        shares = (_share(accuracy.get(name)) for name in ("greedy", "sampled", "majority"))
        table.add_row(plain_text(family), *shares)
    about = f"{heldout['n']} held-out questions"
    if "world" in result:
        about += f", world {result['world']}, {result['picture_size']} pixels a side"
    console.print(Text(f"\n{plain_text(str(result['model']))}: {about}"))
    console.print(table)
    console.print(Text(f"unreadable answers: {_share(heldout['format_failures'])} of the greedy ones"))


def render_arena(result: Summary, stream: TextIO) -> None:
    """Two models in the arena, and as voters on the same clues; accuracies stand beside chance."""
    console = _console(stream)
    rules, arena, decisions = result["rules"], result["arena"], result["decisions"]
    a, b = plain_text(str(result["a"])), plain_text(str(result["b"]))
    about = f"{rules['players']} players, {rules['clue_rounds']} clue rounds, spy view {rules['spy_view']}"
    console.print(Text(f"\nA is {a}, B is {b}: {about}, {arena['images']} images"))
    games = _table(f"won of {arena['games']} games", "A", "B")
    for label, side in (("as citizens and voter", "citizens"), ("as spy", "spy")):
        sides = (arena[f"{name}_{side}"] for name in ("a", "b"))
        games.add_row(label, *(_with_interval(won["rate"], won["ci95"]) for won in sides))
    games.add_row("all", *(_with_interval(arena[name]["rate"], arena[name]["ci95"]) for name in ("a", "b")))
    console.print(games)
    gain = arena["citizens_gain"]
    console.print(Text(f"A's citizens over B's: {_change(gain['difference'], gain['ci95'])} points, paired by image"))
    if arena["guessing"] is not None:
        console.print(Text(f"citizens whose voter guesses win {_share(arena['guessing'])}\n"))
    first, second, probes, change = decisions["a"], decisions["b"], decisions["probes"], decisions["change"]
    console.print(Text(f"{first['n']} votes on clues of B; chance {_share(first['chance'])}"))
    voters = _table("", "greedy", "sampled (T = 1)", "majority")
    for label, found in (
        ("A", first),
        ("B", second),
        ("A without the image", probes["clue_only"]),
        ("A without the clues", probes["image_only"]),
    ):
        voters.add_row(label, *(_with_interval(found[name], found[ci]) for name, ci in _ACCURACIES))
    seat = probes["position_only"]
    voters.add_row(f"always player {seat['seat']}", *[_share(seat["accuracy"])] * 3)
    voters.add_row("A over B, paired", *(_change(change[name], change[ci]) for name, ci in _ACCURACIES))
    console.print(voters)
    for label, found in (("A", first), ("B", second)):
        abstained, invalid = _share(found["sampled_abstentions"]), _share(found["sampled_invalid"])
        console.print(Text(f"{label}'s samples: {abstained} n/a, {invalid} invalid"))


def verdict(summary: Summary) -> str:
    """Did it get better? One plain sentence, and a second one where the first alone would mislead."""
    delta = summary["delta"]
    change, (low, high) = delta["accuracy"], delta["ci95"]
    interval = f"95 % interval {_points(low)} to {_points(high)}"
    size = f"{abs(change) * 100:.1f} points"
    if low > 0:
        sentence = f"It got better: held-out accuracy rose by {size} ({interval})."
    elif high < 0:
        sentence = f"It got worse: held-out accuracy fell by {size} ({interval})."
    else:
        moved = f"{_points(change)} points, {interval}"
        sentence = f"No change can be claimed: the difference in held-out accuracy ({moved}) includes zero."
    return " ".join([sentence, *_cautions(summary)])


def _cautions(summary: Summary) -> list[str]:
    base, final, rounds = summary["base"], summary["final"], summary["rounds"]
    cautions = []
    fewer_failures = base["format_failures"] - final["format_failures"]
    gain = summary["delta"]["accuracy"]
    # An answer that could not be read before and can be now is a gain in form; say so once it could
    # explain half of the gain.
    if gain > 0 and fewer_failures >= gain / 2:
        cautions.append(
            f"Unreadable answers fell from {_share(base['format_failures'])} to "
            f"{_share(final['format_failures'])}, so much of the gain may be form."
        )
    accuracies = [base["accuracy"], *(entry["heldout"]["accuracy"] for entry in rounds)]
    best = max(range(len(accuracies)), key=accuracies.__getitem__)
    if accuracies[best] - accuracies[-1] > 0.02:
        where = "the base model" if best == 0 else f"round {rounds[best - 1]['round']}"
        cautions.append(f"The last round is below {where} ({_share(accuracies[best])}).")
    posed = [entry.get("well_posed") for entry in rounds]
    if posed and posed[-1] is not None and posed[-1] < 0.5:
        cautions.append(f"Only {_share(posed[-1])} of the last round's questions could be answered at all.")
    return cautions


def _before_and_after(base: Summary, final: Summary, delta: Summary) -> Table:
    table = _table("held-out", "before", "after", "change in points")
    table.add_row(
        "greedy",
        _with_interval(base["accuracy"], base["ci95"]),
        _with_interval(final["accuracy"], final["ci95"]),
        _change(delta["accuracy"], delta["ci95"]),
    )
    table.add_row(
        "sampled (T = 1)",
        _share(base.get("sampled")),
        _share(final.get("sampled")),
        _change(delta.get("sampled"), delta.get("sampled_ci95")),
    )
    table.add_row(
        "majority",
        _share(base.get("majority")),
        _share(final.get("majority")),
        _change(delta.get("majority"), delta.get("majority_ci95")),
    )
    before, after = base["format_failures"], final["format_failures"]
    table.add_row("unreadable", _share(before), _share(after), _change(after - before, None))
    return table


def _rounds(rounds: Sequence[Summary]) -> Table:
    headers = ("round", "greedy", "sampled", "majority", "unreadable", "kept", "labels right", "well posed")
    table = _table(*headers, "confidence")
    for entry in rounds:
        heldout = entry["heldout"]
        table.add_row(
            str(entry["round"]),
            _share(heldout["accuracy"]),
            _share(heldout.get("sampled")),
            _share(heldout.get("majority")),
            _share(heldout["format_failures"]),
            str(entry["kept"]),
            _share(entry.get("pseudo_label_accuracy")),
            _share(entry.get("well_posed")),
            _DASH if entry.get("mean_confidence") is None else f"{entry['mean_confidence']:.2f}",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _console(stream: TextIO) -> Console:
    # Not a terminal: a fixed width, so that a log reads the same everywhere. Never markup or emoji codes:
    # a model's name is not ours to interpret.
    width = None if stream.isatty() else 110
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def _share(value: float | None) -> str:
    return _DASH if value is None else f"{value * 100:.1f} %"


def _points(value: float) -> str:
    sign = "+" if value > 0 else _MINUS if value < 0 else ""
    return f"{sign}{abs(value) * 100:.1f}"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return _share(value)
    return f"{_share(value)} [{interval[0] * 100:.1f}, {interval[1] * 100:.1f}]"


def _change(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return _DASH
    bounds = "" if interval is None else f" [{_points(interval[0])}, {_points(interval[1])}]"
    return f"{_points(value)}{bounds}"
