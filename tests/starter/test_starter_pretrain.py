"""A page in one row computes what a plain row per segment computes with the unmodified model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.policy.prefix import install
from selfsight.starter.corpus import CAREFUL, MIXTURE, Page, Segment, page
from selfsight.starter.pretrain import Batch, LinearPatches, Pages, Stage, batch_loss, collate, hidden_states, loader

from .tables import is_game

Turn = tuple[int, list[int], list[int]]  # page, token ids of a segment's turn, those that are learned
Model = Qwen2_5_VLForConditionalGeneration


def load(folder: Path) -> Model:
    return Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Model:
    """The unmodified model."""
    return load(folder)


@pytest.fixture(scope="module")
def tree(folder: Path) -> Model:
    """The same weights, prepared as `build` prepares them."""
    model = load(folder)
    model.model.visual.patch_embed = LinearPatches(model.model.visual.patch_embed)
    install(model)
    return model


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    """Ragged: nine segments with a clue and a vote among them, one, five, and two about a blank picture."""
    written = (page(i, seed=0, authors=MIXTURE) for i in range(200))
    nine = next(p for p in written if {"clue.", "spy?"} <= {s.user.split()[-1] for s in p.segments if is_game(s.user)})
    blank = next(
        p
        for i in range(200)
        if (p := page(i, seed=0, authors=MIXTURE, segments=2)).segments[0].completion == "nothing."
    )
    return [nine, *(page(i, seed=0, authors=MIXTURE, segments=n) for i, n in ((201, 1), (202, 5))), blank]


@pytest.fixture(scope="module")
def batch(tokenizer: PreTrainedTokenizerFast, pages: list[Page]) -> Batch:
    return collate(tokenizer, pages)


def spans(batch: Batch) -> list[tuple[slice, list[slice]]]:
    """The places of every page's prefix, and of the segments under it."""
    row = batch.row
    nodes = [slice(int(a), int(b)) for a, b in zip(row.starts, row.stops, strict=True)]
    roots = [i for i, parent in enumerate(row.parents) if parent < 0]
    return [(nodes[root], [nodes[i] for i, parent in enumerate(row.parents) if parent == root]) for root in roots]


def turns_of(tokenizer: PreTrainedTokenizerFast, pages: list[Page]) -> list[Turn]:
    turns = []
    for i, one in enumerate(pages):
        for segment in one.segments:
            text = f"{segment.user}<|assistant|>"
            learned = tokenizer(segment.completion)["input_ids"] + [tokenizer.eos_token_id]
            turns.append((i, tokenizer(text)["input_ids"] + learned, learned))
    return turns


def plain_row(model: Model, tokenizer: PreTrainedTokenizerFast, turn: list[int]) -> torch.Tensor:
    """(1, L) tokens of a prompt and its completion as a model is given them."""
    image = [tokenizer.convert_tokens_to_ids("<|vision_start|>"), *[model.config.image_token_id] * 16]
    ends = tokenizer.convert_tokens_to_ids("<|vision_end|>")
    return torch.tensor([[tokenizer.convert_tokens_to_ids("<|user|>"), *image, ends, *turn]])


def plain_logprobs(
    model: Model, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
) -> list[torch.Tensor]:
    """Log-probs of each segment's learned tokens, one plain row at a time, positions by the model's own rule."""
    found = []
    for owner, turn, learned in turns_of(tokenizer, pages):
        ids = plain_row(model, tokenizer, turn)
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


def tree_logprobs(model: Model, batch: Batch) -> torch.Tensor:
    scores = model.lm_head(hidden_states(model, batch)).log_softmax(-1)
    return scores.gather(1, batch.target_R[:, None])[:, 0]


def test_log_likelihoods_are_those_of_plain_rows(
    plain: Model, tree: Model, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
) -> None:
    with torch.no_grad():
        expected = torch.cat(plain_logprobs(plain, tokenizer, pages, batch))
        found = tree_logprobs(tree, batch)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-4
        assert batch_loss(tree, batch).item() == pytest.approx(-expected.mean().item(), abs=1e-5)
    assert expected.std() > 0.5  # the model is not indifferent: an error would show


def test_gradients_are_those_of_plain_rows(
    plain: Model, tree: Model, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
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


def test_half_precision_as_in_a_build_moves_the_loss_only_little(tree: Model, batch: Batch) -> None:
    with torch.no_grad():
        exact = batch_loss(tree, batch).item()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = batch_loss(tree, batch).item()
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.01)


def broken(batch: Batch, how: str) -> Batch:
    """The same batch with one mistake in it."""
    row = batch.row
    is_root = row.parents < 0
    first_of_page = np.flatnonzero(is_root)
    if how == "another page's prefix":  # all pages see the first one's instead of their own
        ends = np.where(is_root, row.stops, row.ends)
        ends[0] = len(row)
        return replace(batch, row=replace(row, ends=ends))
    if how == "no prefix":
        return replace(batch, row=replace(row, ends=np.where(is_root, row.stops, row.ends)))
    if how == "siblings":  # the segments of a page as one
        kept = np.sort(np.concatenate([first_of_page, first_of_page + 1]))
        fewer = {name: getattr(row, name)[kept].copy() for name in ("starts", "stops", "ends", "parents")}
        fewer["stops"][1::2] = fewer["ends"][1::2] = fewer["ends"][0::2]
        fewer["parents"][1::2] = np.arange(0, len(kept), 2)
        return replace(batch, row=replace(row, **fewer))
    if how == "positions that run on through the row":
        planes, at = row.planes.copy(), 0
        for _, segments in spans(batch):
            for places in segments:
                planes[:, places] += at
                at += places.stop - places.start
        return replace(batch, row=replace(row, planes=planes))
    if how == "no rows and columns in the image":
        planes = row.planes.copy()
        for prefix, _ in spans(batch):
            planes[1:, prefix] = planes[:1, prefix]
        return replace(batch, row=replace(row, planes=planes))
    if how == "targets shifted by one":
        return replace(batch, row=replace(row, picked=row.picked + 1))
    assert how == "images swapped"
    swapped = batch.pixel_values.view(len(first_of_page), 64, -1).flip(0).reshape_as(batch.pixel_values)
    return replace(batch, pixel_values=swapped)


@pytest.mark.parametrize(
    "how",
    [
        "another page's prefix",
        "no prefix",
        "siblings",
        "positions that run on through the row",
        "no rows and columns in the image",
        "targets shifted by one",
        "images swapped",
    ],
)
def test_a_mistake_in_the_layout_is_noticed(tree: Model, batch: Batch, how: str) -> None:
    with torch.no_grad():
        difference = (tree_logprobs(tree, broken(batch, how)) - tree_logprobs(tree, batch)).abs().max()
    assert difference > 0.02


def test_a_segment_sees_neither_its_siblings_nor_other_pages(
    tree: Model, tokenizer: PreTrainedTokenizerFast, pages: list[Page]
) -> None:
    """The image of its page it does see."""
    first, *rest = pages
    lengths = [len(learned) for _, _, learned in turns_of(tokenizer, [first])]
    for place, own in ((0, slice(0, lengths[0])), (8, slice(sum(lengths[:8]), sum(lengths)))):
        other = Page(first.image, (first.segments[place], Segment("Is there a star?", "star: none. \\boxed{no}")))
        turned = Page(first.image.rotate(180), first.segments)
        with torch.no_grad():
            in_company = tree_logprobs(tree, collate(tokenizer, [first, *rest]))[own]
            elsewhere = tree_logprobs(tree, collate(tokenizer, [other]))[: lengths[place]]
            elsewhere_turned = tree_logprobs(tree, collate(tokenizer, [turned]))[own]
        assert (in_company - elsewhere).abs().max() < 1e-4
        assert (in_company - elsewhere_turned).abs().max() > 0.02


def test_the_row_is_a_prefix_per_page_with_its_segments_under_it(pages: list[Page], batch: Batch) -> None:
    row, at = batch.row, 0
    assert [len(segments) for _, segments in spans(batch)] == [len(one.segments) for one in pages] == [9, 1, 5, 2]
    for (prefix, segments), root in zip(spans(batch), np.flatnonzero(row.parents < 0), strict=True):
        assert int(root) == list(row.starts).index(prefix.start)
        for places in (prefix, *segments):
            assert places.start == at
            at = places.stop
        assert row.ends[root] == at
    assert at == len(row)
    leaves = row.parents >= 0
    assert (row.ends[leaves] == row.stops[leaves]).all()


def test_tokens_and_positions_are_those_of_the_model(
    plain: Model, tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch
) -> None:
    """M-RoPE (arXiv 2409.12191): time, row and column for image tokens, one count for text behind them."""
    turns = iter(turns_of(tokenizer, pages))
    for number, (prefix, segments) in enumerate(spans(batch)):
        for places in segments:
            owner, turn, _ = next(turns)
            ids = plain_row(plain, tokenizer, turn)
            types = (ids == plain.config.image_token_id).long()
            grid = batch.image_grid_thw[:1]
            expected, _ = plain.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid)
            path = np.r_[prefix, places]
            assert owner == number
            assert batch.row.ids[path].tolist() == ids[0].tolist()
            assert batch.row.planes[:, path].tolist() == expected[:, 0].tolist()
    assert next(turns, None) is None


def test_only_completions_are_learned(tokenizer: PreTrainedTokenizerFast, pages: list[Page], batch: Batch) -> None:
    learned = [token for _, _, tokens in turns_of(tokenizer, pages) for token in tokens]
    assert batch.target_R.tolist() == learned
    assert batch.row.ids[batch.row.picked + 1].tolist() == learned  # each from the token before it
    within = [
        place for _, segments in spans(batch) for places in segments for place in range(places.start, places.stop)
    ]
    assert set(batch.row.picked.tolist()) <= set(within)


# --- batches and schedule ------------------------------------------------------------------------------------------

STAGE = Stage("some", CAREFUL, steps=7, pages=2, lr=1e-3, final_lr=1e-4, warmup=2, segments=2)


def ids(batches: list[Batch]) -> list[list[int]]:
    return [batch.row.ids.tolist() for batch in batches]


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
