"""Log-probs of given completions, differentiable; the forward pass of the learner.

Two backends give the same numbers (a test holds them to 1e-5 in float32): shared-prefix rows, and a plain
padded batch for models whose attention cannot be split. In both, the language model's head is applied only
to rows whose next token is scored.

Shapes: B items (a prompt with some of its completions), N tokens in all, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from selfsight.policy.prefix import LearnRows, prepared_mask
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.vlm import Vlm

_HEAD_ELEMENTS = 1 << 27  # logits held at once; more are recomputed in the backward pass


@dataclass(frozen=True, eq=False)
class ScoreItem:
    """A prompt and completions of it, each (T,) int64."""

    prompt: EncodedPrompt
    completions: tuple[np.ndarray, ...]

    @property
    def tokens(self) -> int:
        return sum(len(completion) for completion in self.completions)


@dataclass(frozen=True, eq=False)
class Scores:
    """Flat over items, completions and tokens, in order: (N,) float32. Entropy has no gradient."""

    logprobs: Tensor
    entropy: Tensor


def score(vlm: Vlm, items: Sequence[ScoreItem], temperature: float) -> Scores:
    """Log-probs at the sampling temperature with placeholders banned, exactly as the sampler defines them."""
    for item in items:
        longest = max(len(completion) for completion in item.completions)
        vlm.check_length(item.prompt, longest)
    with vlm.compute():
        rows = _shared_rows(vlm, items) if vlm.backend == "shared" else _padded_rows(vlm, items)
        flat = np.concatenate([completion for item in items for completion in item.completions])
        targets = torch.from_numpy(flat).to(vlm.device)
        head = vlm.head if vlm.backend == "shared" else None
        return _token_scores(vlm, rows, head, targets, temperature)


def pack(items: Sequence[ScoreItem], token_budget: int) -> list[list[int]]:
    """Batches of item indices whose padded size stays within the budget (a single larger item goes alone).

    Items of similar length share a batch; the order is a function of the lengths alone.
    """
    shape = [(len(i.prompt), len(i.completions), max(len(c) for c in i.completions)) for i in items]
    batches: list[list[int]] = []
    size = (0, 0, 0)
    for index in sorted(range(len(items)), key=lambda i: (shape[i][2], shape[i][0], i)):
        grown = tuple(max(a, b) for a, b in zip(size, shape[index], strict=True))
        prompt, samples, length = grown
        if batches and (len(batches[-1]) + 1) * (prompt + samples * length) <= token_budget:
            batches[-1].append(index)
            size = (prompt, samples, length)
        else:
            batches.append([index])
            size = shape[index]
    return batches


def split(items: Sequence[ScoreItem], token_budget: int) -> list[tuple[int, ScoreItem, int]]:
    """(item index, part, first completion) with no part above the budget unless one completion alone is."""
    parts = []
    for index, item in enumerate(items):
        longest = max(len(completion) for completion in item.completions)
        at_once = max(1, (token_budget - len(item.prompt)) // longest)
        for first in range(0, len(item.completions), at_once):
            part = ScoreItem(item.prompt, item.completions[first : first + at_once])
            parts.append((index, part, first))
    return parts


def _shared_rows(vlm: Vlm, items: Sequence[ScoreItem]) -> Tensor:
    """Hidden states (N, hidden) that predict each completion token, from [prompt | G * C] rows."""
    P = max(len(item.prompt) for item in items)
    G = max(len(item.completions) for item in items)
    # The last token of a completion predicts nothing that is scored, so it is not an input.
    C = max(1, *(len(c) - 1 for item in items for c in item.completions))
    width = P + G * C
    ids = np.full((len(items), width), vlm.pad_id, dtype=np.int64)
    planes = torch.zeros((3, len(items), width), dtype=torch.long)
    offsets = torch.arange(C).repeat(G)
    picked = []
    for row, item in enumerate(items):
        length = len(item.prompt)
        ids[row, :length] = item.prompt.input_ids
        places, following = vlm.positions(item.prompt)
        planes[:, row, :length] = places
        planes[:, row, P:] = following + offsets
        for sample, completion in enumerate(item.completions):
            first = P + sample * C
            ids[row, first : first + len(completion) - 1] = completion[:-1]
            picked.append(row * width + length - 1)
            picked.extend(range(row * width + first, row * width + first + len(completion) - 1))
    layout = LearnRows([len(item.prompt) for item in items], G, C, vlm.device)
    hidden = vlm.model.model(
        input_ids=torch.from_numpy(ids).to(vlm.device),
        position_ids=vlm.position_argument(planes),
        attention_mask=prepared_mask(vlm.device),
        use_cache=False,
        shared_prefix=layout,
        **vlm.image_inputs([item.prompt for item in items]),
    ).last_hidden_state
    return hidden.flatten(0, 1)[torch.tensor(picked, device=vlm.device)]


def _padded_rows(vlm: Vlm, items: Sequence[ScoreItem]) -> Tensor:
    """Logits (N, V) from one right-padded row per completion, through the model's own top-level forward."""
    prompts = [item.prompt for item in items for _ in item.completions]
    completions = [completion for item in items for completion in item.completions]
    width = max(len(p) + len(c) - 1 for p, c in zip(prompts, completions, strict=True))
    ids = np.full((len(prompts), width), vlm.pad_id, dtype=np.int64)
    real = np.zeros_like(ids)
    planes = torch.zeros((3, len(prompts), width), dtype=torch.long)
    picked: list[int] = []
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        length, total = len(prompt), len(prompt) + len(completion) - 1
        ids[row, :length], ids[row, length:total] = prompt.input_ids, completion[:-1]
        real[row, :total] = 1
        places, following = vlm.positions(prompt)
        planes[:, row, :length] = places
        planes[:, row, length:total] = following + torch.arange(total - length)
        picked.extend(range(row * width + length - 1, row * width + total))
    logits = vlm.model(
        input_ids=torch.from_numpy(ids).to(vlm.device),
        position_ids=vlm.position_argument(planes),
        attention_mask=torch.from_numpy(real).to(vlm.device),
        use_cache=False,
        **vlm.image_inputs(prompts),
    ).logits
    return logits.flatten(0, 1)[torch.tensor(picked, device=vlm.device)]


def _token_scores(vlm: Vlm, rows: Tensor, head: Any, targets: Tensor, temperature: float) -> Scores:
    at_once = max(1, _HEAD_ELEMENTS // len(vlm.banned))

    def scores(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return distribution_scores(rows if head is None else head(rows), targets, vlm.banned, temperature)

    if len(rows) <= at_once:
        return Scores(*scores(rows, targets))
    chunks = [
        checkpoint(scores, rows[i : i + at_once], targets[i : i + at_once], use_reentrant=False)
        for i in range(0, len(rows), at_once)
    ]
    return Scores(torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks]))


def masked_logits(logits: Tensor, banned: Tensor, temperature: float) -> Tensor:
    """What is sampled from and learned, before the softmax: float32, banned at -inf, over temperature."""
    logits = logits.float().masked_fill(banned, -torch.inf)
    return logits if temperature == 1.0 else logits / temperature


def distribution_scores(logits: Tensor, targets: Tensor, banned: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(N,) log-probs of the targets, and the entropy of each row (no gradient)."""
    logprobs_NV = masked_logits(logits, banned, temperature).log_softmax(-1)
    with torch.no_grad():
        entropy = -(logprobs_NV.exp() * logprobs_NV.masked_fill(banned, 0.0)).sum(-1)
    return logprobs_NV.gather(-1, targets[:, None])[:, 0], entropy
