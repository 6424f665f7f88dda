"""Sampling in torch from the learner's own module.

Requests are grouped into waves (`wave`). A wave computes each prompt once; then every running sample gets one token
per step, and finished samples leave. As soon as what is left of the running waves leaves enough room in the budget,
the next wave begins and takes its steps together with them: while requests wait, the budget is kept filled.

A sample depends on the weights, its prompt, its seed and its index (`drawing`), and not on what else is computed, its
order or its size (up to the rounding of matrix products, which can move a token only when its uniform falls within
about 1e-6 of a boundary).

Left out: top-p and top-k, whose log-probs would need correcting in the learner; refilling a wave's own rows, which
would mix samples of several ages in one store of keys.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.features import ImageFeatures, image_inputs
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.records import Rollout, SampleRequest, Sampling
from selfsight.policy.samplers.drawing import inverse_cdf, likeliest
from selfsight.policy.samplers.wave import CachedWave, SharedWave, Wave, next_logits
from selfsight.policy.vlm import Vlm
from selfsight.policy.vocabulary import masked_logits

# Of the budget, while requests wait: the next wave begins when an eighth of a wave's samples are left. Waves of half
# the budget take fewer steps (57 against 75, for 3,200 answers of the starter), but a CPU is no quicker for it.
_WAVE = 7 / 8
_LOGITS = 1 << 28  # held at once: 1,766 samples of a vocabulary of 152,000
_ON_CPU = 65536  # tokens; of the starter they take 0.6 GiB


@dataclass(frozen=True)
class LocalSamplerOptions:
    """How much is computed at once: `token_budget` bounds prompt tokens plus new tokens, were every running sample to
    become as long as it may. None: as many as `kv_cache_gib` of keys and values hold on a GPU, 65,536 on a CPU.
    """

    token_budget: int | None = None
    kv_cache_gib: float = 4.0

    def tokens_at_once(self, vlm: Vlm) -> int:
        if self.token_budget is not None:
            return self.token_budget
        return _ON_CPU if vlm.device.type == "cpu" else max(1, int(self.kv_cache_gib * 2**30) // vlm.key_value_bytes)


class LocalSampler:
    """Draws from `vlm`, whose weights it shares; between calls it keeps nothing but what `sharing_images` says."""

    def __init__(self, vlm: Vlm, options: LocalSamplerOptions | None = None) -> None:
        self.vlm = vlm
        self.options = options if options is not None else LocalSamplerOptions()
        self.weight_version = 0
        self._features: ImageFeatures | None = None
        self._eos = torch.zeros_like(vlm.banned)
        self._eos[list(vlm.eos_ids)] = True
        self._tokens_at_once = self.options.tokens_at_once(vlm)
        self._most_rows = max(1, _LOGITS // len(vlm.banned))

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
        waiting = self._planned([r for r in requests if r.n > 0], sampling.max_completion_length)
        running: list[Wave] = []
        with self.vlm.compute():
            while waiting or running:
                if waiting and (not running or self._joins(running, waiting[0])):
                    running.append(self._begin(waiting.popleft().asked, sampling))
                    self._draw(running[-1:], running[-1].first(), sampling)
                else:
                    self._draw(running, self._next(running), sampling)
                running = self._still_running(running, out)  # what is done must be gone when the next one begins
        return out

    def _still_running(self, waves: Sequence[Wave], out: dict[str, list[Rollout]]) -> list[Wave]:
        """Those that are not done; the others' rollouts go to `out`."""
        for wave in waves:
            for rollout in wave.rollouts(self.weight_version) if wave.done else ():
                out[rollout.request_id].append(rollout)
        return [wave for wave in waves if not wave.done]

    def _planned(self, requests: list[SampleRequest], new: int) -> "deque[_Planned]":
        """Waves of `_WAVE` of the budget, of the whole if that holds all; a larger request goes alone.

        Requests on one image stay together, so that it is encoded once.
        """
        seen: dict[tuple[str, ...], int] = {}
        order = {
            request.id: seen.setdefault(tuple(image.id for image in request.prompt.images), len(seen))
            for request in requests
        }
        all_of_them = _Planned(new)
        waves = deque([_Planned(new)])
        for request in sorted(requests, key=lambda request: order[request.id]):
            prompt = self.vlm.encoder.encode(request.prompt)
            self.vlm.check_length(prompt, new)
            all_of_them.add(request, prompt)
        budget = self._tokens_at_once
        at_once = budget if all_of_them.size() <= budget else int(_WAVE * budget)
        for request, prompt in all_of_them.asked:
            last = waves[-1]
            full = last.size(1, len(prompt), request.n) > at_once or last.rows + request.n > self._most_rows
            if last.asked and (full or self.vlm.backend == "padded"):
                waves.append(_Planned(new))
            waves[-1].add(request, prompt)
        return waves if requests else deque()

    def _joins(self, running: Sequence[Wave], planned: "_Planned") -> bool:
        """Whether a wave may begin beside those that run."""
        held, rows = sum(wave.held for wave in running), sum(map(len, running))
        fits = held + planned.size() <= self._tokens_at_once and rows + planned.rows <= self._most_rows
        return self.vlm.backend == "shared" and fits

    def _begin(self, asked: list[tuple[SampleRequest, EncodedPrompt]], sampling: Sampling) -> Wave:
        kind = SharedWave if self.vlm.backend == "shared" else CachedWave
        return kind(self.vlm, asked, sampling, self._eos, self._image_inputs)

    def _next(self, running: Sequence[Wave]) -> Tensor:
        shared = [wave for wave in running if isinstance(wave, SharedWave)]
        if shared:
            return next_logits(self.vlm, shared)
        (wave,) = running
        assert isinstance(wave, CachedWave)
        return wave.next()

    def _draw(self, waves: Sequence[Wave], logits: Tensor, sampling: Sampling) -> None:
        """One token for every row of these waves."""
        masked = masked_logits(logits, self.vlm.banned, 1.0 if sampling.greedy else sampling.temperature)
        if sampling.greedy:
            chosen, logprobs = likeliest(masked)
        else:
            chosen, logprobs = inverse_cdf(masked, torch.cat([wave.points for wave in waves]))
        sizes = [len(wave) for wave in waves]
        for wave, own, their in zip(waves, chosen.split(sizes), logprobs.split(sizes), strict=True):
            wave.take(own, their)


class _Planned:
    """Requests of a wave; prompts are laid out at the length of the longest, and samples may come to `new` tokens."""

    def __init__(self, new: int) -> None:
        self.new, self.rows, self.longest = new, 0, 0
        self.asked: list[tuple[SampleRequest, EncodedPrompt]] = []

    def size(self, prompts: int = 0, length: int = 0, rows: int = 0) -> int:
        """Tokens whose keys it may come to hold, with so many more prompts of that length and so many more samples."""
        return (len(self.asked) + prompts) * max(self.longest, length) + (self.rows + rows) * self.new

    def add(self, request: SampleRequest, prompt: EncodedPrompt) -> None:
        self.asked.append((request, prompt))
        self.rows += request.n
        self.longest = max(self.longest, len(prompt))
