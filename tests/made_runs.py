"""Runs on disk that no model has made: every table and line through the functions that a real run writes with.

`say(field)` is what stands in a field that a model or a stranger writes, so that a test can fill all of them.
"""

import itertools
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig, load_config
from selfsight.images import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.language import count_votes
from selfsight.methods.vision_zero import Completion, Game, GameSettings, ScoringSettings, deal, game_record
from selfsight.methods.vision_zero.scoring import RoleBaselines
from selfsight.methods.visplay.records import (
    POOL,
    QUESTIONS,
    VOTES,
    Asked,
    PoolItem,
    Question,
    pool_rows,
    question_row,
    vote_rows,
)
from selfsight.run import Journal, JsonlWriter, RunDirectory, canonical_json, pretty_json, write_atomic
from selfsight.run.tables import write_table

Say = Callable[[str], str]

WORDS = {
    "question": "How many red circles are there?",
    "completion": "How many red circles are there?",
    "reason": "not one question",
    "answer": "I count them: \\boxed{3}",
    "key": "num:3",
    "gate reason": "4 of 8 votes agree, below 0.6",
    "clue": "I see a large red circle.",
    "note": "I must not be found.",
    "vote": "Player 2 is vague. \\boxed{2}",
    "image name": "red.png",
}


def plain(field: str) -> str:
    return WORDS[field]


def heldout(accuracy: float) -> dict[str, Any]:
    families = {"counting": {"greedy": accuracy - 0.1, "n": 30}, "relation": {"greedy": accuracy + 0.1, "n": 30}}
    return {
        "accuracy": accuracy, "ci95": [accuracy - 0.05, accuracy + 0.05], "n": 60, "format_failures": 0.02,
        "sampled": accuracy - 0.05, "sampled_ci95": [accuracy - 0.09, accuracy - 0.01], "majority": accuracy + 0.05,
        "majority_ci95": [accuracy, accuracy + 0.1], "families": families,
    }  # fmt: skip


def visplay_config(folder: Path, *overrides: str) -> EvolveConfig:
    return load_config("visplay-starter", [f"output_dir={folder}", "run_name=made", "visplay.rounds=2", *overrides])


def visplay_run(
    folder: Path,
    *,
    images: int = 3,
    rounds: int = 2,
    say: Say = plain,
    finished: bool = True,
    photographs: bool = False,
    overrides: Iterable[str] = (),
) -> Path:
    """A run of `rounds` rounds: in each the questioner phase and curation over `images` pictures of its own, with 8
    questions about each. Of every 8 the first is unreadable, and too few agree on the second.
    """
    config = visplay_config(folder, f"visplay.rounds={rounds}", *overrides)
    source = WorldSource("mixed", seed=7, size=56)
    with RunDirectory.create(folder / "made", config.model_dump(mode="json")) as directory:
        entries = []
        with Journal(directory.journal_path) as journal, JsonlWriter(directory.metrics_path) as metrics:
            for number in range(rounds + 1):
                entry: dict[str, Any] = {"round": number, "heldout": heldout(0.5 + 0.1 * number)}
                if number:
                    refs = source.take(number * 10_000, 2 * images)
                    if photographs:  # files that are not there, under names that a stranger gave
                        refs = [ImageRef(f"m-{r.id}", f"{folder}/{say('image name')}") for r in refs]
                    entry |= _questions(directory.round(number), number, refs, say)
                    for step in range(4):
                        metrics.append(_metrics(number, "questioner", step))
                    for step in range(4):
                        metrics.append(_metrics(number, "reasoner", step))
                write_atomic(directory.round(number) / "round.json", pretty_json(entry))
                journal.record(f"round-{number}/evaluation", inputs={}, outputs=[], seconds=12.5)
                entries.append(entry)
        made_alarms(directory.path, rounds)
        if finished:
            directory.write_summary(_summary(config, entries))
        return directory.path


def made_alarms(run: Path, rounds: int, texts: Iterable[str] = ("worth a look",)) -> None:
    """alarms.jsonl: in every round one alarm that went off, one that is quiet and one that is not measured, for each of
    the `texts`, which stand wherever a text may.
    """
    with JsonlWriter(run / "alarms.jsonl") as file:
        for number, text in itertools.product(range(1, rounds + 1), texts):
            hostile = text != "worth a look"
            for alarm, state in (
                ("question_cluster", "fired"),
                ("novelty", "quiet"),
                ("blind_answers", "not measured"),
            ):
                file.append(
                    {
                        "stage": text if hostile else f"round-{number}/curation", "round": number, "phase": "curation",
                        "steps": None, "alarm": f"{alarm}{text}" if hostile else alarm, "who": "", "state": state,
                        "value": None if state == "not measured" else 0.5, "limit": 0.25,
                        "says": "" if state == "not measured" else text, "why": text if state == "not measured" else "",
                        "evidence": {"example": text},
                        "suggestion": (text if hostile else "visplay.diversity_weight=2") if state == "fired" else None,
                    }
                )  # fmt: skip


def _questions(folder: Path, round: int, refs: list[ImageRef], say: Say) -> dict[str, Any]:
    asked_rows, asked_votes, rows, votes, pool = [], [], [], [], []
    for place, ref in enumerate(refs):
        curation = place >= len(refs) // 2
        for index in range(8):
            id = f"r{round}/{'curation' if curation else 'questioner'}/0/{ref.id}/{index}"
            valid = index != 0
            text = say("question") if valid else ""
            question = Question(id, ref, text, valid, "" if valid else say("reason"), say("completion"))
            keys = ["num:2"] * 4 + [say("key")] * 4 if index == 1 else [say("key")] * 6 + ["num:2", None]
            vote = count_votes(keys) if valid else None
            asked = Asked(question, vote, tuple(say("answer") for _ in keys) if valid else (), -2.5 if valid else None)
            if not curation:
                terms = {"cluster": 0, "r_unc": 0.5, "r_div": 0.875, "reward": 0.0} if valid else {
                    "cluster": None, "r_unc": 0.0, "r_div": 0.0, "reward": 0.0}  # fmt: skip
                asked_rows.append(question_row(asked, phase="questioner", step=0, **terms))
                asked_votes += vote_rows(asked)
                continue
            kept = valid and index != 1
            gate = "" if kept else "agreement" if valid else "format"
            reason = "" if kept else say("gate reason")
            rows.append(question_row(asked, phase="curation", step=0, kept=kept, gate=gate, gate_reason=reason))
            votes += vote_rows(asked)
            if kept and vote is not None and vote.label is not None:
                pool.append(PoolItem(id, ref, text, vote.label, vote.confidence))
    write_table(folder / "asked.parquet", asked_rows, QUESTIONS)
    write_table(folder / "asked_votes.parquet", asked_votes, VOTES)
    write_table(folder / "questions.parquet", rows, QUESTIONS)
    write_table(folder / "votes.parquet", votes, VOTES)
    write_table(folder / "pool.parquet", pool_rows(pool), POOL)
    calibration = [{"low": 0.7, "high": 0.85, "n": len(pool), "confidence": 0.75, "accuracy": 0.6}]
    return {
        "candidates": len(rows), "valid": 0.875, "kept": len(pool), "rejected": {"format": 3, "agreement": 3},
        "mean_confidence": 0.7, "pseudo_label_accuracy": 0.6, "well_posed": 0.8,
        "audit": {"labels": {"calibration": calibration, "label_accuracy": 0.6}, "questions": {}},
    }  # fmt: skip


def _metrics(round: int, phase: str, step: int) -> dict[str, object]:
    return {
        "stage": f"round-{round}/{phase}", "step": step, "reward": 0.1 * step, "confidence": 0.5, "kl_anchor": 0.01,
        "entropy": 0.6 - 0.05 * step, "zero_variance_groups": 2, "groups": 8, "tokens_per_second": 2000.0,
        "peak_memory_gib": 1.5, "valid": 0.9,
        "refused": 0.1, "length": 12.0, "format_failures": 0.05,
    }  # fmt: skip


def _summary(config: EvolveConfig, entries: list[dict[str, Any]]) -> dict[str, Any]:
    delta = {"accuracy": 0.2, "ci95": [0.1, 0.3], "sampled": 0.2, "sampled_ci95": [0.15, 0.25]}
    return {
        "method": config.method, "recipe": config.recipe, "seed": config.seed, "base": entries[0]["heldout"],
        "rounds": entries[1:], "final": entries[-1]["heldout"], "delta": delta, "timings": {"total": 700.0},
        "controls": config.visplay.controls.model_dump(), "images": {"kind": "worlds"}, "images_repeat": False,
        "measured_on": {"seed": 0, "world": "mixed", "picture_size": 112}, "versions": {"selfsight": "0.1.0"},
    }  # fmt: skip


CLUES = (
    "There is a circle near the top.", "I see more than two shapes.", "One of the shapes is green.",
    "It looks bright and even.", "The largest thing is on the left.",
)  # fmt: skip


def scripted_game(id: str, image: ImageRef, spy_image: ImageRef, *, say: Say | None = None) -> Game:
    """A finished game of five players and two rounds; voters find the spy more often than not."""
    settings = GameSettings(players=5, clue_rounds=2, spy_view="blank", votes=8)
    game = deal(settings, seed=0, id=id, image=image, spy_image=spy_image)
    draw = random.Random(id)
    for turn in itertools.count():
        if game.stage != "clue":
            break
        note, clue = (
            "I look at the picture and choose with care.",
            f"{CLUES[turn % 5][:-1]}, {draw.randrange(99)} maybe.",
        )
        if say is not None:
            note, clue = say("note"), say("clue")
        game = game.with_clue(Completion(f"{note}\n\\boxed{{{clue}}}"))
    votes = [
        str(game.secret.spy) if draw.random() < 0.6 else draw.choice(["1", "2", "n/a", "who knows"]) for _ in range(8)
    ]
    spoken = [say("vote") if say is not None else f"Player {vote} is vague. \\boxed{{{vote}}}" for vote in votes]
    return game.with_votes({None: [Completion(text) for text in spoken]})


def vision_zero_run(
    folder: Path, *, games: int = 6, rounds: int = 2, say: Say | None = None, overrides: Iterable[str] = ()
) -> Path:
    """A run of `rounds` rounds with `games` games in each; the trained stage switches after every second game."""
    schedule = (f"vision_zero.iterations={rounds * 3}", "vision_zero.eval_steps=3")
    config = load_config("vision-zero-starter", [f"output_dir={folder}", "run_name=made", *schedule, *overrides])
    source = WorldSource("mixed", seed=7, size=112)
    with RunDirectory.create(folder / "made", config.model_dump(mode="json")) as directory:
        entries: list[dict[str, Any]] = []
        with JsonlWriter(directory.metrics_path) as metrics:
            for number in range(rounds + 1):
                accuracy = 0.2 + 0.2 * number
                change = {"accuracy": 0.2 * number, "ci95": [0.2 * number - 0.05, 0.2 * number + 0.05]}
                decisions = {"accuracy": accuracy, "ci95": [accuracy - 0.08, accuracy + 0.08], "n": 50, "chance": 0.2}
                entry = {"round": number, "heldout": heldout(0.5), "decisions": {**decisions, "change": change}}
                if number:
                    lines = []
                    for place, ref in enumerate(source.take(number * 10_000, games)):
                        id = f"step-{number}/{place}{'' if say is None else say('game id')}"
                        game = scripted_game(id, ref, ImageRef("blank-112x112", "blank:112x112"), say=say)
                        clue = place % 4 < 2
                        record = game_record(game, ScoringSettings(), phase="clue" if clue else "decision",
                                             baselines=RoleBaselines(-0.1, 0.025) if clue else None)  # fmt: skip
                        lines.append(canonical_json(record) + b"\n")
                    write_atomic(directory.round(number) / "games.jsonl", b"".join(lines))
                    entry["games"] = {
                        "n": games, "accuracy": 0.5, "abstention": 0.1, "invalid_votes": 0.05, "citizens_win": 0.5,
                        "invalid_clues": 0.1, "phases": {"clue": games // 2, "decision": games - games // 2},
                    }  # fmt: skip
                    for step in range(6):
                        metrics.append(_game_metrics(number, step))
                write_atomic(directory.round(number) / "round.json", pretty_json(entry))
                entries.append(entry)
        own = {"chance": 0.2, "mode": "iterative", "baseline": "pre", "base_decisions": entries[0]["decisions"]}
        directory.write_summary(_summary(config, entries) | own)
        return directory.path


def _game_metrics(round: int, step: int) -> dict[str, object]:
    return {
        "stage": f"round-{round}/games", "step": step, "phase": "clue" if step % 4 < 2 else "decision",
        "accuracy": 0.1 * step,
        "accuracy_average": 0.3, "abstention": 0.1, "abstention_average": 0.1, "reward": 0.2, "reward_spy": -0.1,
        "reward_citizen": 0.025, "baseline_spy": -0.1, "baseline_citizen": 0.025, "citizens_win": 0.5,
        "invalid_clues": 0.1, "invalid_votes": 0.1, "clue_words": 9.0, "clue_wordings": 0.8, "kl_anchor": 0.01,
        "entropy": 1.0,
        "zero_variance_groups": 1, "groups": 4, "tokens_per_second": 500.0,
        "peak_memory_gib": 1.5,
    }  # fmt: skip
