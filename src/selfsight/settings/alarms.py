"""What is watched for collapse while a run goes on, from which value on, and what then happens.

A threshold that is null switches its alarm off. Where the defaults come from is in docs/alarms.md: a published run, and
21 runs of the starter and its controls, in which they are silent on the method itself.
"""

from typing import Annotated, Literal

from pydantic import Field

from selfsight.settings import Fraction, Settings

Factor = Annotated[float, Field(gt=1.0)]
Amount = Annotated[float, Field(ge=0.0)]
MaxUnreadable = Annotated[
    Fraction | None,
    Field(
        description="the run stops at once when this share of a model's first completions of a kind cannot be read "
        "(16 or more of the base's answers, or of the first of a phase); 1 or null: never"
    ),
]


class AlarmSettings(Settings):
    """Thresholds of the alarms, and what an alarm does. Null switches an alarm off."""

    policy: Literal["warn", "stop", "rollback"] = Field(
        default="warn",
        description="what an alarm does: warn (say so and go on), stop (end with exit code 3, resumable), rollback "
        "(end, with the best round as the run's result)",
    )
    question_cluster: Fraction | None = Field(
        default=0.25, description="largest share of a round's questions that are worded alike (one BLEU cluster)"
    )
    family_entropy: Fraction | None = Field(
        default=0.6, description="smallest entropy of the questions' opening templates, as a share of the first round's"
    )
    novelty: Fraction | None = Field(
        default=0.05, description="smallest share of a round's questions whose wording no earlier round has used"
    )
    answer_prior: Fraction | None = Field(
        default=0.35,
        description="largest share of one answer among all, to candidates or to held-out questions",
    )
    blind_answers: Fraction | None = Field(
        default=0.6, description="largest share of questions answered alike without the image (needs the gate `blind`)"
    )
    zero_variance: Fraction | None = Field(
        default=0.85, description="largest share of groups whose samples are all paid the same, at the end of a phase"
    )
    policy_kl: Amount | None = Field(
        default=0.3,
        description="largest KL to the base (without grpo.beta_anchor: to the phase's start) in nats a token, at the "
        "end of a phase",
    )
    policy_entropy: Fraction | None = Field(
        default=0.1, description="smallest entropy of a role at the end of a phase, as a share of its first steps'"
    )
    format_failures: Fraction | None = Field(
        default=0.1, description="largest share of questions, answers, clues or votes that cannot be read"
    )
    label_accuracy: Fraction | None = Field(
        default=0.4, description="smallest share of right pseudo-labels in the pool, by the audit (worlds only)"
    )
    label_accuracy_drop: Fraction | None = Field(
        default=0.25, description="largest fall of that share below the best earlier round's (worlds only)"
    )
    confidence_gap: Fraction | None = Field(
        default=0.3, description="largest confidence of the pool's labels above the share that is right (worlds only)"
    )
    heldout_drop: Fraction | None = Field(
        default=0.05, description="largest fall of held-out accuracy below the best earlier round's, the base included"
    )
    role_wins: Fraction | None = Field(default=0.95, description="largest share of a round's games that one role wins")
    abstention: Fraction | None = Field(default=0.5, description="largest share of n/a among the votes of a round")
    length_drift: Factor | None = Field(
        default=2.0, description="largest factor between a role's length at the end of a phase and in its first steps"
    )
