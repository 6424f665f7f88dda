"""A run's summary, an evaluation and an arena as text for a person.

Reads `summary.json` as it is (accuracies and shares in [0, 1], `ci95` a pair [low, high]) and adds no
number of its own. A figure that a run could not measure (exact truth exists for worlds only) is shown as
a dash, never as zero.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table
from rich.text import Text

from selfsight.config import ControlSettings
from selfsight.recipes import recipe_names, recipe_summary
from selfsight.report.alarms import alarm_lines, rollback_sentence
from selfsight.report.figures import DASH, change, console, points, share, table, with_interval
from selfsight.report.games import ablations, about_games, game_rounds, skill
from selfsight.run.invoked import command
from selfsight.run.progress import counted, duration, plain_text

Summary = Mapping[str, Any]

FEW_QUESTIONS = 100  # below, the verdict says how many there were

_ACCURACIES = (("accuracy", "ci95"), ("sampled", "sampled_ci95"), ("majority", "majority_ci95"))


def render_summary(summary: Summary, stream: TextIO, run: Path | None = None) -> None:
    """The end of a run: before and after with intervals, a row per round, the verdict, and where everything is.

    `run` is the run's folder, where it is known.
    """
    out = console(stream)
    base, final, delta = summary["base"], summary["final"], summary["delta"]
    title = f"{summary['method']}, recipe {summary['recipe']}, seed {summary['seed']}"
    out.print(Text(f"\n{plain_text(title)}: {base['n']} held-out questions"))
    asks, plays = summary["method"] in ("visplay", "mixed"), summary["method"] in ("vision-zero", "mixed")
    changed = [*(_controls(summary) if asks else []), *(ablations(summary) if plays else [])]
    if changed:
        out.print(Text(f"A control run, not the method: {plain_text(', '.join(changed))}"))
    out.print(_before_and_after(base, final, delta))
    if asks:
        out.print(_rounds([entry for entry in summary["rounds"] if "kept" in entry]))
    if plays:
        out.print(game_rounds([entry for entry in summary["rounds"] if "games" in entry]))
    images = summary.get("images", {})
    left_out = images.get("of", images).get("quarantined", [])  # a spy's view has a source behind it
    if left_out:
        out.print(Text(f"\nImage files left out: {len(left_out)}, named in the run's quarantine.jsonl."))
    found = skill(summary) if plays else None
    out.print(Text(f"\n{found}\n{verdict(summary)}" if found else f"\n{verdict(summary)}"))
    if plays:
        out.print(Text(about_games(summary)))
    if (rolled_back := rollback_sentence(summary)) is not None:
        out.print(Text(plain_text(rolled_back)))
    for line in alarm_lines(summary):
        out.print(Text(plain_text(line)), soft_wrap=True)
    for line in closing_lines(summary, run):
        out.print(Text(plain_text(line)), soft_wrap=True)


def closing_lines(summary: Summary, run: Path | None) -> list[str]:
    """The last lines of a run: its model, its report, and the time it took, summed over all its starts."""
    lines = []
    if run is not None:
        model = summary.get("final_model")
        if model is not None:
            lines.append(f"model: {run / model if summary.get('final_round') else model}")
        lines.append(f"report: {command()} report {run}")
    total = (summary.get("timings") or {}).get("total")
    if isinstance(total, int | float):
        lines.append(f"time: {duration(total)}")
    return ["", *lines] if lines else []


def render_evaluation(result: Summary, stream: TextIO) -> None:
    """One model's measurement: over all held-out questions, then by question family."""
    out = console(stream)
    heldout = result["heldout"]
    rows = table("", "greedy", "sampled (T = 1)", "majority")
    rows.add_row(
        "all families",
        with_interval(heldout["accuracy"], heldout["ci95"]),
        with_interval(heldout.get("sampled"), heldout.get("sampled_ci95")),
        with_interval(heldout.get("majority"), heldout.get("majority_ci95")),
    )
    for family, accuracy in heldout.get("families", {}).items():
        shares = (share(accuracy.get(name)) for name in ("greedy", "sampled", "majority"))
        rows.add_row(plain_text(family), *shares)
    about = f"{heldout['n']} held-out questions"
    if "world" in result:
        about += f", world {result['world']}, {result['picture_size']} pixels a side"
    out.print(Text(f"\n{plain_text(str(result['model']))}: {about}"))
    out.print(rows)
    out.print(Text(f"unreadable answers: {share(heldout['format_failures'])} of the greedy ones"))


def render_arena(result: Summary, stream: TextIO) -> None:
    """Two models in the arena, and as voters on the same clues; accuracies stand beside chance."""
    out = console(stream)
    rules, arena, decisions = result["rules"], result["arena"], result["decisions"]
    a, b = plain_text(str(result["a"])), plain_text(str(result["b"]))
    rounds = counted(rules["clue_rounds"], "clue round")
    about = f"{rules['players']} players, {rounds}, spy view {rules['spy_view']}"
    out.print(Text(f"\nA is {a}, B is {b}: {about}, {arena['images']} images"))
    games = table(f"won of {arena['games']} games", "A", "B")
    for label, side in (("as citizens and voter", "citizens"), ("as spy", "spy")):
        sides = (arena[f"{name}_{side}"] for name in ("a", "b"))
        games.add_row(label, *(with_interval(won["rate"], won["ci95"]) for won in sides))
    games.add_row("all", *(with_interval(arena[name]["rate"], arena[name]["ci95"]) for name in ("a", "b")))
    out.print(games)
    gain = arena["citizens_gain"]
    out.print(Text(f"A's citizens over B's: {change(gain['difference'], gain['ci95'])} points, paired by image"))
    if arena["guessing"] is not None:
        out.print(Text(f"citizens whose voter guesses win {share(arena['guessing'])}\n"))
    first, second, probes, paired = decisions["a"], decisions["b"], decisions["probes"], decisions["change"]
    out.print(Text(f"{first['n']} votes on clues of B; chance {share(first['chance'])}"))
    voters = table("", "greedy", "sampled (T = 1)", "majority")
    for label, found in (
        ("A", first),
        ("B", second),
        ("A without the image", probes["clue_only"]),
        ("A without the clues", probes["image_only"]),
    ):
        voters.add_row(label, *(with_interval(found[name], found[ci]) for name, ci in _ACCURACIES))
    seat = probes["position_only"]
    voters.add_row(f"always player {seat['seat']}", *[share(seat["accuracy"])] * 3)
    voters.add_row("A over B, paired", *(change(paired[name], paired[ci]) for name, ci in _ACCURACIES))
    out.print(voters)
    for label, found in (("A", first), ("B", second)):
        abstained, invalid = share(found["sampled_abstentions"]), share(found["sampled_invalid"])
        out.print(Text(f"{label}'s samples: {abstained} n/a, {invalid} invalid"))
    truth = decisions.get("clue_truth")
    if truth is not None:
        said = ", ".join(
            f"{with_interval(truth[role]['true_of_decided'], truth[role]['true_of_decided_ci95'])} of a {role}'s"
            for role in ("citizen", "spy")
            if role in truth and truth[role]["true_of_decided"] is not None
        )
        knowing = truth["knowing_voter"]
        out.print(Text(f"\nB's clues that say something decidable and are true: {said or 'none'}"))
        out.print(
            Text(f"a voter that sees everything: {with_interval(knowing['accuracy'], knowing['ci95'])} of the spies")
        )


def verdict(summary: Summary, *, whose: str = "your") -> str:
    """Did it get better? One plain sentence that names what was measured, and more where it alone would mislead.

    Held-out questions are about drawn worlds whatever a run's images are, so with images of one's own the sentence says
    so: a gain on worlds is none on photographs. `whose` images they were, as the reader would say it.
    """
    delta = summary["delta"]
    difference, (low, high) = delta["accuracy"], delta["ci95"]
    interval = f"95 % interval {points(low)} to {points(high)}"
    size = f"{abs(difference) * 100:.1f} points"
    # Games are trained on no question at all: what changes there is transfer.
    what = "held-out accuracy"
    if summary["method"] == "vision-zero":
        what += " in question answering (transfer)"
    where = " on drawn worlds" if own_images(summary) else ""
    if low > 0:
        sentence = f"It got better{where}: {what} rose by {size} ({interval})."
    elif high < 0:
        sentence = f"It got worse{where}: {what} fell by {size} ({interval})."
    else:
        moved = f"{points(difference)} points, {interval}"
        sentence = f"No change can be claimed{where}: the difference in {what} ({moved}) includes zero."
    return " ".join([sentence, *_reach(summary, whose), *_cautions(summary)])


def own_images(summary: Summary) -> bool:
    """Whether a run's images were the user's own: then nothing was measured on them."""
    images: Mapping[str, Any] = summary.get("images") or {}
    while isinstance(images.get("of"), dict):  # a spy's view and shuffled images have a source behind them
        images = images["of"]
    return bool(images) and images.get("kind") != "worlds"


def _reach(summary: Summary, whose: str) -> list[str]:
    """How far the sentence reaches: what it was measured on, how many questions, and what the recipe is for."""
    n, (low, high) = summary["base"]["n"], summary["delta"]["ci95"]
    found = []
    if n < FEW_QUESTIONS:
        found.append(f"{n} questions are few: the interval is {(high - low) * 50:.1f} points to either side.")
    if own_images(summary):
        # Held-out games are about a run's own images; see `games.skill`.
        played = summary["method"] in ("vision-zero", "mixed")
        rest = f"none is about {whose} images" if played else f"nothing was measured on {whose} images"
        found.append(f"The held-out questions are about drawn worlds; {rest}.")
    recipe = summary.get("recipe")
    if recipe in recipe_names() and "not that it learns" in recipe_summary(recipe):
        found.append(f"The recipe {recipe} shows that a machine can run it, not that it learns.")
    return found


def _controls(summary: Summary) -> list[str]:
    normal = ControlSettings().model_dump()
    return [f"{name}={value}" for name, value in summary["controls"].items() if value != normal.get(name)]


def _cautions(summary: Summary) -> list[str]:
    base, final, rounds = summary["base"], summary["final"], summary["rounds"]
    cautions = []
    fewer_failures = base["format_failures"] - final["format_failures"]
    gain = summary["delta"]["accuracy"]
    # An answer that could not be read before and can be now is a gain in form; say so once it could
    # explain half of the gain.
    if gain > 0 and fewer_failures >= gain / 2:
        cautions.append(
            f"Unreadable answers fell from {share(base['format_failures'])} to "
            f"{share(final['format_failures'])}, so much of the gain may be form."
        )
    if summary.get("rollback") is not None:  # the result is the best round, and the last one no part of it
        return cautions
    accuracies = [base["accuracy"], *(entry["heldout"]["accuracy"] for entry in rounds)]
    best = max(range(len(accuracies)), key=accuracies.__getitem__)
    if accuracies[best] - accuracies[-1] > 0.02:
        where = "the base model" if best == 0 else f"round {rounds[best - 1]['round']}"
        cautions.append(f"The last round is below {where} ({share(accuracies[best])}).")
    posed = [entry.get("well_posed") for entry in rounds]
    if posed and posed[-1] is not None and posed[-1] < 0.5:
        cautions.append(f"Only {share(posed[-1])} of the last round's questions could be answered at all.")
    return cautions


def _before_and_after(base: Summary, final: Summary, delta: Summary) -> Table:
    rows = table("held-out", "before", "after", "change in points")
    rows.add_row(
        "greedy",
        with_interval(base["accuracy"], base["ci95"]),
        with_interval(final["accuracy"], final["ci95"]),
        change(delta["accuracy"], delta["ci95"]),
    )
    rows.add_row(
        "sampled (T = 1)",
        share(base.get("sampled")),
        share(final.get("sampled")),
        change(delta.get("sampled"), delta.get("sampled_ci95")),
    )
    rows.add_row(
        "majority",
        share(base.get("majority")),
        share(final.get("majority")),
        change(delta.get("majority"), delta.get("majority_ci95")),
    )
    before, after = base["format_failures"], final["format_failures"]
    rows.add_row("unreadable", share(before), share(after), change(after - before, None))
    return rows


def _rounds(rounds: Sequence[Summary]) -> Table:
    headers = ("round", "greedy", "sampled", "majority", "unreadable", "kept", "labels right", "well posed")
    rows = table(*headers, "confidence")
    for entry in rounds:
        heldout = entry["heldout"]
        rows.add_row(
            str(entry["round"]),
            share(heldout["accuracy"]),
            share(heldout.get("sampled")),
            share(heldout.get("majority")),
            share(heldout["format_failures"]),
            str(entry["kept"]),
            share(entry.get("pseudo_label_accuracy")),
            share(entry.get("well_posed")),
            DASH if entry.get("mean_confidence") is None else f"{entry['mean_confidence']:.2f}",
        )
    return rows
