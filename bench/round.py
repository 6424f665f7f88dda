"""One VisPlay round on the starter: this package as it is used, against padded batches and transformers' `generate`.

    python bench/round.py               a round of the recipe visplay-starter, once by each system
    python bench/round.py --repeats 5 visplay.pool_images=32 visplay.questioner_steps=2 visplay.reasoner_steps=3

A round is a questioner phase, curation and a reasoner phase, by the loop of the package itself: same settings, images,
seeds and rules, same optimiser. Loading and measurement are left out of the seconds; the measurement of the base model,
which comes first, is the warm-up. What differs:

    shared     rows of tries in the learner, the local sampler
    generate   the learner's padded batch (one row per answer; an image is still encoded once in an update), and
               generating.py: `generate` on left-padded batches of --rows samples

Before anything is timed: greedy answers of both must be the same tokens, sampled ones nearly all; the log-probs that
`generate` drew from must be those of the learner to 1e-4; and both learners must find the same loss and gradient, to
1e-4 of the gradient's norm. Otherwise the command fails.

Both systems draw with the same uniforms, so they do the same work until rounding moves a token. How much it moved is
told: tokens drawn by each, and the share of pool questions that both have with the same label. `times_faster_than` is
of seconds, `times_faster_per_token` of seconds over tokens drawn.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generating import ROWS, GenerateSampler
from learner import Update, difference, outcome
from machine import describe_machine
from selfsight.config import EvolveConfig, load_config
from selfsight.errors import SelfsightError
from selfsight.evaluate.questions import heldout_questions
from selfsight.methods.loop import Method, begin
from selfsight.methods.visplay.asking import answer_sampling
from selfsight.methods.visplay.records import POOL
from selfsight.methods.visplay.roles import Roles, open_roles
from selfsight.methods.visplay.run import Visplay
from selfsight.methods.visplay.stream import open_images
from selfsight.policy import Group, Rollout, SampleRequest, Sampling
from selfsight.run import Progress
from selfsight.run.progress import PlainProgress
from selfsight.run.tables import read_table

SYSTEMS = {"shared": "shared", "generate": "padded"}  # with the learner's backend
SMALL = ("visplay.rounds=1", "evaluation.questions=9", "evaluation.num_samples=2", "evaluation.audit=false")
PARTS = ("sampling", "scoring", "learning", "controller")
QUESTIONS = 12  # that both answer before anything is timed


def configured(system: str, recipe: str, output_dir: Path, overrides: Sequence[str]) -> EvolveConfig:
    """The configuration of one system's round."""
    own = (f"backend={SYSTEMS[system]}", f"output_dir={output_dir}", f"run_name={system}")
    return load_config(recipe, [*SMALL, *overrides, *own])


def opened_roles(config: EvolveConfig, system: str, rows: int) -> Roles:
    """Both roles of a run, with the sampler of that system."""
    roles = open_roles(config, open_images(config))
    if system == "generate":
        for policy in roles.policies().values():
            policy.sampler = GenerateSampler(policy.vlm, rows)
    return roles


def check(shared: Roles, generate: Roles, sampling: Sampling) -> dict[str, float]:
    """SelfsightError unless both systems answer, score and learn the same; how far apart they are."""
    ours, theirs = shared.reasoner, generate.reasoner
    prompts = [shared.pack.reasoner(q.image, q.question) for q in heldout_questions(QUESTIONS, seed=1)]
    requests = [SampleRequest(str(k), prompt, 4, k) for k, prompt in enumerate(prompts)]
    alone = [SampleRequest(r.id, r.prompt, 1, r.seed) for r in requests]
    greedy = Sampling(max_completion_length=sampling.max_completion_length, greedy=True)
    if same_rollouts(ours.sample(alone, greedy), theirs.sample(alone, greedy)) < 1:
        raise SelfsightError("the greedy answers of `generate` are not those of the local sampler")
    drawn, again = ours.sample(requests, sampling), theirs.sample(requests, sampling)
    same = same_rollouts(drawn, again)
    if same < 0.9:
        raise SelfsightError(f"of answers that draw with the same uniforms only {same:.0%} are the same")
    pairs = [(r.prompt, rollout) for r in requests for rollout in again[r.id]]
    scores = ours.logprobs([(prompt, rollout.token_ids) for prompt, rollout in pairs])
    logprobs = max(float(np.abs(s - rollout.logprobs).max()) for s, (_, rollout) in zip(scores, pairs, strict=True))
    # Answers to one question may all be equal; that their rewards are not keeps every group in the work.
    groups = [Group(r.prompt, tuple(drawn[r.id]), np.arange(float(r.n))) for r in requests]
    for policy in (ours, theirs):
        policy.begin_phase()
    apart = difference(
        *(outcome(Update(lambda p=p: p.learn(groups).loss, p.learner.parameters)) for p in (ours, theirs))
    )
    if not max(logprobs, apart) < 1e-4:
        raise SelfsightError(f"log-probs are {logprobs:.1e} apart, losses or gradients {apart:.1e}")
    return {"same_answers": same, "logprobs": logprobs, "loss_and_gradient": apart}


def same_rollouts(one: dict[str, list[Rollout]], other: dict[str, list[Rollout]]) -> float:
    """Share of samples that are the same tokens."""
    pairs = [pair for id in one for pair in zip(one[id], other[id], strict=True)]
    return float(np.mean([np.array_equal(a.token_ids, b.token_ids) for a, b in pairs]))


def play_round(config: EvolveConfig, system: str, rows: int, progress: Progress) -> dict[str, Any]:
    """One round in a run folder of its own: seconds by part and phase, tokens drawn, and the pool with its labels."""

    def opening(config: EvolveConfig) -> Method:
        return Visplay(config, open_images(config), opened_roles(config, system, rows))

    timings = begin(config, opening, progress)["timings"]
    assert config.run_name is not None
    pool = read_table(Path(config.output_dir) / config.run_name / "rounds" / "1" / "pool.parquet", POOL)
    return {
        "seconds": sum(timings[part] for part in PARTS),
        "parts": {part: timings[part] for part in PARTS},
        "phases": {name: spent for name, spent in timings["phases"].items() if name != "evaluation"},
        "tokens": timings["tokens_sampled"],
        "pool": {str(row["question_id"]): f"{row['question']} {row['label']}" for row in pool},
    }


def compare(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds of each system, and how alike what they did was."""
    median = {name: statistics.median(entry["seconds"] for entry in played) for name, played in rounds.items()}
    tokens = {name: statistics.median(entry["tokens"] for entry in played) for name, played in rounds.items()}
    pools = [dict(played[0]["pool"]).items() for played in rounds.values()]
    together = len(set.union(*map(set, pools)))
    ratio = median["generate"] / median["shared"]
    return {
        "median_seconds": median,
        "tokens_drawn": tokens,
        "times_faster_than": {"generate": ratio},
        "times_faster_per_token": {"generate": ratio * tokens["shared"] / tokens["generate"]},
        "pool": {name: len(played[0]["pool"]) for name, played in rounds.items()},
        "pool_in_common": len(set.intersection(*map(set, pools))) / together if together else None,
        "rounds": {
            name: [{key: entry[key] for key in ("seconds", "parts", "phases", "tokens")} for entry in played]
            for name, played in rounds.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="visplay-starter")
    parser.add_argument("--repeats", type=int, default=1, help="rounds by each system, in turn; each starts anew")
    parser.add_argument("--rows", type=int, default=ROWS, help="samples that `generate` draws at a time")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings over those of the recipe")
    options = parser.parse_args(arguments)
    overrides = [*options.overrides, *([f"threads={options.threads}"] if options.threads is not None else [])]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SYSTEMS}
    progress = PlainProgress(sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        configs = {name: configured(name, options.recipe, Path(place), overrides) for name in SYSTEMS}
        opened = {name: opened_roles(config, name, options.rows) for name, config in configs.items()}
        checked = check(opened["shared"], opened["generate"], answer_sampling(configs["shared"]))
        del opened
        for number in range(options.repeats):
            for name, config in configs.items():
                progress.note(f"round {number + 1} of {options.repeats}, {name}")
                own = config.model_copy(update={"output_dir": str(Path(place) / str(number))})
                rounds[name].append(play_round(own, name, options.rows, progress))
    setting = {"recipe": options.recipe, "overrides": overrides, "rows": options.rows}
    setting["threads"] = torch.get_num_threads()
    print(json.dumps(
        {"machine": describe_machine(), "setting": setting, "checked": checked, **compare(rounds)}, indent=2
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
