"""Runs a set of Vision-Zero variants over seeds, lets every result meet its base in the arena, and makes one table.

    python bench/games_table.py --out runs/games                            all variants, seeds 0 1 2
    python bench/games_table.py --out runs/games --jobs 2 --threads 1       two runs at a time
    python bench/games_table.py --out runs/games --collect-only             only make the table again

The same command again goes on where it was stopped. KEY=VALUE settings hold for every run. OUT/arena/NAME has the games
of the arena, OUT/games.json and OUT/games.md the table. Exit code 1 when runs are missing.

All runs vote on the same held-out games, whose clues the base gave, and answer the same held-out questions, so runs are
paired by game and by question. Pooled intervals: a game's change is averaged over the seeds and games are resampled;
the range over seeds stands beside them. The arena of every seed has games of its own, so wins are counted together,
with Wilson's interval.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collect import FinishedRun, advantage, pooled_change, read_run
from machine import describe_machine
from run_set import VISION_ZERO, PlannedRun, carry_out, environment, last_line, refused, table_parser
from selfsight.errors import SelfsightError
from selfsight.evaluate.games import balanced, read_decisions
from selfsight.evaluate.statistics import wilson_interval
from selfsight.methods.vision_zero.rules import game_settings
from selfsight.run.atomic import pretty_json, read_json, write_atomic
from table_text import change_text, gap_text, markdown, percent

REFERENCE = "iterative"


def decisions_of(variant: str, seed: int, folder: Path) -> FinishedRun:
    """A finished run with its votes on held-out games in the place of answers."""
    summary: Any = read_json(folder / "summary.json")
    found = [read_decisions(folder / "rounds" / str(k) / "decisions.jsonl") for k in range(len(summary["rounds"]) + 1)]
    heard = {tuple((decision.id, decision.clues) for decision in decisions) for decisions in found}
    if len(heard) != 1:
        raise SelfsightError(f"{folder}: its rounds voted on different clues", hint="run it again")
    answers = {
        "greedy": np.array([[decision.found for decision in decisions] for decisions in found]),
        "sampled": np.array([[decision.found_share for decision in decisions] for decisions in found]),
        "majority": np.array([[decision.majority for decision in decisions] for decisions in found]),
    }
    ids = tuple(f"{id} {clues}" for id, clues in next(iter(heard)))
    return FinishedRun(variant, seed, folder, summary, ids, answers, ())


def meet(run: PlannedRun, games: int, threads: int) -> dict[str, Any]:
    """The last model of a run against its base in the arena; what was played before is read."""
    out = run.out / "arena" / run.name
    if not (out / "result.json").is_file():
        config = run.config()
        own = config.vision_zero
        rules = {
            "games": balanced(games, game_settings(config)), "images": config.images, "spy-view": own.spy_view,
            "players": own.players, "clue-rounds": own.clue_rounds, "voter": own.voter, "seed": run.seed, "out": out,
        }  # fmt: skip
        model = run.folder / "rounds" / str(own.iterations // own.eval_steps) / "model"
        options = [word for name, value in rules.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "selfsight", "arena", str(model), config.model, *options]
        done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
        if done.returncode != 0:
            raise SelfsightError(f"{run.name}: its arena failed: {done.stderr.strip()}", hint="mend it and run again")
    result: dict[str, Any] = read_json(out / "result.json")  # type: ignore[assignment]
    return result


def figures(votes: list[FinishedRun], answers: list[FinishedRun], met: list[dict[str, Any]]) -> dict[str, Any]:
    """One row: votes and answers per round, changes, and the arena."""
    arenas = [result["arena"] for result in met]
    return {
        "seeds": [run.seed for run in votes],
        "votes": {
            m: np.mean([run.answers[m].mean(axis=1) for run in votes], axis=0).tolist() for m in votes[0].answers
        },
        "votes_change": {measure: _change(votes, measure) for measure in ("greedy", "sampled")},
        "answers_change": {measure: _change(answers, measure) for measure in ("greedy", "sampled")},
        "arena": {
            side: _rate([arena[side] for arena in arenas]) for side in ("a_citizens", "a_spy", "b_citizens", "a")
        },
        "minutes": float(np.mean([run.summary["timings"]["total"] / 60 for run in votes])),
        "per_seed": [
            {
                "seed": run.seed,
                "votes": run.answers["greedy"].mean(axis=1).tolist(),
                "clue_games": [entry["games"]["phases"].get("clue", 0) for entry in run.summary["rounds"]],
                "a_citizens": arena["a_citizens"],
                "citizens_gain": arena["citizens_gain"],
                "clue_only": result["decisions"]["probes"]["clue_only"]["accuracy"],
                "image_only": result["decisions"]["probes"]["image_only"]["accuracy"],
            }
            for run, arena, result in zip(votes, arenas, met, strict=True)
        ],
    }


def _change(runs: Sequence[FinishedRun], measure: str) -> dict[str, Any]:
    per_seed = [float((run.answers[measure][-1] - run.answers[measure][0]).mean()) for run in runs]
    return pooled_change(runs, measure, per_seed, seed=0)


def _rate(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Wins of all seeds together."""
    wins, n = sum(one["wins"] for one in found), sum(one["n"] for one in found)
    pooled = wilson_interval(wins, n)
    rates = [one["rate"] for one in found]
    return {"rate": wins / n, "n": n, "ci95": [pooled.low, pooled.high], "min": min(rates), "max": max(rates)}


def build(runs: Sequence[PlannedRun], games: int, threads: int) -> dict[str, Any]:
    """The table of what is finished."""
    finished: dict[str, list[PlannedRun]] = {}
    for run in runs:
        if run.state == "finished":
            run.check()
            finished.setdefault(run.variant, []).append(run)
    votes = {name: [decisions_of(name, run.seed, run.folder) for run in own] for name, own in finished.items()}
    if len({run.questions for own in votes.values() for run in own}) > 1:
        raise SelfsightError("the runs have voted on different clues", hint="one table needs one base and one recipe")
    rows = {}
    for name, own in finished.items():
        answers = [read_run(name, run.seed, run.folder) for run in own]
        rows[name] = figures(votes[name], answers, [meet(run, games, threads) for run in own])
        if name != REFERENCE and REFERENCE in votes:
            rows[name]["reference_minus_this"] = advantage(votes[REFERENCE], votes[name], seed=0)
    left = [{"run": run.name, "last_line": last_line(run.log)} for run in runs if run.state != "finished"]
    return {"variants": rows, "unfinished": left, "recipe": runs[0].recipe, "machine": describe_machine()}


def render(table: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = []
    for name, row in table["variants"].items():
        arena = row["arena"]
        rows.append([
            name, str(len(row["seeds"])), " → ".join(percent(value) for value in row["votes"]["greedy"]),
            change_text(row["votes_change"]["greedy"]), change_text(row["votes_change"]["sampled"]),
            _share(arena["a_citizens"]), _share(arena["a_spy"]), change_text(row["answers_change"]["greedy"]),
            f"{row['minutes']:.1f}",
        ])  # fmt: skip
    header = [
        "run", "seeds", "spy found", "change", "change sampled", "citizens win", "spy wins", "answers", "minutes",
    ]  # fmt: skip
    text = [
        "Spy found: greedy votes in per cent on held-out games with the base's clues, base and rounds. Citizens and "
        "spy: wins against the base on the other side. Answers: change in held-out question answering. In brackets "
        "95 % intervals, pooled over seeds, then the range over seeds.",
        markdown(header, rows),
    ]
    gaps = [
        [f"{REFERENCE} − {name}", *(gap_text(row["reference_minus_this"][m]) for m in ("greedy", "sampled"))]
        for name, row in table["variants"].items()
        if "reference_minus_this" in row
    ]
    if gaps:
        text.append(markdown(["difference in votes", "greedy", "sampled"], gaps))
    text += [f"- `{left['run']}` has no summary: {left['last_line']}" for left in table["unfinished"]]
    return "\n\n".join(text) + "\n"


def _share(rate: dict[str, Any]) -> str:
    low, high = rate["ci95"]
    spread = f"{percent(rate['min'])} to {percent(rate['max'])}"
    return f"{percent(rate['rate'])} [{percent(low)}, {percent(high)}], {spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = table_parser(__doc__, VISION_ZERO, tuple(VISION_ZERO), recipe="vision-zero-starter")
    parser.add_argument(
        "--games",
        type=int,
        default=100,
        help="games of an arena in each direction, rounded up to a multiple of the players",
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        runs = carry_out(options, VISION_ZERO)
        table = build(runs, options.games, options.threads)
    except SelfsightError as error:
        return refused(error)
    write_atomic(options.out / "games.json", pretty_json(table))
    text = render(table)
    write_atomic(options.out / "games.md", text.encode())
    print(text, end="")
    return 1 if table["unfinished"] else 0


if __name__ == "__main__":
    sys.exit(main())
