"""A policy's sampler that draws from a vLLM engine.

Prompts are encoded by the learner's own processor and handed over as token ids and pixels. Behaviour log-probs are
those of the distribution sampled from. Sample k of a request has an engine seed of its own, derived from the request's
seed and k: the same request gives the same sample, whatever it is batched with, up to the rounding of matrix products.
The tokens are not those that the local sampler draws from the same seed: the two turn random bits into tokens in
different ways.

Three kinds of roles draw from an engine: a trained one with full weights has the engine for itself and hands all
weights over; one with LoRA serves its adapter under its name, beside others; a frozen one draws from the engine's
own weights, which are then the base model's.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from selfsight.errors import SelfsightError
from selfsight.policy.records import Rollout, SampleRequest, Sampling
from selfsight.policy.samplers.vllm.adapters import check_adapters, write_adapter
from selfsight.policy.samplers.vllm.agreement import Agreement
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, Engine
from selfsight.policy.samplers.vllm.inputs import check_family
from selfsight.policy.samplers.vllm.joining import draw_all
from selfsight.policy.samplers.vllm.seeds import engine_seed
from selfsight.policy.vlm import Vlm
from selfsight.policy.weights import plain_state

_LOWEST_TEMPERATURE = 0.01  # vLLM silently raises what lies below


class VllmSampler:
    """Draws for the role `name` from `engine`, whose weights must be those that `vlm` was loaded from."""

    def __init__(self, name: str, vlm: Vlm, engine: Engine) -> None:
        check_family(vlm.model.config.model_type)
        self.name, self.vlm, self.engine = name, vlm, engine
        self.weight_version = 0
        self._agreement = Agreement(vlm)
        self._has_adapter = vlm.options.lora is not None
        self._trained = any(parameter.requires_grad for parameter in vlm.model.parameters())
        if self._has_adapter and self._trained:
            check_adapters(vlm)
            self.publish(0)

    @property
    def _adapter(self) -> str | None:
        return self.name if self._has_adapter and self._trained else None

    def publish(self, weight_version: int) -> None:
        if self._adapter is not None:
            with tempfile.TemporaryDirectory(prefix="selfsight-adapter-") as folder:
                write_adapter(self.vlm, Path(folder))
                self.engine.load_adapter(self._adapter, Path(folder))
        elif self._trained:
            self.engine.load_weights(plain_state(self.vlm.model))
        self.engine.reset_caches()
        self.weight_version = weight_version

    @contextmanager
    def sharing_images(self) -> Iterator[None]:
        """The engine keeps prefixes and image features between calls anyway, until new weights are published."""
        yield

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        """The rollouts of each request by its id, in sample order."""
        if len({request.id for request in requests}) != len(requests):
            raise ValueError("two sample requests share an id; rollouts are joined by id")
        if not sampling.greedy and sampling.temperature < _LOWEST_TEMPERATURE:
            raise SelfsightError(
                f"vLLM samples at no temperature below {_LOWEST_TEMPERATURE}, asked was {sampling.temperature}.",
                hint=f"Set grpo.temperature to {_LOWEST_TEMPERATURE} or more.",
            )
        asks = [ask for request in requests for ask in self._asks(request, sampling)]
        found = draw_all(asks, partial(self.engine.draw, sampling=sampling, adapter=self._adapter))
        rollouts = {
            request.id: [self._rollout(request, k, found[request.id, k], sampling) for k in range(request.n)]
            for request in requests
        }
        self._agreement.check((request.prompt, rollouts[request.id][0]) for request in requests if request.n)
        return rollouts

    def close(self) -> None:
        """Ends the engine, for all who draw from it."""
        self.engine.close()

    def _asks(self, request: SampleRequest, sampling: Sampling) -> list[Ask]:
        if request.n == 0:
            return []
        prompt = self.vlm.encoder.encode(request.prompt)
        self.vlm.check_length(prompt, sampling.max_completion_length)
        longest = self.engine.options.max_model_len
        if len(prompt) + sampling.max_completion_length > longest:
            raise SelfsightError(
                f"A prompt of {len(prompt)} tokens and {sampling.max_completion_length} new ones pass the engine's "
                f"limit of {longest}.",
                hint="Raise sampler.max_model_len, or lower max_completion_length or the image size.",
            )
        if len(prompt.images) > 1:
            raise SelfsightError(
                f"The vLLM sampler takes one image in a prompt, and request {request.id!r} has {len(prompt.images)}.",
                hint="Set sampler.backend to local.",
            )
        image = self.vlm.encoder.image(prompt.images[0]) if prompt.images else None
        return [Ask((request.id, k), prompt, image, engine_seed(request.seed, k)) for k in range(request.n)]

    def _rollout(self, request: SampleRequest, index: int, drawn: Drawn, sampling: Sampling) -> Rollout:
        token_ids = np.asarray(drawn.token_ids, dtype=np.int64)
        finished = len(token_ids) > 0 and int(token_ids[-1]) in self.vlm.eos_ids
        return Rollout(
            request_id=request.id,
            index=index,
            token_ids=token_ids,
            logprobs=np.asarray(drawn.logprobs, dtype=np.float32),
            text=self.vlm.encoder.decode(token_ids[:-1] if finished else token_ids),
            finished=finished,
            weight_version=self.weight_version,
            temperature=0.0 if sampling.greedy else sampling.temperature,
        )
