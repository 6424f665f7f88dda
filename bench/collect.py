"""From finished VisPlay runs to one table of figures. Pure: it reads run folders and computes, it starts nothing.

Intervals. Every run answers the same held-out questions, so runs are paired by question. Within a seed the interval
is the run's own paired bootstrap. Over seeds, each question's change is averaged over the seeds and questions are
resampled (`pooled`): that is the uncertainty from which questions were asked. It does not cover which seeds were
drawn; the range over seeds stands beside it for that.

The zero-label gain as a fraction of labelled GRPO's gain is a ratio of two such means on the same resampled questions.
Where the labelled gain cannot be told from zero the fraction means nothing, and is not given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from selfsight.errors import SelfsightError
from selfsight.evaluate.statistics import RESAMPLES, mean_interval
from selfsight.run.atomic import read_json, read_jsonl

MEASURES = ("greedy", "sampled", "majority")
_NAME_IN_SUMMARY = {"greedy": "accuracy", "sampled": "sampled", "majority": "majority"}
LABELLED = ("labelled", "labelled-open", "labelled-trained")
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's summary, and per measure its answers (rounds, questions): round 0 is the base model."""

    variant: str
    seed: int
    folder: Path
    summary: dict[str, Any]
    questions: tuple[str, ...]
    answers: dict[str, np.ndarray]
    reasoner_steps: tuple[int | None, ...]  # None: the run kept no step metrics

    @property
    def rounds(self) -> int:
        return len(self.summary["rounds"])


def read_run(variant: str, seed: int, folder: Path) -> FinishedRun:
    """A finished run; raises SelfsightError when its files do not belong together."""
    summary = read_json(folder / "summary.json")
    if not isinstance(summary, dict) or not {"seed", "base", "rounds", "delta", "timings"} <= set(summary):
        raise SelfsightError(f"{folder / 'summary.json'}: is not a run's summary", hint="`selfsight resume` writes it")
    if summary["seed"] != seed:
        raise SelfsightError(
            f"{folder}: was run with seed {summary['seed']}, not {seed}", hint="its folder was renamed or copied"
        )
    questions: tuple[str, ...] | None = None
    answers: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for number in range(len(summary["rounds"]) + 1):
        path = folder / "rounds" / str(number) / "evaluation.parquet"
        if not path.is_file():
            raise SelfsightError(f"{path}: is missing", hint="remove the run's folder and run it again")
        table = pq.read_table(path, columns=["id", *MEASURES])
        ids = tuple(table["id"].to_pylist())
        if questions is not None and ids != questions:
            raise SelfsightError(f"{path}: is about other questions than round 0", hint="run it again")
        questions = ids
        for name in MEASURES:
            answers[name].append(table[name].to_numpy())
    assert questions is not None
    lines = [str(line.get("stage")) for line in read_jsonl(folder / "metrics.jsonl")]
    return FinishedRun(
        variant, seed, folder, summary, questions, {name: np.stack(rows) for name, rows in answers.items()},
        tuple(lines.count(f"round-{k}/reasoner") if lines else None for k in range(1, len(summary["rounds"]) + 1)),
    )  # fmt: skip


def build_table(runs: Sequence[FinishedRun], *, reference: str = "robust", seed: int = 0) -> dict[str, Any]:
    """All figures of a set of runs. `seed` draws the bootstrap resamples."""
    if not runs:
        raise SelfsightError("there is no finished run to make a table of", hint="run the command again to finish some")
    first = runs[0]
    for run in runs:
        if run.questions != first.questions:
            raise SelfsightError(
                f"{run.folder} and {first.folder} were measured on different questions",
                hint="one table needs one evaluation.seed and one evaluation.questions",
            )
        if run.rounds != first.rounds:
            raise SelfsightError(
                f"{run.folder} has {run.rounds} rounds, {first.folder} has {first.rounds}",
                hint="one table needs one budget: the same visplay.rounds in every run",
            )
    by_variant: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_variant.setdefault(run.variant, []).append(run)
    variants = {}
    for name, members in by_variant.items():
        variants[name] = variant_figures(sorted(members, key=lambda run: run.seed), seed=seed)
        variants[name]["of_labelled"] = {
            labelled: gain_fraction(members, by_variant[labelled], seed=seed)
            for labelled in LABELLED
            if labelled in by_variant and name not in LABELLED
        }
        if reference in by_variant and name != reference:
            variants[name]["reference_minus_this"] = advantage(by_variant[reference], members, seed=seed)
    return {
        "held_out_questions": len(first.questions),
        "rounds": first.rounds,
        "reference": reference,
        "variants": variants,
        "versions": first.summary.get("versions", {}),
    }


def variant_figures(runs: Sequence[FinishedRun], *, seed: int) -> dict[str, Any]:
    """One row of the table: means over seeds, range over seeds, pooled intervals, and every seed by itself."""
    per_seed = [_seed_figures(run) for run in runs]
    change = {}
    for measure in MEASURES:
        changes = [entry["change"][measure]["mean"] for entry in per_seed]
        change[measure] = pooled_change(runs, measure, changes, seed=seed)
    return {
        "seeds": [run.seed for run in runs],
        "accuracy": {m: np.mean([run.answers[m].mean(axis=1) for run in runs], axis=0).tolist() for m in MEASURES},
        "change": change,
        "largest_drop": {m: max(entry["largest_drop"][m] for entry in per_seed) for m in MEASURES},
        "rounds": [
            {name: _mean([entry["rounds"][k][name] for entry in per_seed]) for name in per_seed[0]["rounds"][k]}
            for k in range(runs[0].rounds)
        ],
        # Base and last round: learning to answer readably can pass for learning to see.
        "format_failures": [_mean([entry["format_failures"][k] for entry in per_seed]) for k in (0, 1)],
        "minutes": _mean([entry["minutes"] for entry in per_seed]),
        "per_seed": per_seed,
    }


def _seed_figures(run: FinishedRun) -> dict[str, Any]:
    delta, final = run.summary["delta"], run.summary["rounds"][-1]["heldout"]
    accuracy = {measure: run.answers[measure].mean(axis=1).tolist() for measure in MEASURES}
    change = {}
    for measure in MEASURES:
        name = _NAME_IN_SUMMARY[measure]
        ci95 = delta["ci95"] if name == "accuracy" else delta[f"{name}_ci95"]
        change[measure] = {"mean": delta[name], "ci95": ci95}
    return {
        "seed": run.seed,
        "run": run.folder.name,
        "accuracy": accuracy,
        "change": change,
        # How far a round fell below the one before it, at worst; 0 when none did.
        "largest_drop": {m: max(0.0, -float(np.diff(rows).min())) for m, rows in accuracy.items()},
        "rounds": [
            _round_figures(entry, steps) for entry, steps in zip(run.summary["rounds"], run.reasoner_steps, strict=True)
        ],
        "format_failures": [run.summary["base"]["format_failures"], final["format_failures"]],
        "minutes": run.summary["timings"]["total"] / 60,
        "final_weights": run.summary.get("final_weights"),
    }


def _round_figures(entry: dict[str, Any], steps: int | None) -> dict[str, float | None]:
    audit = entry.get("audit") or {}
    again = entry.get("round_1_questions") or {}
    return {
        "pseudo_label_accuracy": entry.get("pseudo_label_accuracy"),
        "well_posed_asked": entry.get("well_posed"),
        "well_posed_pool": (audit.get("labels") or {}).get("well_posed"),
        "valid": entry.get("valid"),
        "kept": entry.get("kept"),
        "mean_confidence": entry.get("mean_confidence"),
        "reasoner_steps": steps,
        "round_1_questions": again.get("sampled"),
        "round_1_questions_base": again.get("base_sampled"),
    }


def gains(runs: Sequence[FinishedRun], measure: str, round: int) -> np.ndarray:
    """(questions,) change from the base to a round, averaged over the runs' seeds."""
    mean: np.ndarray = np.mean([run.answers[measure][round] - run.answers[measure][0] for run in runs], axis=0)
    return mean


def pooled_change(runs: Sequence[FinishedRun], measure: str, per_seed: Sequence[float], *, seed: int) -> dict[str, Any]:
    """Mean and range of the seeds' changes, base to last round, with the interval over questions."""
    pooled = mean_interval(gains(runs, measure, runs[0].rounds), seed=seed)
    return {
        "mean": float(np.mean(per_seed)), "min": min(per_seed), "max": max(per_seed),
        "pooled_ci95": [pooled.low, pooled.high],
    }  # fmt: skip


def advantage(ours: Sequence[FinishedRun], theirs: Sequence[FinishedRun], *, seed: int) -> dict[str, Any]:
    """How far `ours` ends above `theirs`, paired by question, over the seeds that both have."""
    ours, theirs = _shared_seeds(ours, theirs)
    figures: dict[str, Any] = {"seeds": [run.seed for run in ours]}
    for measure in MEASURES if ours else ():
        pooled = mean_interval(
            gains(ours, measure, ours[0].rounds) - gains(theirs, measure, theirs[0].rounds), seed=seed
        )
        figures[measure] = {"mean": pooled.mean, "pooled_ci95": [pooled.low, pooled.high]}
    return figures


def gain_fraction(ours: Sequence[FinishedRun], labelled: Sequence[FinishedRun], *, seed: int) -> dict[str, Any]:
    """Our gain over labelled GRPO's gain, per measure and round, over the seeds that both have.

    `fraction` and `ci95` are None, with a reason, where the labelled gain's own interval reaches down to zero.
    """
    ours, labelled = _shared_seeds(ours, labelled)
    figures: dict[str, Any] = {"seeds": [run.seed for run in ours]}
    for measure in MEASURES if ours else ():
        figures[measure] = [
            ratio_interval(gains(ours, measure, k), gains(labelled, measure, k), seed=seed)
            for k in range(1, ours[0].rounds + 1)
        ]
    return figures


def ratio_interval(top: np.ndarray, bottom: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> dict[str, Any]:
    """mean(top) / mean(bottom) with a 95 % percentile bootstrap over questions; both see the same resamples."""
    weight_rq = _resamples(len(top), seed, resamples)
    top_r, bottom_r = weight_rq @ top, weight_rq @ bottom
    if np.quantile(bottom_r, _LOW) <= 0:
        return {"fraction": None, "ci95": None, "reason": "the labelled gain cannot be told from zero"}
    # The few resamples without a positive denominator (under 2.5 %) count as the largest ratios.
    positive = bottom_r > 0
    ratio_r = np.full(resamples, np.inf)
    ratio_r[positive] = top_r[positive] / bottom_r[positive]
    low, high = np.quantile(ratio_r, [_LOW, _HIGH], method="lower")
    return {"fraction": float(top.mean() / bottom.mean()), "ci95": [float(low), float(high)], "reason": ""}


@lru_cache(maxsize=1)
def _resamples(count: int, seed: int, resamples: int) -> np.ndarray:
    """(resamples, count) how often each question was drawn."""
    drawn: np.ndarray = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn.astype(np.float64)


def _shared_seeds(a: Sequence[FinishedRun], b: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[FinishedRun]]:
    shared = sorted({run.seed for run in a} & {run.seed for run in b})
    pick = [{run.seed: run for run in runs} for runs in (a, b)]
    return [pick[0][seed] for seed in shared], [pick[1][seed] for seed in shared]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of figures that every seed has; None where any seed could not measure it."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if len(present) == len(values) else None
