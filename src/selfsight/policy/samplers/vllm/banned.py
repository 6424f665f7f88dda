"""Placeholder tokens without probability, inside vLLM's engine.

`logit_bias` ends at -100 and `allowed_token_ids` at 1,024 tokens in vLLM's second model runner, so neither says what
the learner says: minus infinity. The two model runners want different base classes; this one is both.
"""

from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor as FirstRunner
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondRunner

from selfsight.policy.samplers.vllm.options import BANNED_KEY


class BannedTokens(FirstRunner, SecondRunner):
    """The ids in vLLM's `additional_config`, for every request alike."""

    def __init__(self, vllm_config: Any, where: Any, pinned: bool = False) -> None:
        device = where if isinstance(where, torch.device) else where.device  # the second runner passes its state
        self._banned = torch.tensor(vllm_config.additional_config[BANNED_KEY], dtype=torch.long, device=device)

    def apply(self, logits: Tensor, layout: object = None) -> Tensor:
        return logits.index_fill_(-1, self._banned, -torch.inf)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: object) -> None:
        """Nothing depends on the batch."""
