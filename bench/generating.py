"""transformers' `generate` in the place of the local sampler: the peer of round.py.

Prompts are laid out as a TRL-like loop does it: every sample is a row of its own with its prompt and its pixels, rows
are padded on the left, as many at a time as suits the machine, prompts of similar length together. `generate` does the
rest: prefill, cache, and stopping once all rows of a batch have ended.

Only the choice of a token is ours: the same point of the same distribution as in the local sampler (`inverse_cdf` of
the uniform that belongs to this sample and this token) in place of `torch.multinomial`, which takes longer. So both
samplers draw the same tokens up to rounding, and whole rounds can be compared.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from selfsight.policy import Rollout, SampleRequest, Sampling
from selfsight.policy.processor import EncodedPrompt, stack_pixels
from selfsight.policy.samplers.drawing import inverse_cdf, sample_stream
from selfsight.policy.vlm import Vlm
from selfsight.policy.vocabulary import masked_logits

ROWS = 64  # at a time; of 16, 32, 64, 128 and 384 rows of the starter on one thread the quickest


class GenerateSampler:
    """A `Sampler` that draws by `generate` from a model that the learner trains."""

    def __init__(self, vlm: Vlm, rows: int = ROWS) -> None:
        self.vlm, self.rows = vlm, rows
        self.weight_version = 0

    def publish(self, weight_version: int) -> None:
        self.weight_version = weight_version

    def sharing_images(self) -> AbstractContextManager[None]:
        """`generate` takes pixels: nothing is shared."""
        return nullcontext()

    def close(self) -> None:
        """Nothing was started."""

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        out: dict[str, list[Rollout]] = {request.id: [] for request in requests}
        encode = self.vlm.encoder.encode
        wanted = [(request, k, encode(request.prompt)) for request in requests for k in range(request.n)]
        wanted.sort(key=lambda row: len(row[2]))  # stable: samples of a request stay in order
        for first in range(0, len(wanted), self.rows):
            self._generate(wanted[first : first + self.rows], sampling, out)
        return out

    @torch.no_grad()
    def _generate(
        self,
        batch: Sequence[tuple[SampleRequest, int, EncodedPrompt]],
        sampling: Sampling,
        out: dict[str, list[Rollout]],
    ) -> None:
        inputs = self._left_padded([prompt for _, _, prompt in batch])
        length = sampling.max_completion_length
        choice = _Choice(self.vlm.banned, sampling)
        if not sampling.greedy:
            choice.uniforms = torch.from_numpy(
                np.stack([sample_stream(request.seed, k).random(length) for request, k, _ in batch])
            )
        with self.vlm.compute():
            found = self.vlm.model.generate(
                **inputs, do_sample=False, max_new_tokens=length, logits_processor=LogitsProcessorList([choice]),
                eos_token_id=list(self.vlm.eos_ids), pad_token_id=self.vlm.pad_id,
            )  # fmt: skip
        tokens_RT = found[:, inputs["input_ids"].shape[1] :].numpy()
        logprobs_RT = torch.stack(choice.logprobs, dim=1).numpy()
        ended_RT = np.isin(tokens_RT, self.vlm.eos_ids)
        for row, (request, k, _) in enumerate(batch):
            finished = bool(ended_RT[row].any())
            size = int(ended_RT[row].argmax()) + 1 if finished else len(tokens_RT[row])
            token_ids = tokens_RT[row, :size].copy()
            text = self.vlm.encoder.decode(token_ids[:-1] if finished else token_ids)
            out[request.id].append(
                Rollout(
                    request.id, k, token_ids, logprobs_RT[row, :size].copy(), text, finished, self.weight_version,
                    0.0 if sampling.greedy else sampling.temperature,
                )
            )  # fmt: skip

    def _left_padded(self, prompts: Sequence[EncodedPrompt]) -> dict[str, Any]:
        """Inputs of `generate`; every row brings the pixels of its image."""
        shape = (len(prompts), max(map(len, prompts)))
        ids, real, types = np.full(shape, self.vlm.pad_id), np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
        for row, prompt in enumerate(prompts):
            ids[row, -len(prompt) :], real[row, -len(prompt) :] = prompt.input_ids, 1
            types[row, -len(prompt) :] = prompt.token_types
        pixels = [self.vlm.encoder.image(ref).pixels for prompt in prompts for ref in prompt.images]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(real),
            "mm_token_type_ids": torch.from_numpy(types),
            **(stack_pixels(pixels) if pixels else {}),
        }


class _Choice(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token of each row, so that `generate`'s argmax takes it; keeps its log-prob."""

    def __init__(self, banned: Tensor, sampling: Sampling) -> None:
        self.banned, self.temperature = banned, 1.0 if sampling.greedy else sampling.temperature
        self.uniforms: Tensor | None = None  # (R, T); None takes the likeliest token
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        masked = masked_logits(scores, self.banned, self.temperature)
        if self.uniforms is None:
            chosen = masked.argmax(-1)
            logprobs = masked.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
        else:
            chosen, logprobs = inverse_cdf(masked, self.uniforms[:, len(self.logprobs)])
        self.logprobs.append(logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen[:, None], 0.0)
