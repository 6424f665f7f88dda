"""A vision-language model that acts and learns."""

from selfsight.policy.learner import LearnerOptions
from selfsight.policy.loading import LoraOptions, ModelOptions
from selfsight.policy.loss import LossOptions
from selfsight.policy.policy import Policy
from selfsight.policy.records import Group, LearnStats, Rollout, SampleRequest, Sampling, StepStats
from selfsight.policy.samplers.local import LocalSamplerOptions

__all__ = [
    "Group",
    "LearnStats",
    "LearnerOptions",
    "LocalSamplerOptions",
    "LoraOptions",
    "LossOptions",
    "ModelOptions",
    "Policy",
    "Rollout",
    "SampleRequest",
    "Sampling",
    "StepStats",
]
