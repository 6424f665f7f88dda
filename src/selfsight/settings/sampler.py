"""Where completions are drawn: in torch, from the learner's own module, or by a vLLM engine."""

from typing import Literal

from pydantic import Field

from selfsight.settings import Count, Settings


class SamplerSettings(Settings):
    """The sampler. All but `backend` and `kv_cache_gib` is for vLLM (see docs/vllm.md); the same run needs the same
    backend.
    """

    backend: Literal["local", "vllm"] = Field(
        default="local", description="local: torch, nothing to install; vllm: the extra `vllm`, on a GPU"
    )
    mode: Literal["in_process", "server"] = Field(
        default="in_process",
        description="in_process: the engine beside the learner; server: `vllm serve` on 127.0.0.1, started by the run",
    )
    kv_cache_gib: float = Field(
        default=4.0, gt=0.0,
        description="memory of keys and values, besides the weights: of an engine's cache, or on a GPU of the local "
        "sampler's waves (on a CPU these are 65,536 tokens)",
    )  # fmt: skip
    max_model_len: Count = Field(default=8192, description="tokens of a prompt and its completion at most")
    max_num_seqs: Count = Field(default=256, description="samples that an engine computes at once")
    enforce_eager: bool = Field(
        default=False, description="start without compiling or capturing graphs: sooner ready, slower afterwards"
    )
