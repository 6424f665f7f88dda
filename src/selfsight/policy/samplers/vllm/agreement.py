"""The engine against the learner, on the first sample of every shape of image.

An engine can be right about text and wrong about images without a word: its own processor may be expected to leave
pixels unnormalised (vLLM 0.32 normalises Qwen's inside the model unless it is told not to), positions of image tokens
may be counted in another way, a kernel may be at fault. Then log-probs differ by whole units, and a run would learn
from what it never sampled. One forward pass of the learner for each new shape finds it before the first step.
"""

from collections.abc import Iterable

import numpy as np
import torch

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy.records import Rollout
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.vlm import Vlm

# Largest mean difference of a sample's log-probs; rounding stays far below, another input far above.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.2}


class Agreement:
    """Remembers which shapes were compared."""

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self._compared: set[tuple[int, ...]] = set()

    def check(self, drawn: Iterable[tuple[Prompt, Rollout]]) -> None:
        """SelfsightError where a sample of a new shape has other log-probs than the learner gives it."""
        for prompt, rollout in drawn:
            shape = self._shape(prompt)
            if shape in self._compared:
                continue
            apart = float(np.abs(self._scored(prompt, rollout) - rollout.logprobs).mean())
            if not apart <= _TOLERANCE[self.vlm.options.dtype]:
                where = f"of an image of shape {shape}" if shape else "without an image"
                raise SelfsightError(
                    f"Model {self.vlm.folder}: vLLM's log-probs differ from the learner's by {apart:.2g} on average, "
                    f"in the first sample {where}.",
                    hint="This vLLM computes another model than the learner does; set sampler.backend to local.",
                )
            self._compared.add(shape)

    def _shape(self, prompt: Prompt) -> tuple[int, ...]:
        if prompt.image is None:
            return ()
        return tuple(self.vlm.encoder.image(prompt.image).pixels["image_grid_thw"].flatten().tolist())

    @torch.no_grad()
    def _scored(self, prompt: Prompt, rollout: Rollout) -> np.ndarray:
        item = ScoreItem(self.vlm.encoder.encode(prompt), (rollout.token_ids,))
        temperature = rollout.temperature or 1.0  # a greedy sample carries log-probs at temperature 1
        scored: np.ndarray = score(self.vlm, [item], temperature).logprobs.float().cpu().numpy()
        return scored
