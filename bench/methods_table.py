"""VisPlay, Vision-Zero and both in turn on one policy, at equal sampled tokens: what each teaches, in one table.

    python bench/methods_table.py --out runs/methods                        all three, seeds 0 1 2
    python bench/methods_table.py --out runs/methods --jobs 2 --threads 1   two runs at a time
    python bench/methods_table.py --out runs/methods --collect-only         only make the table again

The same command again goes on where it was stopped. KEY=VALUE settings hold for every run. The schedules below sample
about 950,000 tokens each, votes and verdicts that nothing is learned from included, measurement not; what each really
sampled stands in the table.

Two skills are measured, on the base and after training, the same for every run: held-out question answering, and votes
in held-out games whose clues the base gave. VisPlay plays no games, so its models vote here, on the clues that a run
with games has drawn (OUT/votes/). Intervals and pairing as in games_table.py. Each method keeps its own recipe, so the
KL weights differ, too. Minutes are those of training; what else ran on the machine is not known here.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collect import FinishedRun, advantage, pooled_change, read_run
from games_table import decisions_of
from machine import describe_machine
from run_set import PlannedRun, last_line, plan, refused, table_parser, work_through
from selfsight.errors import SelfsightError
from selfsight.evaluate.games import Decision, decide, heldout_images, read_decisions, read_games, write_decisions
from selfsight.evaluate.players import ModelPlayer, open_player
from selfsight.evaluate.questions import PICTURE_SIZES
from selfsight.language.prompts import taught_pack
from selfsight.policy.open import read_image
from selfsight.run.atomic import pretty_json, write_atomic
from table_text import change_text, gap_text, markdown, percent


@dataclass(frozen=True)
class Schedule:
    """A method's recipe, cut to the common budget."""

    recipe: str
    overrides: tuple[str, ...]


# A first round of visplay-starter with 390 images and 36 steps samples 580,000 tokens, a step of games 7,900.
SCHEDULES: Mapping[str, Schedule] = {
    "visplay": Schedule(
        "visplay-starter",
        (
            "visplay.rounds=1", "visplay.questioner_steps=26", "visplay.pool_images=640", "visplay.reasoner_steps=59",
        ),
    ),
    "vision-zero": Schedule("vision-zero-starter", ()),
    "mixed": Schedule(
        "mixed-starter",
        (
            "visplay.rounds=1", "visplay.questioner_steps=13", "visplay.pool_images=320", "visplay.reasoner_steps=30",
            "vision_zero.iterations=60", "vision_zero.eval_steps=60",
        ),
    ),
}  # fmt: skip
WITH_GAMES = ("vision-zero", "mixed")


def planned(options: Namespace) -> list[PlannedRun]:
    """The runs that the options ask for, seed by seed."""
    unknown = [name for name in options.variants if name not in SCHEDULES]
    if unknown or not set(options.variants) & set(WITH_GAMES):
        raise SelfsightError(
            f"no table of {', '.join(options.variants)}",
            hint=f"choose from {', '.join(SCHEDULES)}, one of {' and '.join(WITH_GAMES)} among them: it has the clues",
        )
    return [
        run
        for seed in options.seeds
        for name in options.variants
        for run in plan(
            options.out.absolute(), [name], [seed], recipe=SCHEDULES[name].recipe, threads=options.threads,
            overrides=options.overrides, known={name: SCHEDULES[name].overrides},
        )
    ]  # fmt: skip


def base_and_last(run: FinishedRun) -> FinishedRun:
    """The run as one round: what it was before and after the whole budget."""
    answers = {name: rows[[0, -1]] for name, rows in run.answers.items()}
    return replace(run, summary=run.summary | {"rounds": run.summary["rounds"][-1:]}, answers=answers)


def votes_of(run: PlannedRun, games_run: PlannedRun) -> FinishedRun:
    """A run's votes before and after; those of a VisPlay model are cast here and kept."""
    if run.variant in WITH_GAMES:
        return base_and_last(decisions_of(run.variant, run.seed, run.folder))
    base = base_and_last(decisions_of(run.variant, games_run.seed, games_run.folder))
    own = read_run(run.variant, run.seed, run.folder)
    kept = run.out / "votes" / f"{run.name}-{own.summary['final_weights']}.jsonl"  # another model casts others
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_decisions(kept, _vote(run, games_run))
    found = read_decisions(kept)
    if tuple(f"{one.id} {one.clues}" for one in found) != base.questions:
        raise SelfsightError(f"{kept}: holds votes on other clues", hint="remove it; this command casts them again")
    after = {
        "greedy": np.array([one.found for one in found]),
        "sampled": np.array([one.found_share for one in found]),
        "majority": np.array([one.majority for one in found]),
    }
    answers = {name: np.stack([base.answers[name][0], after[name]]) for name in after}
    return replace(base, seed=run.seed, folder=run.folder, summary=base_and_last(own).summary, answers=answers)


def _vote(run: PlannedRun, games_run: PlannedRun) -> list[Decision]:
    """The last model of `run` votes on the clues of `games_run`, just as the models of that run did."""
    config = games_run.config()
    own, clues = config.vision_zero, read_games(games_run.folder / "rounds" / "0" / "clues.jsonl")
    last = run.folder / "rounds" / str(run.config().visplay.rounds) / "reasoner"
    size = config.evaluation.picture_size or PICTURE_SIZES[taught_pack(last)]
    images = heldout_images(
        config.images, own.spy_view, seed=config.evaluation.seed, size=size, degradation=own.degradation
    )
    opened = open_player(last, read_image(images))
    length = max(own.max_clue_length, own.max_vote_length)
    return decide(ModelPlayer(opened.policy, opened.pack, max_completion_length=length), clues, samples=own.votes)


def training_seconds(run: FinishedRun) -> float:
    """Wall time without loading and measurement."""
    spent = run.summary["timings"]
    return float(spent["total"] - spent["loading"] - spent["measurement"])


def figures(runs: Sequence[PlannedRun], games_run: PlannedRun) -> dict[str, Any]:
    """One method's row: both skills before and after, tokens and time."""
    answers = [base_and_last(read_run(run.variant, run.seed, run.folder)) for run in runs]
    votes = [votes_of(run, games_run) for run in runs]
    row: dict[str, Any] = {
        "seeds": [run.seed for run in runs],
        "tokens_sampled": [run.summary["timings"]["tokens_sampled"] for run in answers],
        "minutes": [round(training_seconds(run) / 60, 1) for run in answers],
    }
    for skill, found in (("answers", answers), ("votes", votes)):
        row[skill] = {m: np.mean([run.answers[m].mean(axis=1) for run in found], axis=0).tolist()
                      for m in found[0].answers}  # fmt: skip
        row[f"{skill}_change"] = {
            m: pooled_change(found, m, [float((run.answers[m][1] - run.answers[m][0]).mean()) for run in found], seed=0)
            for m in ("greedy", "sampled")
        }
    return row | {"_answers": answers, "_votes": votes}


def build(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """The table of what is finished."""
    finished: dict[str, list[PlannedRun]] = {}
    for run in runs:
        if run.state == "finished":
            run.check()
            finished.setdefault(run.variant, []).append(run)
    with_games = [run for name in WITH_GAMES for run in finished.get(name, [])]
    if not with_games:
        raise SelfsightError("no run with games is finished", hint="its clues are needed: run the command again")
    rows = {name: figures(own, with_games[0]) for name, own in finished.items()}
    for skill in ("answers", "votes"):
        if len({run.questions for row in rows.values() for run in row[f"_{skill}"]}) > 1:
            raise SelfsightError(
                f"the runs were not measured on the same {skill}", hint="one table needs one base and one evaluation"
            )
    for name, row in rows.items():
        if name != "mixed" and "mixed" in rows:
            row["mixed_minus_this"] = {skill: advantage(rows["mixed"][f"_{skill}"], row[f"_{skill}"], seed=0)
                                       for skill in ("answers", "votes")}  # fmt: skip
    left = [{"run": run.name, "last_line": last_line(run.log)} for run in runs if run.state != "finished"]
    shown = {name: {key: value for key, value in row.items() if key[0] != "_"} for name, row in rows.items()}
    return {"methods": shown, "unfinished": left, "machine": describe_machine()}


def render(table: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = []
    for name, row in table["methods"].items():
        tokens = " ".join(f"{count / 1e6:.2f}" for count in row["tokens_sampled"])
        cells = [name, str(len(row["seeds"])), tokens, " ".join(map(str, row["minutes"]))]
        for skill in ("answers", "votes"):
            cells += [" → ".join(percent(value) for value in row[skill]["greedy"])]
            cells += [change_text(row[f"{skill}_change"][m]) for m in ("greedy", "sampled")]
        rows.append(cells)
    header = ["method", "seeds", "million tokens", "minutes", "answers", "change", "sampled", "spy found", "change",
              "sampled"]  # fmt: skip
    sampled = [count for row in table["methods"].values() for count in row["tokens_sampled"]]
    text = [
        "Answers: held-out questions, greedy, in per cent, base and last. Spy found: greedy votes on the base's clues. "
        "In brackets 95 % intervals, pooled over seeds, then the range over seeds. Tokens and minutes of training by "
        f"seed; the most tokens of a run are {max(sampled) / min(sampled) - 1:.0%} more than the least.",
        markdown(header, rows),
    ]
    gaps = [
        [f"mixed − {name}", *(gap_text(row["mixed_minus_this"][skill][m])
                              for skill in ("answers", "votes") for m in ("greedy", "sampled"))]
        for name, row in table["methods"].items() if "mixed_minus_this" in row
    ]  # fmt: skip
    if gaps:
        head = ["difference", "answers, greedy", "sampled", "spy found, greedy", "sampled"]
        text.append(markdown(head, gaps))
    text += [f"- `{left['run']}` has no summary: {left['last_line']}" for left in table["unfinished"]]
    return "\n\n".join(text) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = table_parser(__doc__, SCHEDULES, tuple(SCHEDULES), recipe=None)
    options = parser.parse_intermixed_args(arguments)
    try:
        runs = planned(options)
        for run in runs:
            run.config()  # a mistake in a setting is found before the first hour of computing
        if not options.collect_only:
            work_through(runs, jobs=options.jobs, threads=options.threads,
                         say=lambda text: print(text, file=sys.stderr))  # fmt: skip
        table = build(runs)
    except SelfsightError as error:
        return refused(error)
    write_atomic(options.out / "methods.json", pretty_json(table))
    text = render(table)
    write_atomic(options.out / "methods.md", text.encode())
    print(text, end="")
    return 1 if table["unfinished"] else 0


if __name__ == "__main__":
    sys.exit(main())
