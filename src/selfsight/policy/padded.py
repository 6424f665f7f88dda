"""One right-padded row per completion: the fallback for models whose attention cannot be divided, and the
plainest statement of what the rows of tries must compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.vlm import Vlm

Pair = tuple[EncodedPrompt, np.ndarray]


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """`members` are indices of the pairs that were packed, ascending."""

    pairs: tuple[Pair, ...]
    members: tuple[int, ...]

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(image for prompt, _ in self.pairs for image in prompt.images)

    def forward(self, vlm: Vlm, images: dict[str, Any]) -> Tensor:
        """Hidden states (N, hidden) that predict each scored token; logits (N, V) if the head is not plain."""
        width = max(len(prompt) + len(completion) - 1 for prompt, completion in self.pairs)
        ids = np.full((len(self.pairs), width), vlm.pad_id, dtype=np.int64)
        real, types = np.zeros_like(ids), np.zeros_like(ids)
        planes = torch.zeros((3, len(self.pairs), width), dtype=torch.long)
        picked: list[int] = []
        for row, (prompt, completion) in enumerate(self.pairs):
            length, total = len(prompt), len(prompt) + len(completion) - 1
            ids[row, :length], ids[row, length:total] = prompt.input_ids, completion[:-1]
            real[row, :total] = 1
            types[row, :length] = prompt.token_types
            places, following = vlm.positions(prompt)
            planes[:, row, :length] = places
            planes[:, row, length:total] = following + torch.arange(total - length)
            picked.extend(range(row * width + length - 1, row * width + total))
        model = vlm.model.model if vlm.plain_head else vlm.model
        out = model(
            input_ids=torch.from_numpy(ids).to(vlm.device),
            position_ids=vlm.position_argument(planes),
            attention_mask=torch.from_numpy(real).to(vlm.device),
            use_cache=False,
            **vlm.modality_argument(types),
            **images,
        )
        rows: Tensor = out.last_hidden_state if vlm.plain_head else out.logits
        return rows.flatten(0, 1)[torch.tensor(picked, device=vlm.device)]


def pack_padded(pairs: Sequence[Pair], token_budget: int) -> list[PaddedBatch]:
    """Batches of similar length whose padded size keeps the budget; a longer pair goes alone."""
    lengths = [len(prompt) + len(completion) - 1 for prompt, completion in pairs]
    batches: list[list[int]] = []
    for index in sorted(range(len(pairs)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return [PaddedBatch(tuple(pairs[i] for i in sorted(chosen)), tuple(sorted(chosen))) for chosen in batches]
