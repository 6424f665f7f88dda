"""A model that would see images otherwise than transformers shows them is refused when it is loaded."""

from pathlib import Path

import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.policy.image_probe import check_images_are_seen
from selfsight.policy.vlm import Vlm
from tiny_models import build_gemma3

from .conftest import FAMILIES, FAST, Load


@pytest.mark.parametrize("backend", ["shared", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_tested_families_see_a_picture_as_transformers_shows_it(load: Load, family: str, backend: str) -> None:
    assert check_images_are_seen(load(family, backend=backend).vlm) < 1e-4


def test_bfloat16_is_rounding_and_no_reason(load: Load) -> None:
    """Full weights stay float32 and are computed with in bfloat16; adapters stand on bfloat16 weights."""
    for trained in (None, FAST):
        assert check_images_are_seen(load("qwen3_vl", dtype="bfloat16", learning=trained).vlm) < 0.05


def test_a_family_whose_mask_is_not_passed_is_refused_with_the_tested_ones(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_gemma3(tmp_path / "gemma3")
    assert check_images_are_seen(load(folder=folder).vlm) < 1e-4
    monkeypatch.setattr(Vlm, "modality_argument", lambda self, types: {})
    with pytest.raises(SelfsightError, match=r"'gemma3' sees a picture otherwise .* differ by") as refusal:
        load(folder=folder)
    assert "qwen2_5_vl" in str(refusal.value.hint)


def test_wrong_positions_of_an_image_are_noticed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load("qwen2_5_vl").vlm
    monkeypatch.setattr(
        vlm, "positions", lambda prompt: (torch.arange(len(prompt)).expand(3, -1), len(prompt)), raising=True
    )
    with pytest.raises(SelfsightError, match="sees a picture otherwise"):
        check_images_are_seen(vlm)
