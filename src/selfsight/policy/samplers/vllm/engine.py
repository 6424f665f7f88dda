"""What a sampler asks of a vLLM engine, in this process or another. No vLLM is imported here.

An engine knows nothing of requests, rollouts or retries: it gets single samples to draw, each under a key, and
yields what it has drawn in any order. `EngineFailure` means that asking again may help; everything else does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from selfsight.policy.processor import EncodedImage, EncodedPrompt
from selfsight.policy.records import Sampling

Key = tuple[str, int]  # request id, index of the sample


class EngineFailure(Exception):
    """The engine broke off, or could not be reached; what it had yielded before still counts."""


@dataclass(frozen=True, eq=False)
class Ask:
    """One sample to draw. Asks of one request share `prompt` and `image`, and their seeds follow one another."""

    key: Key
    prompt: EncodedPrompt
    image: EncodedImage | None
    seed: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """Token ids of one sample, end of sequence included, and the log-prob of each."""

    token_ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is started.

    `kv_cache_gib` is all that the engine's cache may take, on a GPU and on a CPU; `lora_rank` and `adapters` (how
    many are served at once) are 0 for an engine without LoRA.
    """

    folder: Path
    dtype: str
    eos_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]
    max_model_len: int
    max_num_seqs: int = 256
    kv_cache_gib: float = 4.0
    enforce_eager: bool = False
    lora_rank: int = 0
    adapters: int = 0
    image_size: Mapping[str, int] | None = None  # of the image processor, where images come in any size


class Engine(Protocol):
    """See the module. `adapter` is the name of one that was loaded; None is the engine's own weights."""

    options: EngineOptions

    def draw(self, asks: Sequence[Ask], sampling: Sampling, adapter: str | None) -> Iterator[tuple[Key, Drawn]]:
        """Yields (key, drawn) as samples end, in any order. Raises EngineFailure."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over all weights, under the names of the model's own `state_dict`."""

    def load_adapter(self, name: str, folder: Path) -> None:
        """Serves the adapter in `folder` under `name`, in place of what had that name."""

    def reset_caches(self) -> None:
        """Drops cached prefixes, image features and image inputs."""

    def close(self) -> None:
        """Ends the engine; closing twice is harmless."""
