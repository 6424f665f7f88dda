"""vLLM's engine in this process, beside the learner. Import this module only when it was asked for.

Weights go from the learner's tensors straight into the engine's. vLLM reads its settings from the environment when
it starts; they are set for that moment only. On a CPU it also replaces `torch.set_num_threads`, which is put back.
Several engines may run in one process, but they share torch's process groups, which the first to be shut down takes
down with it. A closed engine is therefore put aside until the last one is closed, or nobody holds it any more.
"""

import logging
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.policy.records import Sampling
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, EngineFailure, EngineOptions, Key
from selfsight.policy.samplers.vllm.inputs import engine_input, image_item
from selfsight.policy.samplers.vllm.options import ENVIRONMENT, engine_settings, require_vllm

logger = logging.getLogger(__name__)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    set_num_threads = torch.set_num_threads
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads = set_num_threads


class InProcessEngine:
    """See the module."""

    running: ClassVar[int] = 0
    closed: ClassVar[list[Any]] = []

    def __init__(self, options: EngineOptions) -> None:
        require_vllm()
        self.options = options
        with _environment(ENVIRONMENT | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}):
            from vllm import EngineArgs
            from vllm.v1.engine.llm_engine import LLMEngine

            try:
                with torch.random.fork_rng():
                    self._engine: Any = LLMEngine.from_engine_args(EngineArgs(**engine_settings(options)))
            except (ValueError, RuntimeError, AssertionError) as error:
                raise SelfsightError(
                    f"Model {options.folder}: vLLM cannot start ({type(error).__name__}: {error}).",
                    hint="Lower sampler.kv_cache_gib or sampler.max_model_len, or set sampler.backend to local.",
                ) from error
        InProcessEngine.running += 1
        self._finish = weakref.finalize(self, _put_aside, self._engine)  # holds it, so that it is not collected before
        self._asked = 0
        self._adapters: dict[str, Any] = {}

    def draw(self, asks: Sequence[Ask], sampling: Sampling, adapter: str | None) -> Iterator[tuple[Key, Drawn]]:
        from vllm.exceptions import VLLMServerError

        waiting: dict[str, Key] = {}
        items: dict[str, Any] = {}
        served = None if adapter is None else self._adapters[adapter]
        try:
            for ask in asks:
                name = str(self._asked)
                self._asked += 1
                waiting[name] = ask.key
                for ref in ask.prompt.images:
                    if ref.id not in items and ask.image is not None:
                        items[ref.id] = image_item(ask.image)
                given = engine_input(ask.prompt, ask.image, *(items[ref.id] for ref in ask.prompt.images))
                self._engine.add_request(name, given, self._params(ask, sampling), lora_request=served)
            while self._engine.has_unfinished_requests():
                for output in self._engine.step():
                    one = output.outputs[0]
                    if output.finished and one.finish_reason in ("stop", "length"):
                        yield waiting.pop(output.request_id), _drawn(one)
        except (RuntimeError, VLLMServerError) as error:
            raise EngineFailure(f"{type(error).__name__}: {error}") from error
        finally:
            self._engine.abort_request(list(waiting))

    def _params(self, ask: Ask, sampling: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0.0 if sampling.greedy else sampling.temperature,
            max_tokens=sampling.max_completion_length,
            seed=ask.seed,
            stop_token_ids=list(self.options.eos_ids),
            logprobs=0,  # that of the sampled token and no other
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})

    def load_adapter(self, name: str, folder: Path) -> None:
        from vllm.lora.request import LoRARequest

        number = self._adapters[name].lora_int_id if name in self._adapters else len(self._adapters) + 1
        self._engine.add_lora(LoRARequest(name, number, str(folder), load_inplace=True))
        self._adapters[name] = LoRARequest(name, number, str(folder))

    def reset_caches(self) -> None:
        self._engine.reset_mm_cache()
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise SelfsightError(
                "vLLM did not drop its cached prefixes: some are still in use.",
                hint="Publish only when no call of `sample` is running.",
            )

    def close(self) -> None:
        self._finish()
        self._engine = None


def _put_aside(engine: Any) -> None:
    InProcessEngine.closed.append(engine)
    InProcessEngine.running -= 1
    if InProcessEngine.running == 0:
        for each in InProcessEngine.closed:
            each.engine_core.shutdown()
        InProcessEngine.closed.clear()


def _drawn(output: Any) -> Drawn:
    ids = list(output.token_ids)
    return Drawn(ids, [step[token].logprob for token, step in zip(ids, output.logprobs, strict=True)])
