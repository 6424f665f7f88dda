"""Samplers draw completions from a model's weights; the method never knows which one it talks to."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from selfsight.policy.records import Rollout, SampleRequest, Sampling


class Sampler(Protocol):
    """What a policy needs from a sampler. `weight_version` names the weights that `sample` draws from."""

    weight_version: int

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        """The rollouts of each request by its id, in sample order."""

    def publish(self, weight_version: int) -> None:
        """Takes over new weights and drops everything computed from the old ones."""

    def sharing_images(self) -> AbstractContextManager[None]:
        """Inside, an image is encoded once, however many calls of `sample` show it."""

    def close(self) -> None:
        """Ends what was started for sampling; nothing can be drawn afterwards. Closing twice is harmless."""
