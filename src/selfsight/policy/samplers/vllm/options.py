"""An engine's settings as vLLM names them, for both modes, and vLLM itself, which is an extra.

`processed_logprobs` are those of the distribution that was sampled from: banned tokens out, temperature in. The
model's generation_config.json is not read (`generation_config="vllm"`): its top_p, top_k and penalties would change
that distribution behind the learner's back.

Left out: several GPUs for one engine. Weights are handed over inside this process or through a folder, which serves
one GPU; tensor parallelism needs vLLM's weight transfer engines and machines to test them on.
"""

import importlib.util
import json
from typing import Any, get_args

from selfsight.errors import SelfsightError
from selfsight.install import extra_hint
from selfsight.policy.samplers.vllm.engine import EngineOptions

BANNED_KEY = "selfsight_banned_ids"  # in vLLM's additional_config

_BATCHED_TOKENS = 8192  # computed at once, where prompts may be no longer than that

# No report of usage is sent, nothing listens beyond this machine, and the threads are left as they are.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def require_vllm() -> None:
    """SelfsightError with the command that installs vLLM where it is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise SelfsightError(
            "sampler.backend is vllm, but vLLM is not installed.",
            hint=f"{extra_hint('vllm')} (needs a CUDA GPU), or set sampler.backend to local.",
        )


def engine_settings(options: EngineOptions) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs."""
    settings: dict[str, Any] = {
        "model": str(options.folder),
        "dtype": options.dtype,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        # A prompt is never computed in pieces: on a CPU that fails for requests with a seed (vLLM 0.32 takes back what
        # a piece drew from the request's generator, which only CUDA generators can).
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(options.max_model_len, _BATCHED_TOKENS),
        "enforce_eager": options.enforce_eager,
        "kv_cache_memory_bytes": int(options.kv_cache_gib * 2**30),
        # Only checked against what is free when the cache's size is given; the learner already holds its part.
        "gpu_memory_utilization": 0.05,
        "enable_prefix_caching": True,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_device_do_normalize": False,  # our pixels are normalised; vLLM would do it again, inside the model
        "mm_processor_cache_gb": 0,  # pixels come from our processor, which keeps them
        "logprobs_mode": "processed_logprobs",
        "logits_processors": ["selfsight.policy.samplers.vllm.banned:BannedTokens"],
        "additional_config": {BANNED_KEY: list(options.banned_ids)},
        "seed": 0,  # of nothing that is drawn: every sample has its own
    }
    if options.image_size is not None:
        settings["mm_processor_kwargs"] = {"size": dict(options.image_size)}
    if options.adapters:
        settings |= {
            "enable_lora": True,
            "max_lora_rank": served_rank(options.lora_rank),
            "max_loras": options.adapters,
            "max_cpu_loras": 2 * options.adapters,  # a server loads the next version before it lets the last one go
        }
    return settings


def served_rank(rank: int) -> int:
    """The smallest rank of adapters that vLLM has room for which holds this one."""
    from vllm.config.lora import MaxLoRARanks

    fitting = [size for size in sorted(get_args(MaxLoRARanks)) if size >= rank]
    if not fitting:
        raise SelfsightError(
            f"vLLM serves no adapters of rank {rank}.", hint=f"Set lora.r to {max(get_args(MaxLoRARanks))} or less."
        )
    return int(fitting[0])


def command_line(settings: dict[str, Any]) -> list[str]:
    """The same settings as arguments of `vllm serve`; the model comes first."""
    words = [str(settings["model"])]
    for name, value in settings.items():
        if name == "model":
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif name == "logits_processors":
            words += [f"--{flag}", *value]
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words
