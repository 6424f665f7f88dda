"""Attention over windows of several lengths in a few calls: what one call for each window computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy import ModelOptions, Policy
from selfsight.policy.windows import ATTENTION_NAME, _attention
from tiny_models import BUILDERS

QWEN = ["qwen2_5_vl", "qwen3_vl"]
LENGTHS = [[4, 4, 4], [5], [4, 2, 4, 1, 2, 4, 7]]


def in_turn(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float) -> Tensor:
    parts = zip(*(x.split(lengths, dim=2) for x in (q, k, v)), strict=True)
    return torch.cat([scaled_dot_product_attention(*part, scale=scale) for part in parts], dim=2).transpose(1, 2)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_windows_in_a_few_calls_are_windows_in_turn(lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v, weights = (torch.randn((1, 3, sum(lengths), 8), generator=generator) for _ in range(4))
    bounds = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32)
    found = []
    for compute in (
        lambda q, k, v: in_turn(q, k, v, lengths, 0.3),
        lambda q, k, v: _attention(None, q, k, v, None, scaling=0.3, cu_seq_lens_q=bounds, is_causal=False)[0],
    ):
        own = [x.clone().requires_grad_() for x in (q, k, v)]
        out = compute(*own)
        (out * weights.transpose(1, 2)).sum().backward()
        found.append([out.detach(), *(x.grad for x in own)])
    for expected, got in zip(*found, strict=True):
        assert got.shape == expected.shape and (got - expected).abs().max() < 1e-6


def open_image(ref: ImageRef) -> Image.Image:
    width, height = map(int, ref.id.split("-")[1].split("x"))
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def features(policy: Policy) -> tuple[Tensor, int]:
    """Of four pictures, whose windows have several lengths, and how often attention was called for them."""
    vlm = policy.vlm
    prompts = [Prompt(ImageRef(f"p-{size}", "test"), "one") for size in ("112x112", "112x56", "84x42", "56x112")]
    images = [image for prompt in prompts for image in vlm.encoder.encode(prompt).images]
    pixels: list[Any] = [vlm.encoder.image(image).pixels for image in images]
    calls: list[int] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return plain(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr("selfsight.policy.windows.scaled_dot_product_attention", counted)
        patch.setattr("torch.nn.functional.scaled_dot_product_attention", counted)
        out = vlm.model.model.get_image_features(
            pixel_values=torch.cat([torch.as_tensor(p["pixel_values"]) for p in pixels]),
            image_grid_thw=torch.cat([torch.as_tensor(p["image_grid_thw"]) for p in pixels]),
            return_dict=True,
        )
    return torch.cat(list(out.pooler_output)), len(calls)


@pytest.mark.parametrize("family", QWEN)
def test_a_tower_of_qwen_sees_what_it_saw_in_fewer_calls(family: str, tmp_path: Path) -> None:
    policy = Policy.load("tiny", BUILDERS[family](tmp_path / "model"), open_image=open_image, options=ModelOptions())
    tower = policy.vlm.model.model.visual
    assert tower.config._attn_implementation == ATTENTION_NAME
    ours, few = features(policy)
    tower.config._attn_implementation = "sdpa"
    theirs, many = features(policy)
    assert (ours - theirs).abs().max() < 1e-5
    assert few < many


@pytest.mark.parametrize("family", QWEN)
def test_a_saved_model_knows_nothing_of_it(family: str, tmp_path: Path) -> None:
    policy = Policy.load("tiny", BUILDERS[family](tmp_path / "model"), open_image=open_image, options=ModelOptions())
    policy.save(tmp_path / "saved")
    assert "selfsight" not in json.dumps(json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8")))


def test_other_towers_keep_their_attention(tmp_path: Path) -> None:
    folder = BUILDERS["idefics3"](tmp_path / "model")
    policy = Policy.load("tiny", folder, open_image=open_image, options=ModelOptions())
    assert policy.vlm.model.config.vision_config._attn_implementation == "sdpa"
