"""From a run's configuration to the rules of its games: the game, what it pays, and when the trained stage changes.

Free of torch, so that settings which the rules refuse are refused before anything is opened.
"""

from selfsight.config import EvolveConfig
from selfsight.methods.vision_zero.game import GameSettings
from selfsight.methods.vision_zero.scoring import ScoringSettings, incentives, warnings_about
from selfsight.methods.vision_zero.switching import SwitchSettings


def game_settings(config: EvolveConfig) -> GameSettings:
    """The game of a run."""
    own = config.vision_zero
    return GameSettings(
        players=own.players, clue_rounds=own.clue_rounds, spy_view=own.spy_view, voter=own.voter, votes=own.votes
    )


def scoring_settings(config: EvolveConfig) -> ScoringSettings:
    """What its games pay."""
    own = config.vision_zero.rewards
    return ScoringSettings(
        beta=own.clue_beta,
        lam=own.clue_lambda,
        baseline=own.baseline,
        alpha=own.alpha,
        invalid_clue_penalty=own.invalid_clue_penalty,
        correct=own.correct,
        abstained=own.abstained,
        wrong=own.wrong,
    )


def switch_settings(config: EvolveConfig) -> SwitchSettings:
    """When the trained stage changes."""
    own = config.vision_zero.switching
    return SwitchSettings(
        mode=own.mode,
        rho=own.rho,
        bias_corrected=own.bias_corrected,
        k_min=own.k_min,
        patience=own.patience,
        accuracy_high=own.accuracy_high,
        abstention_low=own.abstention_low,
        error_high=own.error_high,
        abstention_high=own.abstention_high,
    )


def advice(config: EvolveConfig) -> tuple[str, ...]:
    """What a user should know before the first game."""
    game, scoring = game_settings(config), scoring_settings(config)
    return (incentives(game, scoring), *(f"warning: {text}" for text in warnings_about(game, scoring)))
