"""Vision-Zero (arXiv 2509.25541): a model plays "Who is the spy" against itself. The rules, without torch."""

from selfsight.methods.vision_zero.ballots import Vote, read_vote
from selfsight.methods.vision_zero.clues import PLACEHOLDER, ClueReading, read_clue
from selfsight.methods.vision_zero.game import Ballot, Completion, Game, GameSettings, Turn, deal
from selfsight.methods.vision_zero.lockstep import Request, advance, open_requests
from selfsight.methods.vision_zero.scoring import (
    RoleAdvantages,
    RoleBaselines,
    Score,
    ScoringSettings,
    Tally,
    VoteRates,
    clue_rewards,
    decision_rewards,
    group_normalised,
    incentives,
    role_advantages,
    score,
    vote_rates,
    warnings_about,
)
from selfsight.methods.vision_zero.switching import (
    SwitchSettings,
    SwitchState,
    averages,
    next_phase,
    observe,
    paper_literal,
    start,
)
from selfsight.methods.vision_zero.transcript import game_record, replay

__all__ = [
    "PLACEHOLDER",
    "Ballot",
    "ClueReading",
    "Completion",
    "Game",
    "GameSettings",
    "Request",
    "RoleAdvantages",
    "RoleBaselines",
    "Score",
    "ScoringSettings",
    "SwitchSettings",
    "SwitchState",
    "Tally",
    "Turn",
    "Vote",
    "VoteRates",
    "advance",
    "averages",
    "clue_rewards",
    "deal",
    "decision_rewards",
    "game_record",
    "group_normalised",
    "incentives",
    "next_phase",
    "observe",
    "open_requests",
    "paper_literal",
    "read_clue",
    "read_vote",
    "replay",
    "role_advantages",
    "score",
    "start",
    "vote_rates",
    "warnings_about",
]
