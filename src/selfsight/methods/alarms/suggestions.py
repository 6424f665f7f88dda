"""One setting worth trying for every alarm, as `key=value`: a step from what the run has, and one that a run that has
begun may take (`selfsight resume RUN key=value`).

They are starting points with a reason, no cures: a narrower gate where the pool is bad (docs/visplay.md says what each
gate keeps out), and a shorter leash where weights or words drift.
"""

from collections.abc import Callable

from selfsight.config import EvolveConfig

Suggest = Callable[[EvolveConfig, str], str]


def suggestion(alarm: str, who: str, config: EvolveConfig) -> str:
    """A setting for a run with this `config` in which `alarm` went off about `who`."""
    return _SUGGESTIONS[alarm](config, who)


def shorter_leash(config: EvolveConfig, who: str = "") -> str:
    """Twice the KL to the base; half the learning rate in a run that holds no base to be compared with."""
    anchor = config.grpo.beta_anchor
    if anchor > 0:
        return f"grpo.beta_anchor={2 * anchor:g}"
    return f"optim.learning_rate={config.optim.learning_rate / 2:g}"


def _other_words(config: EvolveConfig, who: str) -> str:
    if config.visplay.controls.questioner == "untrained":  # nobody is rewarded for other words
        return _fewer_of_a_family(config)
    return f"visplay.diversity_weight={max(1.0, 2 * config.visplay.diversity_weight):g}"


def _other_templates(config: EvolveConfig, who: str) -> str:
    trained = config.visplay.controls.questioner == "trained"
    return shorter_leash(config) if trained else _fewer_of_a_family(config)


def _fewer_of_a_family(config: EvolveConfig) -> str:
    share = config.visplay.gates.max_family_share
    return f"visplay.gates.max_family_share={0.35 if share is None else share / 2:g}"


def _new_words(config: EvolveConfig, who: str) -> str:
    share = config.visplay.gates.novelty
    return f"visplay.gates.novelty={0.02 if share is None else share / 2:g}"


def _other_answers(config: EvolveConfig, who: str) -> str:
    if config.method == "vision-zero":
        return shorter_leash(config)
    share = config.visplay.gates.max_answer_share
    return f"visplay.gates.max_answer_share={0.5 if share is None else share / 2:g}"


def _look_at_the_image(config: EvolveConfig, who: str) -> str:
    # The gate `blind` is on, or nothing would have been measured.
    return "visplay.gates.supervisor=0.7" if config.visplay.gates.supervisor is None else shorter_leash(config)


def _more_signal(config: EvolveConfig, who: str) -> str:
    if who == "player":
        return _sooner_switch(config)
    gates = config.visplay.gates
    lower = round((1.0 if gates.agreement_ceiling is None else gates.agreement_ceiling) - 0.1, 2)
    if who == "reasoner" and lower > (gates.agreement_floor or 0.0):
        return f"visplay.gates.agreement_ceiling={lower:g}"
    return f"grpo.num_generations={2 * config.grpo.num_generations}"


def _sooner_switch(config: EvolveConfig) -> str:
    own = config.vision_zero.switching
    patience = 20 if own.patience is None else own.patience // 2
    return shorter_leash(config) if patience < own.k_min else f"vision_zero.switching.patience={patience}"


def _room_to_finish(config: EvolveConfig, who: str) -> str:
    own = config.vision_zero
    if who == "clues":
        return f"vision_zero.max_clue_length={2 * own.max_clue_length}"
    if who == "votes":
        return f"vision_zero.max_vote_length={2 * own.max_vote_length}"
    return shorter_leash(config)


def _plausible_questions(config: EvolveConfig, who: str) -> str:
    if config.visplay.gates.plausibility_floor is None:
        return "visplay.gates.plausibility_floor=-5.0"
    return _surer_labels(config)


def _answerable_questions(config: EvolveConfig, who: str) -> str:
    return "visplay.gates.supervisor=0.7" if config.visplay.gates.supervisor is None else _surer_labels(config)


def _surer_labels(config: EvolveConfig) -> str:
    gates = config.visplay.gates
    floor = gates.agreement_floor or 0.0
    higher = min(round(max(0.4, floor + 0.1), 2), gates.agreement_ceiling or 0.9, 0.9)
    return f"visplay.gates.agreement_floor={higher:g}" if higher > floor else shorter_leash(config)


def _the_other_role(config: EvolveConfig, who: str) -> str:
    own = config.vision_zero.switching
    if own.mode != "iterative":
        return shorter_leash(config)
    if who == "citizens":  # the voters find every spy: let the clues train sooner
        return f"vision_zero.switching.accuracy_high={max(0.5, own.accuracy_high - 0.1):g}"
    return f"vision_zero.switching.error_high={own.error_high / 2:g}"


def _votes_that_name_somebody(config: EvolveConfig, who: str) -> str:
    own = config.vision_zero.switching
    if own.mode != "iterative":
        return shorter_leash(config)
    return f"vision_zero.switching.abstention_high={own.abstention_high / 2:g}"


_SUGGESTIONS: dict[str, Suggest] = {
    "question_cluster": _other_words,
    "family_entropy": _other_templates,
    "novelty": _new_words,
    "answer_prior": _other_answers,
    "blind_answers": _look_at_the_image,
    "zero_variance": _more_signal,
    "policy_kl": shorter_leash,
    "policy_entropy": shorter_leash,
    "format_failures": _room_to_finish,
    "label_accuracy": _plausible_questions,
    "label_accuracy_drop": _plausible_questions,
    "confidence_gap": _answerable_questions,
    "heldout_drop": shorter_leash,
    "role_wins": _the_other_role,
    "abstention": _votes_that_name_somebody,
    "length_drift": shorter_leash,
}
