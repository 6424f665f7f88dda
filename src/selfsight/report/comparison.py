"""A comparison of two models as text for a person: the verdict, tables, the biggest regressions.

Reads what `selfsight compare --json` prints (shares in [0, 1], differences B - A) and adds no number of its own. The
verdict is computed from the paired interval; what would mislead without a second sentence gets one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from rich.table import Table
from rich.text import Text

from selfsight.report.arithmetic import answer_text
from selfsight.report.figures import change, console, points, share, table, with_interval
from selfsight.run.progress import plain_text

Comparison = Mapping[str, Any]

MEASURES: Final = (
    ("greedy", "accuracy", "ci95"),
    ("sampled (T = 1)", "sampled", "sampled_ci95"),
    ("majority", "majority", "majority_ci95"),
)
_REGRESSIONS: Final = 10
_CHANCE: Final = 0.05
_MINUS: Final = "\N{MINUS SIGN}"


def with_verdict(result: Comparison) -> dict[str, Any]:
    """A comparison with its `verdict`: {"status": "better" | "worse" | "unclear", "sentences": [...]}."""
    low, high = result["change"]["ci95"]
    status = "better" if low > 0 else "worse" if high < 0 else "unclear"
    return {**result, "verdict": {"status": status, "sentences": [_claim(result, status), *_cautions(result, status)]}}


def render_comparison(result: Comparison, stream: TextIO) -> None:
    """Everything but the pictures; `result` has its verdict."""
    out = console(stream)
    asked = result["asked"]
    out.print(
        Text(
            f"\n{result['n']} held-out questions, world {plain_text(asked['world'])}, {asked['picture_size']} pixels a "
            f"side, seed {asked['seed']}, {asked['num_samples']} samples each"
        )
    )
    for letter in ("A", "B"):
        side = result[letter.lower()]
        how = "answers kept by the run" if side["answers"] == "kept" else "asked now"
        out.print(Text(plain_text(f"{letter} is {side['given']} ({side['name']}): {how}")), soft_wrap=True)
    out.print(_measures(result))
    out.print(_outcomes(result))
    out.print(Text(f"McNemar's exact test on wins and losses: {p_is(result['mcnemar']['p'])}\n"))
    out.print(_families(result))
    for line in _regressions(result):
        out.print(Text(line), soft_wrap=True)
    out.print(Text("\n" + plain_text(" ".join(result["verdict"]["sentences"]))))


def probability(p: float) -> str:
    """A p-value with two figures, as no more than its size matters."""
    return "1" if p == 1 else f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def p_is(p: float) -> str:
    """The same in a sentence: p = 0.031, p < 0.0001."""
    shown = probability(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _claim(result: Comparison, status: str) -> str:
    difference, (low, high) = result["change"]["accuracy"], result["change"]["ci95"]
    bounds = f"95 % interval {points(low)} to {points(high)}"
    if status == "unclear":
        return (
            f"No difference can be claimed: B {_MINUS} A is {points(difference)} points on {result['n']} questions "
            f"({bounds}), which includes zero."
        )
    more = "more" if status == "better" else "fewer"
    return (
        f"B is {status}: of the same {result['n']} questions it answers {abs(difference) * 100:.1f} points {more} "
        f"right ({bounds})."
    )


def _cautions(result: Comparison, status: str) -> Iterator[str]:
    difference, parts = result["change"]["accuracy"], result["parts"]
    form, answers = parts["form"]["difference"], parts["answers"]
    if form * difference > 0 and abs(form) >= abs(difference) / 2:
        yield (
            f"{points(form)} of these points are form, answers that could be read on one side only; where both could "
            f"be read the difference is {change(answers['difference'], answers['ci95'])}."
        )
    p = result["mcnemar"]["p"]
    if status != "unclear" and p >= _CHANCE:
        decided = result["wins"]["all"] + result["losses"]["all"]
        yield f"But only {decided} questions decide, and McNemar's exact test finds {p_is(p)}: ask more."
    families = result["families"]
    for word, side in (("Worse", -1), ("Better", 1)):
        if (status == "worse") == (side < 0) and status != "unclear":
            continue  # said already
        found = [
            f"{name} ({change(one['change']['accuracy'], one['change']['ci95'])})"
            for name, one in families.items()
            if (one["change"]["ci95"][1] < 0 if side < 0 else one["change"]["ci95"][0] > 0)
        ]
        if found:
            yield f"{word} in {', '.join(found)}; of {len(families)} such intervals some may miss by chance."
    if result["a"]["prompt_pack"] != result["b"]["prompt_pack"]:
        yield (
            f"A was asked in the words of the pack {result['a']['prompt_pack']}, B in those of "
            f"{result['b']['prompt_pack']}: what differs may be the words."
        )


def _measures(result: Comparison) -> Table:
    a, b, moved = result["measured"]["a"], result["measured"]["b"], result["change"]
    rows = table("", "A", "B", f"B {_MINUS} A in points")
    for label, name, ci in MEASURES:
        rows.add_row(
            label, with_interval(a[name], a[ci]), with_interval(b[name], b[ci]), change(moved[name], moved[ci])
        )
    for label, name in (("unreadable, greedy", "format_failures"), ("unreadable, sampled", "sampled_format_failures")):
        rows.add_row(label, share(a[name]), share(b[name]), change(b[name] - a[name], None))
    return rows


def _outcomes(result: Comparison) -> Table:
    rows = table(f"of {result['n']} questions, greedy", "all", "by the answer", "one is unreadable")
    for label, name in (("B alone is right (wins)", "wins"), ("A alone is right (losses)", "losses")):
        counted = result[name]
        rows.add_row(label, *(str(counted[one]) for one in ("all", "answers", "form")))
    ties = result["ties"]
    rows.add_row("both are right", str(ties["both_right"]), "", "")
    rows.add_row("neither is right", str(ties["all"] - ties["both_right"]), "", "")
    rows.add_row("  with the same answer", str(ties["same_wrong_answer"]), "", "")
    return rows


def _families(result: Comparison) -> Table:
    rows = table("family", "n", "A", "B", f"B {_MINUS} A, greedy", f"B {_MINUS} A, sampled", "wins", "losses", "p")
    for name, one in sorted(result["families"].items(), key=lambda item: item[1]["change"]["accuracy"]):
        moved = one["change"]
        rows.add_row(
            plain_text(name), str(one["n"]), share(one["a"]["accuracy"]), share(one["b"]["accuracy"]),
            change(moved["accuracy"], moved["ci95"]), change(moved["sampled"], moved["sampled_ci95"]),
            str(one["wins"]["all"]), str(one["losses"]["all"]), probability(one["p"]),
        )  # fmt: skip
    return rows


def _regressions(result: Comparison) -> list[str]:
    lost = [question for question in result["questions"] if question["drop"] > 0]
    if not lost:
        return ["\nNo question lost anything from A to B."]
    lines = [f"\nThe biggest regressions, {min(len(lost), _REGRESSIONS)} of {len(lost)} questions that lost something"]
    for question in lost[:_REGRESSIONS]:
        lines += [
            f"  {plain_text(question['question'])}  [{plain_text(question['family'])}, "
            f"{plain_text(question['image_id'])}]",
            f"    truth {plain_text(answer_text(question['key']))}; A: {_answered(question['a'])}; "
            f"B: {_answered(question['b'])}",
        ]
    return lines


def _answered(answer: Mapping[str, Any]) -> str:
    keys: Sequence[str | None] = answer["sampled_keys"]
    said = answer_text(answer["key"]) + (", right" if answer["outcome"] == "right" else "")
    return f"{plain_text(said)} ({round(answer['sampled'] * len(keys))} of {len(keys)} samples right)"
