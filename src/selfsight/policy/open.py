"""From a run's configuration to its policies: the model's folder, its prompt pack, its options."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from selfsight.config import EvolveConfig
from selfsight.images.source import ImageRef, ImageSource
from selfsight.images.worlds import WorldSource
from selfsight.language.prompts import taught_pack
from selfsight.policy.device import choose_device
from selfsight.policy.folder_check import check_folder
from selfsight.policy.learner import LearnerOptions
from selfsight.policy.loading import LoraOptions, ModelOptions, resolve_folder
from selfsight.policy.loss import LossOptions
from selfsight.policy.policy import Policy
from selfsight.policy.samplers.local import LocalSamplerOptions
from selfsight.policy.samplers.vllm.engines import Engines
from selfsight.policy.samplers.vllm.options import require_vllm
from selfsight.run.checks import refuse_damaged_model
from selfsight.run.seeds import derive
from selfsight.starter import starter_folder


def model_folder(model: str, revision: str | None = None) -> Path:
    """The folder of `starter`, of a path, or of a model of the hub that is in the local cache; its files are checked.

    The check comes before anything of the folder is read, its prompt pack included.
    """
    folder = starter_folder() if model == "starter" else resolve_folder(model, revision=revision)
    check_folder(folder)
    if model != "starter":
        refuse_damaged_model(folder)
    return folder


def pack_name(config: EvolveConfig, chosen: str) -> str:
    """The `chosen` prompt pack, or for `auto` the one that the model says it was taught, else `full`."""
    return taught_pack(model_folder(config.model, config.revision)) if chosen == "auto" else chosen


def read_image(source: ImageSource) -> Callable[[ImageRef], Image.Image]:
    """Opens a run's own images, and pictures of worlds (held-out ones too) from their reference alone."""

    def open_ref(ref: ImageRef) -> Image.Image:
        return WorldSource.open_any(ref) if ref.id.startswith("w-") else source.open(ref)

    return open_ref


def open_policy(
    config: EvolveConfig,
    name: str,
    opener: Callable[[ImageRef], Image.Image],
    *,
    trainable: bool,
    engines: Engines | None = None,
) -> Policy:
    """A role's policy with the run's options; frozen when it is not to be trained.

    Roles that are given the same `engines` share one where they can; without, a role has its own. They are only
    asked when the configuration says so.
    """
    device = choose_device(config.device)
    if ":" in device:
        torch.cuda.set_device(device)  # kernels and memory figures go by the current device
    if config.sampler.backend == "vllm":
        require_vllm()
    lora = config.lora
    targets = None if lora is None or lora.target_modules is None else tuple(lora.target_modules)
    seed = derive(config.seed, "lora", name)
    options = ModelOptions(
        dtype=config.dtype,
        device=device,
        lora=None if lora is None else LoraOptions(lora.r, lora.lora_alpha, targets, seed),
        freeze_vision=config.optim.freeze_vision,
        gradient_checkpointing=config.optim.gradient_checkpointing,
        backend=config.backend,
        revision=config.revision,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    learning = LearnerOptions(
        learning_rate=config.optim.learning_rate,
        weight_decay=config.optim.weight_decay,
        max_grad_norm=config.optim.max_grad_norm,
        warmup_steps=config.optim.warmup_steps,
        token_budget=config.optim.max_tokens_per_microbatch,
        loss=LossOptions(
            config.grpo.epsilon,
            config.grpo.epsilon_high,
            config.grpo.beta,
            config.grpo.beta_anchor,
            config.grpo.importance_cap,
        ),
    )
    policy = Policy.load(
        name,
        model_folder(config.model, config.revision),
        open_image=opener,
        options=options,
        learning=learning if trainable else None,
        sampling=LocalSamplerOptions(kv_cache_gib=config.sampler.kv_cache_gib),
    )
    if config.sampler.backend == "vllm":
        policy.sampler = (engines or Engines(config.sampler)).sampler(policy)
    return policy


def set_threads(config: EvolveConfig) -> None:
    """Fixes torch's CPU threads when the configuration does; results are reproducible for one setting."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
