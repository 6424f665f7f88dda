"""Log-probs of given completions, differentiable; the forward pass of the learner.

`plan` turns prompts and completions into batches, `score_batch` computes one. Two kinds of batch give the same
numbers (a test holds them to 1e-5 in float32): rows of tries (`trie`, `blocks`), and a plain padded batch
(`padded`) for models whose attention cannot be divided. In both, the head is applied only where the next token is
scored, and in chunks (`vocabulary`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.features import image_inputs
from selfsight.policy.padded import PaddedBatch, pack_padded
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.stems import Carried, Shared, carry
from selfsight.policy.trie import Path, Row, Stem, pack_rows
from selfsight.policy.vlm import Vlm
from selfsight.policy.vocabulary import Scores, token_scores

UNBOUNDED = 1 << 60


@dataclass(frozen=True, eq=False)
class ScoreItem:
    """A prompt and completions of it, each (T,) int64."""

    prompt: EncodedPrompt
    completions: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Completions that one forward pass scores.

    `members` (item, completion) ascend; `targets` (N,) are their tokens, member by member.
    """

    members: tuple[tuple[int, int], ...]
    targets: np.ndarray
    rows: Row | PaddedBatch

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return self.rows.images

    @property
    def stem(self) -> Stem | None:
        return self.rows.stem if isinstance(self.rows, Row) else None


def plan(vlm: Vlm, items: Sequence[ScoreItem], token_budget: int) -> list[Batch]:
    """Every completion in exactly one batch of at most `token_budget` tokens, or alone if it is longer."""
    members = [(i, k) for i, item in enumerate(items) for k in range(len(item.completions))]
    if not members:
        return []
    for item in items:
        vlm.check_length(item.prompt, max(len(completion) for completion in item.completions))
    found: Sequence[Row | PaddedBatch]
    if vlm.backend == "shared":
        found = pack_rows(_paths(vlm, items), token_budget, carry=True)
    else:
        found = pack_padded([(items[i].prompt, items[i].completions[k]) for i, k in members], token_budget)
    batches = []
    for rows in found:
        chosen = tuple(members[index] for index in rows.members)
        batches.append(Batch(chosen, np.concatenate([items[i].completions[k] for i, k in chosen]), rows))
    return batches


def score_batch(vlm: Vlm, batch: Batch, temperature: float, shared: Shared | None = None) -> Scores:
    """Log-probs at the sampling temperature with placeholders banned, exactly as the sampler defines them.

    Without `shared` the batch computes its stem and its images' features itself, in the same graph.
    """
    with vlm.compute(), vlm.recomputing():
        images = image_inputs(vlm, batch.images) if shared is None else shared.features.inputs(batch.images)
        if isinstance(batch.rows, PaddedBatch):
            rows = batch.rows.forward(vlm, images)
        else:
            rows = _forward(vlm, batch.rows, images, _stem_of(vlm, batch.rows, shared))
        targets = torch.from_numpy(batch.targets).to(vlm.device)
        return token_scores(rows, vlm.head if vlm.plain_head else None, targets, vlm.banned, temperature)


def score(vlm: Vlm, items: Sequence[ScoreItem], temperature: float) -> Scores:
    """All of them in one forward pass: flat over items, completions and tokens, in order."""
    (batch,) = plan(vlm, items, UNBOUNDED)
    return score_batch(vlm, batch, temperature)


def _paths(vlm: Vlm, items: Sequence[ScoreItem]) -> list[Path]:
    paths = []
    for item in items:
        prompt = item.prompt
        places, following = vlm.positions(prompt)
        planes = places.numpy()
        for completion in item.completions:
            more = len(completion) - 1
            own = np.broadcast_to(following + np.arange(more), (len(planes), more))
            paths.append(
                Path(
                    ids=np.concatenate([prompt.input_ids, completion[:-1]]),
                    planes=np.concatenate([planes, own], axis=1),
                    numbers=np.concatenate([prompt.token_images, np.zeros(more, dtype=np.int64)]),
                    images=prompt.images,
                    prompt=len(prompt),
                )
            )
    return paths


def _stem_of(vlm: Vlm, row: Row, shared: Shared | None) -> Carried | None:
    if row.stem is None:
        return None
    if shared is None:
        return carry(vlm, row.stem, image_inputs(vlm, row.stem.images))
    return shared.carried(row.stem)


def _forward(vlm: Vlm, row: Row, images: dict[str, Any], carried: Carried | None) -> Tensor:
    """Hidden states (N, hidden) that predict each scored token."""
    ids, planes = torch.from_numpy(row.ids[row.begin :])[None], torch.from_numpy(row.planes[:, row.begin :])[:, None]
    hidden = vlm.hidden(ids, planes, vlm.row_attention(row, vlm.device, carried), images)
    states = hidden[0] if carried is None else torch.cat((carried.hidden.to(hidden.dtype), hidden[0]))
    return states.index_select(0, torch.from_numpy(row.picked).to(vlm.device))
