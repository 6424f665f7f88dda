"""One optimiser step's worth of games: from what was played to groups with advantages or rewards.

    clue stage        every clue is a sample of its own with its player's role advantage A = r - b, less the penalty of
                      a refused clue; the advantage is given, not normalised: a clue's prompt occurs once
    decision stage    the votes on one prompt are a group, normalised by the learner

Only the stage that trains makes groups, so only its tokens get gradient. Pure functions of finished games.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from selfsight.language import normal_wording
from selfsight.methods.vision_zero.game import Game
from selfsight.methods.vision_zero.playing import Answer, Played
from selfsight.methods.vision_zero.scoring import (
    RoleBaselines,
    Score,
    ScoringSettings,
    role_advantages,
    score,
    vote_rates,
)
from selfsight.methods.vision_zero.switching import SwitchSettings, SwitchState, averages, observe, start
from selfsight.methods.vision_zero.transcript import game_record
from selfsight.policy import Group, Rollout


@dataclass(frozen=True)
class Standing:
    """Where a run stands besides its weights: the schedule and the baselines. Part of a checkpoint."""

    switch: SwitchState
    baselines: RoleBaselines

    @classmethod
    def first(cls, switching: SwitchSettings) -> "Standing":
        """Before the first step."""
        return cls(start(switching), RoleBaselines())


@dataclass(frozen=True)
class Step:
    """What a batch of games comes to: groups to learn from, lines of games.jsonl, the step's own measurements, and
    where the run stands afterwards.
    """

    groups: list[Group]
    records: list[dict[str, object]]
    metrics: dict[str, object]
    following: Standing


def settle(played: Played, standing: Standing, scoring: ScoringSettings, switching: SwitchSettings) -> Step:
    """Scores the games of a step. Without games (all images were bad) nothing changes."""
    phase = standing.switch.phase
    if not played.games:
        return Step([], [], {"phase": phase, "games": 0}, standing)
    scores = [score(game, scoring) for game in played.games]
    groups: list[Group] = []
    used, baselines = None, standing.baselines
    if standing.switch.trains("clue"):
        earned = [(s.clue_rewards, game.secret.spy) for s, game in zip(scores, played.games, strict=True)]
        found = role_advantages(earned, standing.baselines, alpha=scoring.alpha, baseline=scoring.baseline)
        used, baselines = found.used, found.following
        for game, paid, advantages in zip(played.games, scores, found.by_game, strict=True):
            groups += clue_groups(game, played.clues[game.id], advantages, paid.clue_penalties)
    if standing.switch.trains("decision"):
        for game, paid in zip(played.games, scores, strict=True):
            groups += decision_groups(played.votes[game.id], paid.decision_rewards)
    rates = vote_rates(played.games)
    following = Standing(observe(standing.switch, rates.accuracy, rates.abstention, switching), baselines)
    accuracy, abstention = averages(following.switch, switching)
    metrics: dict[str, object] = {
        "phase": phase,
        "games": len(played.games),
        "accuracy": rates.accuracy,
        "abstention": rates.abstention,
        "accuracy_average": accuracy,
        "abstention_average": abstention,
        "next_phase": following.switch.phase,
        **{f"baseline_{role}": value for role, value in asdict(baselines).items()},
        **_of_votes(scores),
        **_of_clues(played.games, scores),
        **_of_tokens(played),
    }
    records = [game_record(game, scoring, phase=phase, baselines=used) for game in played.games]
    return Step(groups, records, metrics, following)


def clue_groups(
    game: Game, answers: Sequence[Answer], advantages: Sequence[float], penalties: Sequence[float]
) -> list[Group]:
    """A group of one per clue; `advantages` are by seat, `penalties` by turn."""
    return [
        Group(answer.request.prompt, answer.rollouts, advantages=np.array([advantages[turn.seat - 1] - penalty]))
        for turn, answer, penalty in zip(game.turns, answers, penalties, strict=True)
    ]


def decision_groups(answers: Sequence[Answer], rewards: Sequence[Sequence[float]]) -> list[Group]:
    """A group per voter; `rewards` are by ballot and sample."""
    return [
        Group(answer.request.prompt, answer.rollouts, np.array(own))
        for answer, own in zip(answers, rewards, strict=True)
    ]


def _of_votes(scores: Sequence[Score]) -> dict[str, object]:
    ballots = [rewards for paid in scores for rewards in paid.decision_rewards]
    samples = sum(len(rewards) for rewards in ballots)
    wins = float(np.mean([paid.citizens_win for paid in scores]))
    return {
        "reward": float(np.mean([reward for rewards in ballots for reward in rewards])),
        "invalid_votes": sum(paid.tally.invalid for paid in scores) / samples,
        "citizens_win": wins,
        "spy_wins": 1 - wins,
        "unanimous_ballots": sum(len(set(rewards)) == 1 for rewards in ballots) / len(ballots),
    }


def _of_clues(games: Sequence[Game], scores: Sequence[Score]) -> dict[str, object]:
    turns = [turn for game in games for turn in game.turns]
    valid = [turn.reading.text for turn in turns if turn.reading.valid]
    spies = [paid.clue_rewards[game.secret.spy - 1] for game, paid in zip(games, scores, strict=True)]
    wordings = Counter(normal_wording(text) for text in valid)
    return {
        "reward_spy": float(np.mean(spies)),
        "reward_citizen": -float(np.mean(spies)) / (games[0].settings.players - 1),  # zero-sum
        "invalid_clues": 1 - len(valid) / len(turns),
        "clue_penalty": float(np.mean([penalty for paid in scores for penalty in paid.clue_penalties])),
        "clue_words": float(np.mean([len(text.split()) for text in valid])) if valid else 0.0,
        "clue_wordings": len(wordings) / len(valid) if valid else 0.0,
    }


def _of_tokens(played: Played) -> dict[str, object]:
    found: dict[str, object] = {}
    total = 0
    for name, answers in (("clue", played.clues), ("vote", played.votes)):
        rollouts: list[Rollout] = [r for own in answers.values() for answer in own for r in answer.rollouts]
        tokens = [len(rollout.token_ids) for rollout in rollouts]
        found |= {
            f"{name}_tokens": float(np.mean(tokens)),
            f"{name}s_cut_off": float(np.mean([not rollout.finished for rollout in rollouts])),
        }
        total += sum(tokens)
    return found | {"sampled_tokens": total}
