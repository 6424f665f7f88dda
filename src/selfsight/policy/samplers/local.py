"""Sampling in torch from the learner's own module.

Prompts are grouped into waves by a token budget. A wave computes each prompt once, then draws one token per
running sample and step; finished samples are dropped.

Sample k of a request draws its uniforms from a Philox stream keyed by (request seed, k), one per token, and
turns them into tokens by the inverse of the cumulative distribution. So a sample depends on the weights, its
prompt, its seed and its index, and not on what else is in the batch, its order or its size (up to the
rounding of matrix products, which can move a token only when its uniform falls within about 1e-6 of a
boundary).

Left out: refilling slots while a wave runs (on the starter it could save a seventh, docs/evidence.md, less the keys of
older samples that newcomers would carry along; vLLM does it better), and top-p or top-k (their log-probs would need
correcting in the learner).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.features import ImageFeatures, image_inputs
from selfsight.policy.prefix import Decode, Prefill, prepared_mask
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.records import Rollout, SampleRequest, Sampling
from selfsight.policy.vlm import Vlm
from selfsight.policy.vocabulary import masked_logits

_ImageInputs = Callable[[Sequence[ImageRef]], dict[str, Any]]
_COMPACT_BELOW = 0.8  # running rows are copied together once fewer than this share is still running


@dataclass(frozen=True)
class LocalSamplerOptions:
    """`token_budget` bounds prompt tokens plus new tokens of one wave, were every sample of the greatest length."""

    token_budget: int = 65536


@dataclass(frozen=True, eq=False)
class _Wave:
    """Token ids and log-probs (R, T) of a wave's samples; a row ends after `lengths` (R,) tokens."""

    tokens: np.ndarray
    logprobs: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray


class LocalSampler:
    """Draws from `vlm`, whose weights it shares; between calls it keeps nothing but what `sharing_images` says."""

    def __init__(self, vlm: Vlm, options: LocalSamplerOptions | None = None) -> None:
        self.vlm = vlm
        self.options = options if options is not None else LocalSamplerOptions()
        self.weight_version = 0
        self._features: ImageFeatures | None = None
        self._eos = torch.zeros_like(vlm.banned)
        self._eos[list(vlm.eos_ids)] = True

    def publish(self, weight_version: int) -> None:
        self.weight_version = weight_version
        if self._features is not None:
            self._features = ImageFeatures(self.vlm)

    @contextmanager
    def sharing_images(self) -> Iterator[None]:
        """Keeps image features from call to call until the end of the block.

        Not longer, although the weights may stay: features depend, in their last bits, on what else was encoded with
        them, and a resumed run must draw what an undisturbed one would have drawn.
        """
        self._features = ImageFeatures(self.vlm)
        try:
            yield
        finally:
            self._features = None

    def close(self) -> None:
        """Nothing was started."""

    def _image_inputs(self, images: Sequence[ImageRef]) -> dict[str, Any]:
        return image_inputs(self.vlm, images) if self._features is None else self._features.inputs(images)

    @torch.no_grad()
    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        """The rollouts of each request by its id, in sample order."""
        if len({request.id for request in requests}) != len(requests):
            raise ValueError("two sample requests share an id; rollouts are joined by id")
        out: dict[str, list[Rollout]] = {request.id: [] for request in requests}
        for wave in self._waves([r for r in requests if r.n > 0], sampling.max_completion_length):
            self._sample_wave(wave, sampling, out)
        return out

    def _waves(self, requests: list[SampleRequest], new: int) -> list[list[tuple[SampleRequest, EncodedPrompt]]]:
        """Requests on one image stay together, so that it is encoded once; a large one goes alone."""
        seen: dict[tuple[str, ...], int] = {}
        order = {
            request.id: seen.setdefault(tuple(image.id for image in request.prompt.images), len(seen))
            for request in requests
        }
        waves: list[list[tuple[SampleRequest, EncodedPrompt]]] = []
        used = 0
        for request in sorted(requests, key=lambda request: order[request.id]):
            prompt = self.vlm.encoder.encode(request.prompt)
            self.vlm.check_length(prompt, new)
            size = len(prompt) + request.n * new
            alone = self.vlm.backend == "padded"
            if waves and used + size <= self.options.token_budget and not alone:
                waves[-1].append((request, prompt))
                used += size
            else:
                waves.append([(request, prompt)])
                used = size
        return waves

    def _sample_wave(
        self,
        wave: list[tuple[SampleRequest, EncodedPrompt]],
        sampling: Sampling,
        out: dict[str, list[Rollout]],
    ) -> None:
        prompts = [prompt for _, prompt in wave]
        counts = [request.n for request, _ in wave]
        streams = [(request, k) for request, _ in wave for k in range(request.n)]
        length = sampling.max_completion_length
        uniforms = np.zeros((len(streams), length))
        if not sampling.greedy:
            for row, (request, k) in enumerate(streams):
                uniforms[row] = sample_stream(request.seed, k).random(length)
        steps: _SharedSteps | _CachedSteps
        with self.vlm.compute():
            if self.vlm.backend == "shared":
                steps = _SharedSteps(self.vlm, prompts, counts, length, self._image_inputs)
            else:
                steps = _CachedSteps(self.vlm, prompts[0], counts[0], self._image_inputs)
            drawn = self._draw(steps, uniforms, sampling)
        for row, (request, k) in enumerate(streams):
            size = int(drawn.lengths[row])
            token_ids = drawn.tokens[row, :size].copy()
            finished = bool(drawn.finished[row])
            out[request.id].append(
                Rollout(
                    request_id=request.id,
                    index=k,
                    token_ids=token_ids,
                    logprobs=drawn.logprobs[row, :size].copy(),
                    text=self.vlm.encoder.decode(token_ids[:-1] if finished else token_ids),
                    finished=finished,
                    weight_version=self.weight_version,
                    temperature=0.0 if sampling.greedy else sampling.temperature,
                )
            )

    def _draw(self, steps: "_SharedSteps | _CachedSteps", uniforms: np.ndarray, sampling: Sampling) -> _Wave:
        rows, length = uniforms.shape
        device = self.vlm.device
        uniform = torch.from_numpy(uniforms).to(device)
        tokens = torch.zeros((rows, length), dtype=torch.long, device=device)
        logprobs = torch.zeros((rows, length), dtype=torch.float32, device=device)
        ended_at = torch.full((rows,), length, device=device)
        finished = torch.zeros(rows, dtype=torch.bool, device=device)
        active = torch.arange(rows, device=device)  # wave row of each row still computed
        temperature = 1.0 if sampling.greedy else sampling.temperature
        logits = steps.first()
        for t in range(length):
            masked = masked_logits(logits, self.vlm.banned, temperature)
            chosen, chosen_logprobs = _argmax(masked) if sampling.greedy else inverse_cdf(masked, uniform[active, t])
            tokens[active, t] = chosen
            logprobs[active, t] = chosen_logprobs
            newly = self._eos[chosen] & ~finished[active]
            ended_at[active[newly]] = t + 1
            finished[active[newly]] = True
            if t + 1 == length:
                break
            running = ~finished[active]
            left = int(running.sum())
            if left == 0:
                break
            if left < _COMPACT_BELOW * len(active):
                kept = running.nonzero()[:, 0]
                steps.keep(kept)
                active, chosen = active[kept], chosen[kept]
            logits = steps.next(chosen)
        return _Wave(tokens.cpu().numpy(), logprobs.cpu().numpy(), ended_at.cpu().numpy(), finished.cpu().numpy())


def sample_stream(seed: int, index: int) -> np.random.Generator:
    """The uniforms of sample `index` of a request; one per token, so a longer limit only appends."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def inverse_cdf(masked: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) tokens and log-probs: the first token whose cumulative probability exceeds the uniform."""
    top = masked.amax(-1, keepdim=True)
    weights = (masked - top).exp_()
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    # Rounding may put the point at the very end of the line; the likeliest token stands in.
    beyond = chosen >= masked.shape[-1]
    if bool(beyond.any()):
        chosen = torch.where(beyond, masked.argmax(-1, keepdim=True), chosen)
    picked = masked.gather(-1, chosen) - top - total.log().to(masked.dtype)
    return chosen[:, 0], picked[:, 0]


def _argmax(masked: Tensor) -> tuple[Tensor, Tensor]:
    chosen = masked.argmax(-1, keepdim=True)
    return chosen[:, 0], masked.log_softmax(-1).gather(-1, chosen)[:, 0]


class _SharedSteps:
    """Next-token logits for many prompts at once, each prompt's keys stored once (see prefix.py)."""

    def __init__(
        self, vlm: Vlm, prompts: Sequence[EncodedPrompt], counts: Sequence[int], new: int, image_inputs: _ImageInputs
    ) -> None:
        self.vlm = vlm
        lengths = [len(prompt) for prompt in prompts]
        ids = np.full((len(prompts), max(lengths)), vlm.pad_id, dtype=np.int64)
        planes = torch.zeros((3, *ids.shape), dtype=torch.long)
        following = []
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt.input_ids
            places, next_position = vlm.positions(prompt)
            planes[:, row, : len(prompt)] = places
            following.append(next_position)
        prefill = Prefill()
        self.mask = prepared_mask(vlm.device)
        hidden = vlm.model.model(
            input_ids=torch.from_numpy(ids).to(vlm.device),
            position_ids=vlm.position_argument(planes),
            attention_mask=self.mask,
            use_cache=False,
            shared_prefix=prefill,
            **image_inputs([image for prompt in prompts for image in prompt.images]),
        ).last_hidden_state
        last = hidden[torch.arange(len(prompts), device=vlm.device), torch.tensor(lengths, device=vlm.device) - 1]
        self.decode = Decode(prefill, lengths, counts, max(new - 1, 1), vlm.device)
        self._first = vlm.head(last)[self.decode.owner]
        self._position = torch.tensor(following, device=vlm.device)[self.decode.owner]

    def first(self) -> Tensor:
        return self._first

    def next(self, tokens: Tensor) -> Tensor:
        hidden = self.vlm.next_hidden(tokens, self._position + self.decode.step, self.decode)
        self.decode.step += 1
        return self.vlm.head(hidden)

    def keep(self, rows: Tensor) -> None:
        self.decode.keep(rows)
        self._position = self._position[rows]


class _CachedSteps:
    """Next-token logits for one prompt with the model's own cache: the fallback for other attention kinds."""

    def __init__(self, vlm: Vlm, prompt: EncodedPrompt, count: int, image_inputs: _ImageInputs) -> None:
        self.vlm = vlm
        places, self._position = vlm.positions(prompt)
        out = vlm.model(
            input_ids=torch.from_numpy(prompt.input_ids)[None].to(vlm.device),
            position_ids=vlm.position_argument(places[:, None].expand(3, -1, -1)),
            use_cache=True,
            **vlm.modality_argument(prompt.token_types[None]),
            **image_inputs(prompt.images),
        )
        self._cache: Any = out.past_key_values
        self._cache.batch_repeat_interleave(count)
        self._first = out.logits[:, -1].expand(count, -1)

    def first(self) -> Tensor:
        return self._first

    def next(self, tokens: Tensor) -> Tensor:
        place = torch.full((3, len(tokens), 1), self._position)
        out = self.vlm.model(
            input_ids=tokens[:, None],
            position_ids=self.vlm.position_argument(place),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position += 1
        return out.logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
