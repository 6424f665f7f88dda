"""Teaches the starter to read and write: next-token prediction on pages, the image of a page computed once.

A page is one image with several segments about it. It is a trie: the image's prefix, then the segments, each of which
sees the prefix and itself. So the image is computed once, about eight times cheaper than a row per segment, by the very
attention that the learner uses (policy/blocks.py), without padding and without a mask.

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
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.policy.blocks import TrieAttention
from selfsight.policy.prefix import ATTENTION_NAME, prepared_mask
from selfsight.policy.trie import Row
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
    segments: int = 9

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then cosine from `lr` to `final_lr`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_lr + 0.5 * (self.lr - self.final_lr) * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class Batch:
    """One batch of pages: a row of B tries (see policy/trie.py), the pages' pixels, and the tokens to learn."""

    row: Row
    pixel_values: torch.Tensor  # (B * patches, 3 * 2 * 14 * 14)
    image_grid_thw: torch.Tensor  # (B, 3)
    target_R: torch.Tensor  # the tokens that follow `row.picked`


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
    """Lays pages out in one row: [image | segment | segment ...] [image | segment ...] ..."""
    special = tokenizer.convert_tokens_to_ids
    prefix = [special("<|user|>"), special("<|vision_start|>"), *[special("<|image_pad|>")] * IMAGE_TOKENS,
              special("<|vision_end|>")]  # fmt: skip
    side = math.isqrt(IMAGE_TOKENS)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), 0).reshape(2, -1)
    image_places = np.concatenate([np.zeros((1, IMAGE_TOKENS), dtype=np.int64), grid]) + 2
    after = 2 + side  # M-RoPE: text goes on behind the larger side of the image
    prefix_planes = np.concatenate([np.tile([0, 1], (3, 1)), image_places, np.full((3, 1), after)], 1)
    texts = [(s.user, s.completion) for p in pages for s in p.segments]
    users = iter(tokenizer([user for user, _ in texts], add_special_tokens=False)["input_ids"])
    completions = iter(tokenizer([completion for _, completion in texts], add_special_tokens=False)["input_ids"])
    ids: list[int] = []
    starts: list[int] = []
    planes, stops, ends, parents, picked, targets = [], [], [], [], [], []
    for one in pages:
        root = len(starts)
        starts.append(len(ids))
        ids += prefix
        planes.append(prefix_planes)
        stops.append(len(ids))
        parents.append(-1)
        ends.append(0)  # known when the page is written
        for _ in one.segments:
            completion = next(completions)
            turn = [*next(users), special("<|assistant|>"), *completion, special("<|im_end|>")]
            starts.append(len(ids))
            ids += turn
            planes.append(np.tile(np.arange(after + 1, after + 1 + len(turn)), (3, 1)))
            learned = len(completion) + 1
            picked.append(np.arange(len(ids) - learned - 1, len(ids) - 1))
            targets += turn[-learned:]
            stops.append(len(ids))
            ends.append(len(ids))
            parents.append(root)
        ends[root] = len(ids)
    row = Row(
        ids=np.array(ids), planes=np.concatenate(planes, 1), starts=np.array(starts), stops=np.array(stops),
        ends=np.array(ends), parents=np.array(parents), images=(), members=(), picked=np.concatenate(picked),
    )  # fmt: skip
    return Batch(
        row,
        torch.from_numpy(patches([np.asarray(p.image) for p in pages])),
        torch.tensor([[1, IMAGE_SIZE // PATCH, IMAGE_SIZE // PATCH]] * len(pages)),
        torch.tensor(targets),
    )


def loader(pages: Pages, workers: int) -> Iterator[Batch]:
    """Batches in order; pages are drawn by `workers` background processes (0: in this one)."""
    return iter(DataLoader(pages, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None))


def hidden_states(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """(R, hidden) states that predict the tokens to learn. ValueError unless the model's attention goes through
    policy/prefix.py: any other would let every token see all before it, without a word.
    """
    if model.config.text_config._attn_implementation != ATTENTION_NAME:
        raise ValueError("the model's attention knows nothing of tries; call policy.prefix.install on it first")
    row = batch.row
    hidden: torch.Tensor = model.model(
        input_ids=torch.from_numpy(row.ids)[None],
        position_ids=torch.from_numpy(row.planes)[:, None],
        attention_mask=prepared_mask(model.device),
        pixel_values=batch.pixel_values,
        image_grid_thw=batch.image_grid_thw,
        use_cache=False,
        shared_prefix=TrieAttention(row, model.device),
    ).last_hidden_state[0]
    return hidden.index_select(0, torch.from_numpy(row.picked))


def batch_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood of the completions' tokens."""
    return F.cross_entropy(model.lm_head(hidden_states(model, batch)).float(), batch.target_R)
