"""A page in one row computes what a plain row per segment computes with the unmodified model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.starter.corpus import CAREFUL, MIXTURE, Page, Segment, page
from selfsight.starter.pretrain import Batch, LinearPatches, Pages, Stage, batch_loss, collate, loader

Row = tuple[int, list[int], list[int]]  # page, token ids of the segment's turn, those that are learned


def load(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    """The unmodified model."""
    return load(folder)


@pytest.fixture(scope="module")
def tree(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    """The same weights, prepared as `build` prepares them."""
    model = load(folder)
    model.model.visual.patch_embed = LinearPatches(model.model.visual.patch_embed)
    model.set_attn_implementation({"text_config": "starter_tree"})
    return model


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    """Ragged: eight, one and five segments."""
    eight, one, five = (page(i, seed=0, authors=MIXTURE, segments=n) for i, n in ((0, 8), (1, 1), (2, 5)))
    return [eight, one, five]


@pytest.fixture(scope="module")
def batch(tokenizer: PreTrainedTokenizerFast, pages: list[Page]) -> Batch:
    return collate(tokenizer, pages)


def prefix_of(batch: Batch) -> torch.Tensor:
    return batch.input_ids[0, : batch.layout.prefix_length]


def plain_rows(tokenizer: PreTrainedTokenizerFast, pages: list[Page]) -> list[Row]:
    rows = []
    for i, one in enumerate(pages):
        for segment in one.segments:
            text = f"{segment.user}<|assistant|>"
            learned = tokenizer(segment.completion)["input_ids"] + [tokenizer.eos_token_id]
            rows.append((i, tokenizer(text)["input_ids"] + learned, learned))
    return rows


def plain_logprobs(
    model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
) -> list[torch.Tensor]:
    """Log-probs of each segment's learned tokens, one plain row at a time, positions by the model's own rule."""
    found = []
    for owner, turn, learned in plain_rows(tokenizer, pages):
        ids = torch.cat([prefix_of(batch), torch.tensor(turn)])[None]
        logits = model(
            input_ids=ids,
            mm_token_type_ids=(ids == model.config.image_token_id).long(),
            pixel_values=batch.pixel_values[owner * 64 : owner * 64 + 64],
            image_grid_thw=batch.image_grid_thw[:1],
        ).logits[0]
        targets = torch.tensor(learned)
        scores = logits[-len(learned) - 1 : -1].log_softmax(-1)
        found.append(scores.gather(1, targets[:, None])[:, 0])
    return found


def tree_logprobs(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        pixel_values=batch.pixel_values,
        image_grid_thw=batch.image_grid_thw,
        use_cache=False,
        tree=batch.layout,
    ).last_hidden_state[0]
    scores = model.lm_head(hidden[batch.source_R]).log_softmax(-1)
    return scores.gather(1, batch.target_R[:, None])[:, 0]


def test_log_likelihoods_are_those_of_plain_rows(
    plain: Qwen2_5_VLForConditionalGeneration,
    tree: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pages: list[Page],
    batch: Batch,
) -> None:
    with torch.no_grad():
        expected = torch.cat(plain_logprobs(plain, tokenizer, pages, batch))
        found = tree_logprobs(tree, batch)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-4
        assert batch_loss(tree, batch).item() == pytest.approx(-expected.mean().item(), abs=1e-5)
    assert expected.std() > 0.5  # the model is not indifferent: an error would show


def test_gradients_are_those_of_plain_rows(
    plain: Qwen2_5_VLForConditionalGeneration,
    tree: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pages: list[Page],
    batch: Batch,
) -> None:
    for model in (plain, tree):
        model.zero_grad(set_to_none=True)
    (-torch.cat(plain_logprobs(plain, tokenizer, pages, batch)).mean()).backward()
    batch_loss(tree, batch).backward()
    expected, found = ({n: p.grad for n, p in m.named_parameters()} for m in (plain, tree))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient is not None and found[name] is not None, name
        assert gradient.abs().max() > 1e-7, name
        assert (found[name] - gradient).abs().max() < 1e-4 * gradient.abs().max(), name


def broken(batch: Batch, how: str) -> Batch:
    """The same batch with one mistake in it."""
    layout, cut = batch.layout, batch.layout.prefixes * batch.layout.prefix_length
    if how == "another page's prefix":
        return replace(batch, layout=replace(layout, owner_N=(layout.owner_N + 1) % layout.prefixes))
    if how == "positions that run on through the row":
        positions = batch.position_ids.clone()
        positions[:, :, cut:] = torch.arange(positions.shape[2] - cut) + positions[:, :, :cut].max() + 1
        return replace(batch, position_ids=positions)
    if how == "no rows and columns in the image":
        positions = batch.position_ids.clone()
        positions[1:, :, :cut] = positions[:1, :, :cut]
        return replace(batch, position_ids=positions)
    if how == "targets shifted by one":
        return replace(batch, source_R=batch.source_R + 1)
    assert how == "images swapped"
    return replace(batch, pixel_values=batch.pixel_values.view(3, 64, -1).flip(0).reshape(3 * 64, -1))


@pytest.mark.parametrize(
    "how",
    [
        "another page's prefix",
        "positions that run on through the row",
        "no rows and columns in the image",
        "targets shifted by one",
        "images swapped",
    ],
)
def test_a_mistake_in_the_layout_is_noticed(tree: Qwen2_5_VLForConditionalGeneration, batch: Batch, how: str) -> None:
    with torch.no_grad():
        difference = (tree_logprobs(tree, broken(batch, how)) - tree_logprobs(tree, batch)).abs().max()
    assert difference > 0.02


def test_a_segment_sees_neither_its_siblings_nor_other_pages(
    tree: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pages: list[Page]
) -> None:
    first, *rest = pages
    kept = first.segments[0]
    learned = len(tokenizer(kept.completion)["input_ids"]) + 1
    other = Page(first.image, (kept, Segment("Is there a star?", "star: none. \\boxed{no}")))
    with torch.no_grad():
        in_company = tree_logprobs(tree, collate(tokenizer, [first, *rest]))[:learned]
        elsewhere = tree_logprobs(tree, collate(tokenizer, [other]))[:learned]
        turned = Page(first.image.rotate(180), first.segments)
        elsewhere_turned = tree_logprobs(tree, collate(tokenizer, [turned]))[:learned]
    assert (in_company - elsewhere).abs().max() < 1e-4
    assert (in_company - elsewhere_turned).abs().max() > 0.02


def test_positions_are_those_of_the_model(
    plain: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
) -> None:
    """M-RoPE (arXiv 2409.12191): time, row and column for image tokens, one count for text behind them."""
    layout, at = batch.layout, batch.layout.prefixes * batch.layout.prefix_length
    for owner, turn, _ in plain_rows(tokenizer, pages):
        ids = torch.cat([prefix_of(batch), torch.tensor(turn)])[None]
        types = (ids == plain.config.image_token_id).long()
        expected, _ = plain.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=batch.image_grid_thw[:1])
        start = owner * layout.prefix_length
        assert batch.input_ids[0, at : at + len(turn)].tolist() == turn
        found = torch.cat(
            [
                batch.position_ids[:, :, start : start + layout.prefix_length],
                batch.position_ids[:, :, at : at + len(turn)],
            ],
            dim=2,
        )
        assert torch.equal(found, expected)
        at += len(turn)
    assert at == batch.input_ids.shape[1]


def test_only_completions_are_learned(tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch) -> None:
    learned = [token for _, _, tokens in plain_rows(tokenizer, pages) for token in tokens]
    assert batch.target_R.tolist() == learned
    assert batch.input_ids[0, batch.source_R + 1].tolist() == learned  # each from the token before it


# --- batches and schedule ------------------------------------------------------------------------------------------

STAGE = Stage("some", CAREFUL, steps=7, pages=2, lr=1e-3, final_lr=1e-4, warmup=2, segments=2)


def ids(batches: list[Batch]) -> list[list[int]]:
    return [batch.input_ids[0].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_whatever_draws_them(tokenizer: PreTrainedTokenizerFast, workers: int) -> None:
    pages = Pages(tokenizer, STAGE, seed=0, first=0, offset=10)
    assert ids(list(loader(pages, workers))) == ids([pages.batch(step) for step in range(7)])


def test_a_resumed_stage_goes_on_with_the_pages_that_come_next(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = list(loader(Pages(tokenizer, STAGE, seed=0, first=0, offset=10), 0))
    rest = list(loader(Pages(tokenizer, STAGE, seed=0, first=4, offset=10), 0))
    assert ids(whole[4:]) == ids(rest)
    written = [page(10 + 4 * 2 + i, seed=0, authors=CAREFUL, segments=2) for i in range(2)]
    assert ids(rest[:1]) == ids([collate(tokenizer, written)])
    assert len(np.unique([str(row) for row in ids(whole)])) == 7


def test_the_learning_rate_warms_up_and_falls_to_its_end() -> None:
    stage = replace(STAGE, steps=100, warmup=10)
    rates = [stage.lr_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-3 * (step + 1) / 10 for step in range(10)])
    assert max(rates) == pytest.approx(1e-3) and rates[-1] == pytest.approx(1e-4, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx((1e-3 + 1e-4) / 2)
