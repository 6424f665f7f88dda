"""What is loaded, what is refused, and what the message says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from selfsight.errors import SelfsightError
from selfsight.policy import LoraOptions

from .conftest import FAMILIES, FAST, Load


@pytest.fixture
def copy(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders("qwen2_5_vl"), tmp_path / "model"))


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation_internal"])
@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_a_folder_that_asks_for_code_is_refused_by_file_and_key(load: Load, copy: Path, file: str, key: str) -> None:
    content = json.loads((copy / file).read_text())
    content["text_config" if file == "config.json" else "nested"] = {key: {"AutoModel": "evil--code.Model"}}
    (copy / file).write_text(json.dumps(content))
    with pytest.raises(SelfsightError, match=f"{file}.*{key}"):
        load(folder=copy)


def test_a_missing_folder_says_what_to_give(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="no such folder") as caught:
        load(folder=tmp_path / "nothing here")
    assert caught.value.hint is not None and "save_pretrained" in caught.value.hint


def test_a_file_instead_of_a_folder_is_named(load: Load, copy: Path) -> None:
    with pytest.raises(SelfsightError, match="is a file"):
        load(folder=copy / "config.json")


def test_unreadable_json_names_its_file(load: Load, copy: Path) -> None:
    (copy / "preprocessor_config.json").write_text("{")
    with pytest.raises(SelfsightError, match=r"preprocessor_config\.json"):
        load(folder=copy)


def test_truncated_weights_are_a_clear_error(load: Load, copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SelfsightError, match="cannot load it"):
        load(folder=copy)


def test_pickled_weights_are_not_opened(load: Load, copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(SelfsightError, match="safetensors"):
        load(folder=copy)


def test_a_folder_without_tokenizer_is_a_clear_error(load: Load, copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(SelfsightError, match="image processor"):
        load(folder=copy)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_reaches_every_linear_layer_of_the_language_model_and_nothing_else(load: Load, family: str) -> None:
    model = load(family, learning=FAST, lora=LoraOptions(rank=2)).vlm.model
    adapted = {name.split(".lora_A")[0] for name, p in model.named_parameters() if p.requires_grad and "lora_A" in name}
    linear = {
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and "lora_" not in name
        and any(part in name for part in ("language_model.", "text_model."))
        and "vision" not in name
    }
    assert adapted == linear and len(linear) >= 14
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)


def test_lora_starts_the_same_whatever_the_global_seed(load: Load) -> None:
    torch.manual_seed(1)
    first = load(learning=FAST, lora=LoraOptions(rank=2)).weights_hash()
    torch.manual_seed(2)
    assert load(learning=FAST, lora=LoraOptions(rank=2)).weights_hash() == first
    assert load(learning=FAST, lora=LoraOptions(rank=2, seed=1)).weights_hash() != first


def test_a_wrong_lora_target_is_named(load: Load) -> None:
    with pytest.raises(SelfsightError, match="nonsense_proj"):
        load(learning=FAST, lora=LoraOptions(targets=("nonsense_proj",)))


def test_a_frozen_vision_tower_is_not_trained(load: Load) -> None:
    policy = load(learning=FAST, freeze_vision=True)
    trained = policy.learner.parameters
    assert trained and not any(".visual." in name for name in trained)
    assert any(".visual." in name for name in load(learning=FAST).learner.parameters)


def test_full_training_in_bfloat16_keeps_float32_weights_and_a_frozen_model_does_not(load: Load) -> None:
    trained = load(learning=FAST, dtype="bfloat16")
    assert {p.dtype for p in trained.learner.parameters.values()} == {torch.float32}
    frozen = load(dtype="bfloat16")
    assert {p.dtype for p in frozen.vlm.model.parameters()} == {torch.bfloat16}
