"""The starter's tokenizer, and an untrained starter saved as it would be shipped."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.starter import build
from selfsight.starter.architecture import save_starter, starter_config


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build._tokenizer(0)


@pytest.fixture(scope="session")
def folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that log-probs depend visibly on image, position and every earlier token."""
    model = Qwen2_5_VLForConditionalGeneration(starter_config(tokenizer))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                scale = 0.3 if "embed_tokens" in name else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    path = tmp_path_factory.mktemp("starter")
    save_starter(model, tokenizer, path)
    return path
