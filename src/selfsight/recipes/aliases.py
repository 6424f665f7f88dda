"""What the keys of other trainers are called here: TRL and Hugging Face, verl and EasyR1, ms-swift.

A key that somebody knows from elsewhere is told by its own sentence: the key with the same meaning, or why there is
none. Nothing is translated silently, because few of these keys mean exactly the same in two trainers.

Left out: keys that are equal here but for their group (`learning_rate` inside `optim`, `beta` inside `grpo`), which
the search for a near key finds by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_STEPS: Final = "the steps of a round are visplay.questioner_steps and visplay.reasoner_steps, those of Vision-Zero "
_ROUNDS: Final = "there are no epochs: set visplay.rounds, with " + _STEPS + "vision_zero.iterations"
_STEP_SIZE: Final = (
    "an optimiser step sees visplay.images_per_step images (questioner) or visplay.questions_per_step questions "
    "(reasoner), or vision_zero.games_per_step games"
)
_MEMORY: Final = "; how much memory it takes is optim.max_tokens_per_microbatch, which accumulates gradients by itself"
_ONE_DEVICE: Final = "a run uses one device and starts no other processes; lora.r=16 needs less memory"
_FIXED: Final = "rewards are not pluggable: they are those of the method (docs/visplay.md, docs/vision_zero.md)"
_SAMPLING: Final = (
    "completions are drawn from the whole distribution, because the loss compares log-probs of that distribution; "
    "only grpo.temperature can be set"
)
_CONSTANT: Final = "the learning rate is constant after optim.warmup_steps; there is no schedule"
_ADAMW: Final = "the optimiser is AdamW with fixed betas; optim.learning_rate and optim.weight_decay can be set"
_RESUME: Final = "`selfsight resume runs/NAME` continues a run; a new run cannot start from a checkpoint"
_ANSWERS: Final = (
    "visplay.max_answer_length bounds answers and visplay.max_question_length questions; in games "
    "vision_zero.max_clue_length and vision_zero.max_vote_length"
)
_PROMPT: Final = "prompts are never cut; the size of images decides their length: max_pixels=..."
_CODE: Final = "trust_remote_code"  # a name of its own: the checks of the sources refuse it as a key of options
_VLLM_MEMORY: Final = "the cache has a size in GiB: sampler.kv_cache_gib"


@dataclass(frozen=True)
class Alias:
    """What a foreign key is here.

    `write` is what to type; `{value}` in it stands for the value that was given. Empty when nothing is equal, and then
    `says` alone explains; otherwise `says` is added behind it.
    """

    write: str = ""
    says: str = ""

    def hint(self, value: str) -> str:
        """One sentence, with the exact text to type where there is one."""
        written = f"write {self.write.format(value=value)}" if self.write else ""
        return "; ".join(part for part in (written, self.says) if part)


def _same(key: str, says: str = "") -> Alias:
    return Alias(f"{key}={{value}}", says)


# Looked up by the whole key first, then by its last part.
ALIASES: Final[dict[str, Alias]] = {
    # --- optimiser
    "lr": _same("optim.learning_rate"),
    "grad_clip": _same("optim.max_grad_norm"),
    "lr_warmup_steps": _same("optim.warmup_steps"),
    "warmup_ratio": Alias(says="the warm-up is counted in steps of every phase: optim.warmup_steps"),
    "lr_warmup_ratio": Alias(says="the warm-up is counted in steps of every phase: optim.warmup_steps"),
    "lr_scheduler_type": Alias(says=_CONSTANT),
    "lr_scheduler": Alias(says=_CONSTANT),
    "warmup_style": Alias(says=_CONSTANT),
    "optimizer": Alias(says=_ADAMW),
    "adam_beta1": Alias(says=_ADAMW),
    "adam_beta2": Alias(says=_ADAMW),
    "enable_gradient_checkpointing": _same("optim.gradient_checkpointing"),
    "freeze_vit": _same("optim.freeze_vision"),
    "freeze_vision_tower": _same("optim.freeze_vision"),
    # --- how much is trained on
    "batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "train_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "rollout_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "generation_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "ppo_mini_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "mini_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "global_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "per_device_train_batch_size": Alias(says=_STEP_SIZE + _MEMORY),
    "ppo_micro_batch_size_per_gpu": Alias(says="memory is bounded by optim.max_tokens_per_microbatch tokens"),
    "micro_batch_size": Alias(says="memory is bounded by optim.max_tokens_per_microbatch tokens"),
    "gradient_accumulation_steps": Alias(
        says="gradients are accumulated by tokens, not by steps: optim.max_tokens_per_microbatch"
    ),
    "per_device_eval_batch_size": _same("evaluation.batch_size"),
    "eval_batch_size": _same("evaluation.batch_size"),
    "epochs": Alias(says=_ROUNDS),
    "num_train_epochs": Alias(says=_ROUNDS),
    "num_epochs": Alias(says=_ROUNDS),
    "total_epochs": Alias(says=_ROUNDS),
    "max_steps": Alias(says=_STEPS + "vision_zero.iterations"),
    "total_training_steps": Alias(says=_STEPS + "vision_zero.iterations"),
    "steps": Alias(says=_STEPS + "vision_zero.iterations"),
    "num_rounds": _same("visplay.rounds"),
    "max_samples": Alias(says="the pool of a round takes visplay.pool_images images"),
    # --- policy optimisation
    "num_rollouts": _same("grpo.num_generations", "in Vision-Zero vision_zero.votes"),
    "n": _same("grpo.num_generations", "in Vision-Zero vision_zero.votes"),
    "group_size": _same("grpo.num_generations", "in Vision-Zero vision_zero.votes"),
    "ppo_epochs": _same("grpo.num_iterations"),
    "mu": _same("grpo.num_iterations"),
    "kl_coef": _same("grpo.beta"),
    "kl_loss_coef": _same("grpo.beta"),
    "use_kl_loss": Alias("grpo.beta=0", "that trains without the KL, any other value of grpo.beta is its weight"),
    "kl_penalty": Alias(says="the KL is always the estimator k3; its weights are grpo.beta and grpo.beta_anchor"),
    "kl_loss_type": Alias(says="the KL is always the estimator k3; its weights are grpo.beta and grpo.beta_anchor"),
    "clip_ratio": _same("grpo.epsilon"),
    "clip_ratio_low": _same("grpo.epsilon"),
    "cliprange": _same("grpo.epsilon"),
    "clip_ratio_high": _same("grpo.epsilon_high"),
    "loss_type": Alias(says="there is one loss, the clipped one of GRPO"),
    "scale_rewards": Alias(says="advantages are those of the method's paper"),
    "adv_estimator": Alias(says="the algorithm is `method`: visplay, vision-zero or mixed"),
    "reward": Alias(says=_FIXED),
    "rewards": Alias(says=_FIXED),
    "reward_fn": Alias(says=_FIXED),
    "reward_func": Alias(says=_FIXED),
    "reward_funcs": Alias(says=_FIXED),
    "reward_function": Alias(says=_FIXED),
    "reward_weights": Alias(says=_FIXED),
    "reward_model": Alias(says=_FIXED),
    "reward_manager": Alias(says=_FIXED),
    # --- sampling
    "top_p": Alias(says=_SAMPLING),
    "top_k": Alias(says=_SAMPLING),
    "min_p": Alias(says=_SAMPLING),
    "repetition_penalty": Alias(says=_SAMPLING),
    "max_completion_length": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "max_new_tokens": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "max_tokens": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "max_response_length": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "max_length": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "response_length": Alias("visplay.max_answer_length={value}", _ANSWERS),
    "max_prompt_length": Alias(says=_PROMPT),
    "prompt_length": Alias(says=_PROMPT),
    "use_vllm": Alias("sampler.backend=vllm", "see docs/vllm.md"),
    "vllm": Alias("sampler.backend=vllm", "see docs/vllm.md"),
    "vllm_mode": Alias(says="sampler.mode is in_process (TRL's colocate) or server"),
    "rollout": Alias(says="completions are drawn by sampler.backend: local or vllm"),
    "gpu_memory_utilization": Alias(says=_VLLM_MEMORY),
    "vllm_gpu_memory_utilization": Alias(says=_VLLM_MEMORY),
    "vllm_max_model_len": _same("sampler.max_model_len"),
    "tensor_model_parallel_size": Alias(says=_ONE_DEVICE),
    "tensor_parallel_size": Alias(says=_ONE_DEVICE),
    "vllm_tensor_parallel_size": Alias(says=_ONE_DEVICE),
    # --- model and data
    "model_name_or_path": _same("model"),
    "model_name": _same("model"),
    "model_path": _same("model"),
    "model_id": _same("model"),
    "pretrained": _same("model"),
    "base_model": _same("model"),
    "model_revision": _same("revision"),
    "torch_dtype": _same("dtype"),
    "precision": _same("dtype"),
    "bf16": Alias("dtype=bfloat16"),
    "fp16": Alias("dtype=bfloat16", "float16 overflows in training and is not offered"),
    "attn_implementation": Alias(says="the attention is chosen by the model; `backend` says how groups are computed"),
    _CODE: Alias(says="code that comes with a model is never run"),
    "load_in_4bit": Alias("lora.r=16", "quantised weights cannot be trained here"),
    "load_in_8bit": Alias("lora.r=16", "quantised weights cannot be trained here"),
    "quant_method": Alias("lora.r=16", "quantised weights cannot be trained here"),
    "use_peft": Alias("lora.r=16"),
    "train_type": Alias(says="every weight is trained, unless lora.r is set: lora.r=16"),
    "lora_rank": _same("lora.r"),
    "lora_r": _same("lora.r"),
    "rank": _same("lora.r"),
    "lora_target_modules": _same("lora.target_modules"),
    "lora_dropout": Alias(says="there is no dropout: the learner's log-probs must equal the sampler's"),
    "dataset": _same("images"),
    "dataset_name": _same("images"),
    "dataset_path": _same("images"),
    "data": _same("images"),
    "data_dir": _same("images"),
    "data_path": _same("images"),
    "image_folder": _same("images"),
    "image_dir": _same("images"),
    "train_files": _same("images"),
    "val_files": Alias(says="a run is measured on drawn pictures with known answers: the group `evaluation`"),
    "eval_dataset": Alias(says="a run is measured on drawn pictures with known answers: the group `evaluation`"),
    "image_size": Alias(says="max_pixels bounds the area of an image, width times height"),
    "system_prompt": Alias(says="the words are those of visplay.prompt_pack: auto, compact or full"),
    "prompt_template": Alias(says="the words are those of visplay.prompt_pack: auto, compact or full"),
    # --- machine
    "device_map": Alias(says=_ONE_DEVICE),
    "gpus": Alias(says=_ONE_DEVICE),
    "n_gpus_per_node": Alias(says=_ONE_DEVICE),
    "nnodes": Alias(says=_ONE_DEVICE),
    "nproc_per_node": Alias(says=_ONE_DEVICE),
    "deepspeed": Alias(says=_ONE_DEVICE),
    "fsdp": Alias(says=_ONE_DEVICE),
    "fsdp_config": Alias(says=_ONE_DEVICE),
    "num_workers": Alias(says="images are read by the run itself; `threads` sets torch's CPU threads"),
    "dataloader_num_workers": Alias(says="images are read by the run itself; `threads` sets torch's CPU threads"),
    "num_threads": _same("threads"),
    # --- what is written
    "wandb": Alias("report_to=wandb", "see docs/trackers.md"),
    "use_wandb": Alias("report_to=wandb", "see docs/trackers.md"),
    "tensorboard": Alias("report_to=tensorboard", "see docs/trackers.md"),
    "logger": Alias(says="figures go where report_to says: jsonl, tensorboard, wandb, trackio (docs/trackers.md)"),
    "logging_dir": Alias("report_to=tensorboard", "its files are written into the run's folder"),
    "logging_steps": Alias(says="every step is a line of metrics.jsonl"),
    "log_completions": Alias(says="every completion is kept; `selfsight report runs/NAME` shows them"),
    "project_name": Alias(says="a run is named by run_name; it is the folder output_dir/run_name"),
    "experiment_name": _same("run_name"),
    "name": _same("run_name"),
    "exp_name": _same("run_name"),
    "output": _same("output_dir"),
    "out_dir": _same("output_dir"),
    "save_dir": _same("output_dir"),
    "default_local_dir": _same("output_dir"),
    "save_freq": _same("save_steps"),
    "save_strategy": Alias(says="checkpoints are written every save_steps steps and after every phase"),
    "eval_steps": Alias(says="VisPlay measures after every round; Vision-Zero every vision_zero.eval_steps steps"),
    "test_freq": Alias(says="VisPlay measures after every round; Vision-Zero every vision_zero.eval_steps steps"),
    "eval_strategy": Alias(says="VisPlay measures after every round; Vision-Zero every vision_zero.eval_steps steps"),
    "push_to_hub": Alias(says="nothing is uploaded; `selfsight export runs/NAME --out DIR` writes a folder to upload"),
    "hub_model_id": Alias(says="nothing is uploaded; `selfsight export runs/NAME --out DIR` writes a folder to upload"),
    "resume": Alias(says=_RESUME),
    "resume_from_checkpoint": Alias(says=_RESUME),
    "resume_mode": Alias(says=_RESUME),
    "overwrite_output_dir": Alias(says="a run is never written over another: choose another run_name"),
    "random_seed": _same("seed"),
    "data_seed": _same("seed"),
    "algorithm": _same("method"),
    "algo": _same("method"),
    "config": Alias(says="a file of settings is given by --recipe FILE.yaml"),
    "config_file": Alias(says="a file of settings is given by --recipe FILE.yaml"),
}  # fmt: skip

# Whole keys whose last part alone would lead astray.
DOTTED: Final[dict[str, Alias]] = {
    "actor_rollout_ref.model.path": _same("model"),
    "worker.actor.model.model_path": _same("model"),
    "actor_rollout_ref.rollout.name": Alias("sampler.backend=vllm", "see docs/vllm.md"),
    "worker.rollout.name": Alias("sampler.backend=vllm", "see docs/vllm.md"),
    "actor_rollout_ref.actor.strategy": Alias(says=_ONE_DEVICE),
    "worker.actor.strategy": Alias(says=_ONE_DEVICE),
    "visplay.reward": Alias(says=_FIXED),
    "data.image_key": Alias(says="a manifest names its images in the column `image`"),
    "data.prompt_key": Alias(says="the model asks its own questions: a manifest has images alone"),
    "data.answer_key": Alias(says="the model learns from its own votes: labels are not read"),
}

# Groups of another trainer's configuration: what is said where no key of theirs is known.
FOREIGN_GROUPS: Final[dict[str, str]] = {
    "actor_rollout_ref": "a group of verl",
    "worker": "a group of EasyR1",
    "trainer": "a group of verl and EasyR1",
    "data": "a group of verl and EasyR1",
    "critic": "a group of verl; there is no critic here",
    "reward_model": "a group of verl; rewards are not pluggable here",
    "custom_reward_function": "a group of verl; rewards are not pluggable here",
    "algorithm": "a group of verl and EasyR1",
}


def alias_hint(key: str, value: str = "...") -> str | None:
    """The sentence for a key of another trainer; None for a key that no one knows.

    Args:
        key: as it was typed, dotted or not; dashes count as underscores.
        value: the value as it was typed.

    Example:
        >>> alias_hint("lr", "1e-5")
        'write optim.learning_rate=1e-5'
    """
    known = key.replace("-", "_").lower()
    found = DOTTED.get(known) or ALIASES.get(known)
    if found is None and "." in known:
        found = ALIASES.get(known.rpartition(".")[2])
    if found is not None:
        return found.hint(value)
    group = known.partition(".")[0]
    if "." in known and group in FOREIGN_GROUPS:
        return f"{group} is {FOREIGN_GROUPS[group]}; `selfsight recipes --show NAME` lists every key"
    return None


def written_keys() -> Iterator[tuple[str, str]]:
    """Every alias with each text of KEY=VALUE that it says to write; a test holds them to the settings that exist."""
    for name, alias in [*ALIASES.items(), *DOTTED.items()]:
        if alias.write:
            yield name, alias.write
