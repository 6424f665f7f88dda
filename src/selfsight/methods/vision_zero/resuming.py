"""What may change when a run goes on, and what may not.

A resumed run takes new settings from its next step on. What would make it another run, another game, or an average
of two things is refused by name before anything is touched. Thresholds, lengths and the learning rate may change, and
`vision_zero.iterations` may grow.
"""

from selfsight.config import EvolveConfig
from selfsight.methods.resuming import FIXED, refuse_changed, refuse_late_references

GAME = "games before and after would not be the same game"
FIXED_IN_GAMES = {
    **{
        f"vision_zero.{name}": GAME
        for name in ("players", "clue_rounds", "spy_view", "degradation", "voter", "votes", "prompt_pack", "rewards")
    },
    "vision_zero.games_per_step": "later steps would be about images of earlier ones",
    "vision_zero.eval_steps": "the rounds so far have had this length",
    "vision_zero.eval_games": "the starting model has voted on so many",
    "vision_zero.switching.mode": "a schedule holds for a whole run",
    "vision_zero.switching.rho": "the averages so far were taken with it",
}


def refuse_changes(before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises for a change that would make nonsense of what the run has done."""
    refuse_changed(FIXED | FIXED_IN_GAMES, before, now)
    refuse_late_references(before, now)
