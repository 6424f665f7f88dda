"""One batch of samples becomes optimiser steps, and the figures of them become a line of metrics.jsonl."""

from collections.abc import Sequence

from selfsight.methods.memory import peak_memory_gib
from selfsight.policy import Group, Policy


def learn_from(policy: Policy, groups: Sequence[Group], iterations: int) -> dict[str, object]:
    """`iterations` optimiser steps on a batch, published; what is to be logged of them."""
    first = learned = policy.learn(groups)
    stepped = policy.step()
    for _ in range(1, iterations):
        learned = policy.learn(groups)
        stepped = policy.step()
    policy.publish()
    return {
        "loss": learned.loss,
        "kl": learned.kl,
        "kl_anchor": learned.kl_anchor,
        "entropy": learned.entropy,
        "clip_fraction": learned.clip_fraction,
        "ratio_max": learned.ratio_max,
        "mismatch_kl": first.mismatch_kl,  # later passes have moved away on purpose
        "importance_capped": first.importance_capped,
        "zero_variance_groups": learned.zero_variance_groups,
        "groups": learned.groups,
        "grad_norm": stepped.grad_norm,
        "learning_rate": stepped.learning_rate,
        "skipped": stepped.skipped,
        "tokens_per_second": learned.tokens_per_second,
        "peak_memory_gib": peak_memory_gib(),
    }
