"""Teaches the starter to read and write: next-token prediction on pages, the image of a page computed once.

A page is one image with several segments about it. Its tokens lie in one row: the image's prefix, then the
segments, each of which sees the prefix and itself (a tree mask, without building the mask). That is about eight
times cheaper than a row per segment. No padding reaches the linear layers: rows are ragged and only attention
gathers them.

Every batch is a function of (seed, step), so a build that is stopped and resumed sees the same pages.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import AttentionInterface, PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.starter.architecture import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from selfsight.starter.corpus import Authors, Page, page

PATCH, MERGE = 14, 2
IMAGE_TOKENS = (IMAGE_SIZE // (PATCH * MERGE)) ** 2


@dataclass(frozen=True)
class Stage:
    """One stretch of training: `steps` batches of `pages` pages by `authors`, learning rate from `lr` to `final_lr`."""

    name: str
    authors: Authors
    steps: int
    pages: int
    lr: float
    final_lr: float
    warmup: int = 100
    segments: int = 8

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then cosine from `lr` to `final_lr`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_lr + 0.5 * (self.lr - self.final_lr) * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class TreeLayout:
    """Where prefixes and segments lie in a flat row of B * P + sum(lengths) tokens."""

    prefixes: int  # B
    prefix_length: int  # P
    owner_N: torch.Tensor  # the prefix each segment belongs to
    gather_NC: torch.Tensor  # flat index of each segment's tokens; padding points at the first token
    scatter_T: torch.Tensor  # for each segment token in the row, its place in (N * C)


@dataclass(frozen=True)
class Batch:
    """Flat tensors of one batch of pages."""

    input_ids: torch.Tensor  # (1, S)
    position_ids: torch.Tensor  # (3, 1, S)
    pixel_values: torch.Tensor  # (B * patches, 3 * 2 * 14 * 14)
    image_grid_thw: torch.Tensor  # (B, 3)
    layout: TreeLayout
    source_R: torch.Tensor  # rows whose next token is learned
    target_R: torch.Tensor


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    tree: TreeLayout | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention over a flat row: prefixes see themselves causally, segments see their prefix and themselves."""
    assert tree is not None and query.shape[0] == 1
    heads, dim = query.shape[1], query.shape[3]
    cut, length = tree.prefixes * tree.prefix_length, tree.gather_NC.shape[1]

    def rows(x: torch.Tensor) -> torch.Tensor:
        return x[0].transpose(0, 1).reshape(x.shape[2], heads * dim)

    def prefixes(x_SD: torch.Tensor) -> torch.Tensor:
        return x_SD[:cut].view(tree.prefixes, tree.prefix_length, heads, dim).transpose(1, 2)

    def segments(x_SD: torch.Tensor) -> torch.Tensor:
        return x_SD.index_select(0, tree.gather_NC.flatten()).view(-1, length, heads, dim).transpose(1, 2)

    q, k, v = rows(query), rows(key), rows(value)
    scale = dim**-0.5 if scaling is None else scaling
    kp, vp = prefixes(k), prefixes(v)
    out_prefix = _attend(prefixes(q), [(kp, vp)], scale)
    shared = (kp.index_select(0, tree.owner_N), vp.index_select(0, tree.owner_N))
    out_segments = _attend(segments(q), [shared, (segments(k), segments(v))], scale)
    flat = out_segments.transpose(1, 2).reshape(-1, heads * dim).index_select(0, tree.scatter_T)
    out = torch.cat([out_prefix.transpose(1, 2).reshape(cut, heads * dim), flat])
    return out.view(1, -1, heads, dim), None


def _attend(q: torch.Tensor, memories: list[tuple[torch.Tensor, torch.Tensor]], scale: float) -> torch.Tensor:
    """Softmax over several memories at once; the last one is the queries' own and therefore causal.

    Written out because the fused CPU kernel's backward took half of a training step at these short lengths.
    """
    scores = [(q * scale) @ k.transpose(-1, -2) for k, _ in memories]
    length = q.shape[-2]
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores[-1] = scores[-1].masked_fill(future, -torch.inf)
    weights = torch.cat(scores, -1).softmax(-1).to(q.dtype)
    parts = weights.split([k.shape[-2] for k, _ in memories], -1)
    out = parts[0] @ memories[0][1]
    for part, (_, v) in zip(parts[1:], memories[1:], strict=True):
        out = out + part @ v
    return out


class LinearPatches(torch.nn.Module):
    """The patch embedding as the matrix product that a convolution with stride = kernel is.

    Its backward took a tenth of a training step as a convolution.
    """

    def __init__(self, embed: torch.nn.Module) -> None:
        super().__init__()
        self.proj = cast(torch.nn.Conv3d, embed.proj)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(patches, pixels) -> (patches, width)."""
        return F.linear(patches, self.proj.weight.flatten(1))


AttentionInterface.register("starter_tree", tree_attention)


def patches(images: list[np.ndarray]) -> np.ndarray:
    """Normalised patches in the order of the Qwen2-VL image processor (checked against it by a test)."""
    side = IMAGE_SIZE // PATCH
    x = (np.stack(images).astype(np.float32) / 255 - PIXEL_MEAN) / PIXEL_STD  # (B, H, W, 3)
    x = x.reshape(-1, side // MERGE, MERGE, PATCH, side // MERGE, MERGE, PATCH, 3)
    x = x.transpose(0, 1, 4, 2, 5, 7, 3, 6)  # B, big row, big col, row, col, channel, y, x
    x = np.repeat(x[:, :, :, :, :, :, None], 2, axis=6)  # two equal frames
    return x.reshape(len(images) * side * side, -1)


class Pages(IterableDataset[Batch]):
    """The batches of a stage from `first` on; batch k is a function of (seed, stage, k)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stage: Stage, *, seed: int, first: int, offset: int) -> None:
        self.tokenizer, self.stage, self.seed, self.first, self.offset = tokenizer, stage, seed, first, offset

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        stride, phase = (worker.num_workers, worker.id) if worker else (1, 0)
        for step in range(self.first + phase, self.stage.steps, stride):
            yield self.batch(step)

    def batch(self, step: int) -> Batch:
        """Batch number `step` of the stage."""
        base = self.offset + step * self.stage.pages
        written = [
            page(base + i, seed=self.seed, authors=self.stage.authors, segments=self.stage.segments)
            for i in range(self.stage.pages)
        ]
        return collate(self.tokenizer, written)


def collate(tokenizer: PreTrainedTokenizerFast, pages: Sequence[Page]) -> Batch:
    """Lays pages out in one flat row."""
    special = tokenizer.convert_tokens_to_ids
    prefix = [special("<|user|>"), special("<|vision_start|>"), *[special("<|image_pad|>")] * IMAGE_TOKENS,
              special("<|vision_end|>")]  # fmt: skip
    side = math.isqrt(IMAGE_TOKENS)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), 0).reshape(2, -1)
    image_pos = np.concatenate([np.zeros((1, IMAGE_TOKENS), dtype=np.int64), grid]) + 2
    after = 2 + side  # M-RoPE: text goes on behind the larger side of the image
    prefix_pos = np.concatenate([np.tile([0, 1], (3, 1)), image_pos, np.full((3, 1), after)], 1)
    ids, positions = prefix * len(pages), [prefix_pos] * len(pages)
    owners, spans, sources, targets = [], [], [], []
    texts = [(i, s.user, s.completion) for i, p in enumerate(pages) for s in p.segments]
    users = tokenizer([t[1] for t in texts], add_special_tokens=False)["input_ids"]
    completions = tokenizer([t[2] for t in texts], add_special_tokens=False)["input_ids"]
    for (owner, _, _), user, completion in zip(texts, users, completions, strict=True):
        turn = [*user, special("<|assistant|>"), *completion, special("<|im_end|>")]
        start, learned = len(ids), len(completion) + 1
        ids += turn
        spans.append((start, len(turn)))
        owners.append(owner)
        positions.append(np.tile(np.arange(after + 1, after + 1 + len(turn)), (3, 1)))
        sources.append(np.arange(start + len(turn) - learned - 1, start + len(turn) - 1))
        targets += turn[-learned:]
    longest = max(length for _, length in spans)
    gather = np.zeros((len(spans), longest), dtype=np.int64)
    scatter = []
    for n, (start, length) in enumerate(spans):
        gather[n, :length] = np.arange(start, start + length)
        scatter.append(n * longest + np.arange(length))
    layout = TreeLayout(
        len(pages),
        len(prefix),
        torch.tensor(owners),
        torch.from_numpy(gather),
        torch.from_numpy(np.concatenate(scatter)),
    )  # fmt: skip
    return Batch(
        torch.tensor([ids]),
        torch.from_numpy(np.concatenate(positions, 1))[:, None],
        torch.from_numpy(patches([np.asarray(p.image) for p in pages])),
        torch.tensor([[1, IMAGE_SIZE // PATCH, IMAGE_SIZE // PATCH]] * len(pages)),
        layout,
        torch.from_numpy(np.concatenate(sources)),
        torch.tensor(targets),
    )


def loader(pages: Pages, workers: int) -> Iterator[Batch]:
    """Batches in order; pages are drawn by `workers` background processes (0: in this one)."""
    return iter(DataLoader(pages, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None))


def batch_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood of the completions' tokens."""
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        pixel_values=batch.pixel_values,
        image_grid_thw=batch.image_grid_thw,
        use_cache=False,
        tree=batch.layout,
    ).last_hidden_state[0]
    logits = model.lm_head(hidden.index_select(0, batch.source_R))
    return F.cross_entropy(logits.float(), batch.target_R)
