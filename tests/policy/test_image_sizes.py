"""Every spelling of a folder's bounds on the area of an image is read, and the bound that was asked for holds."""

import json
from pathlib import Path

import pytest
from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.policy.processor import PromptEncoder
from tiny_models import build_qwen2_5_vl

PATCH = 14 * 14


def tokens(folder: Path, smallest: int | None = None, largest: int | None = None, side: int = 280) -> int:
    from transformers import AutoConfig

    encoder = PromptEncoder(
        folder, AutoConfig.from_pretrained(folder), lambda ref: Image.new("RGB", (side, side)), area=(smallest, largest)
    )
    return int(encoder.image(ImageRef("a", "test")).token_types.sum())


def state(folder: Path, **changed: object) -> Path:
    """The folder with these keys of preprocessor_config.json; None removes one."""
    file = folder / "preprocessor_config.json"
    stated = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({key: value for key, value in stated.items() if value is not None}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_qwen2_5_vl(tmp_path / "model")


SPELLINGS = [
    {"size": {"shortest_edge": 3136, "longest_edge": 12544}},
    {"size": {"min_pixels": 3136, "max_pixels": 12544}},
    {"size": None, "min_pixels": 3136, "max_pixels": 12544},
    {"size": {"min_pixels": 3136, "max_pixels": 12544}, "min_pixels": 3136, "max_pixels": 12544},
]
NAMES = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil", "Qwen2_5_VLImageProcessor"]


@pytest.mark.parametrize("name", [*NAMES, None])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_bounds_hold_in_every_spelling(folder: Path, spelling: dict[str, object], name: str | None) -> None:
    state(folder, image_processor_type=name, **spelling)
    assert tokens(folder) == 12544 // PATCH // 4
    assert tokens(folder, side=28) == 3136 // PATCH // 4
    assert tokens(folder, largest=6272) <= 6272 // PATCH // 4


def test_a_bound_on_one_side_moves_the_folder_s_own_on_the_other(folder: Path) -> None:
    state(folder, size={"shortest_edge": 200704, "longest_edge": 401408})
    assert tokens(folder) >= 200704 // PATCH // 4
    assert tokens(folder, largest=50176) == 50176 // PATCH // 4
    state(folder, size={"shortest_edge": 784, "longest_edge": 3136})
    assert tokens(folder, smallest=12544) == 12544 // PATCH // 4


def test_bounds_that_cross_are_refused(folder: Path) -> None:
    with pytest.raises(SelfsightError, match="min_pixels=9000 is above max_pixels=5000"):
        tokens(folder, smallest=9000, largest=5000)


def test_a_processor_that_needs_torchvision_says_so(folder: Path) -> None:
    from transformers import Mistral3Config

    config = Mistral3Config()
    state(folder, image_processor_type="PixtralImageProcessor", size={"longest_edge": 112}, patch_size=14)
    with pytest.raises(SelfsightError, match="cannot be loaded") as refusal:
        PromptEncoder(folder, config, lambda ref: Image.new("RGB", (8, 8)))
    assert "or torchvision" in str(refusal.value.hint)
