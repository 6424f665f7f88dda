"""Requests that the local sampler begins together, and where they stand.

A wave computes its prompts once; after that it gets one token per running sample and step. Finished samples leave it.
Waves that were begun at different times take their steps in one forward pass (`next_logits`): rows of different ages
differ only in their keys, and each wave keeps its own.

`CachedWave` is the fallback for models whose attention cannot be divided: one request, the model's own cache, alone.

Shapes: N samples of a wave, R of them still computed, T tokens at most.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.images.source import ImageRef
from selfsight.policy.prefix import Decode, Layout, Prefill, Together
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.records import Rollout, SampleRequest, Sampling
from selfsight.policy.samplers.drawing import sample_stream
from selfsight.policy.vlm import Vlm

ImageInputs = Callable[[Sequence[ImageRef]], dict[str, Any]]
Asked = Sequence[tuple[SampleRequest, EncodedPrompt]]
_COMPACT_BELOW = 0.8  # running rows are copied together once fewer than this share is still running


class Wave:
    """What the samples of a wave have drawn so far."""

    _first: Tensor | None

    def __init__(self, vlm: Vlm, asked: Asked, sampling: Sampling, eos: Tensor) -> None:
        self.vlm, self._eos = vlm, eos
        self._temperature = 0.0 if sampling.greedy else sampling.temperature
        self._streams = [(request, k) for request, _ in asked for k in range(request.n)]
        self._length = sampling.max_completion_length
        rows, length, device = len(self._streams), self._length, vlm.device
        uniforms = np.zeros((rows, length))
        if not sampling.greedy:
            for row, (request, k) in enumerate(self._streams):
                uniforms[row] = sample_stream(request.seed, k).random(length)
        self._uniform = torch.from_numpy(uniforms).to(device)
        self._tokens = torch.zeros((rows, length), dtype=torch.long, device=device)
        self._logprobs = torch.zeros((rows, length), dtype=torch.float32, device=device)
        self._ended_at = torch.full((rows,), length, device=device)
        self._finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self._active = torch.arange(rows, device=device)  # which samples are still computed
        self._drawn = 0  # tokens of each
        self.last = torch.empty(0, dtype=torch.long, device=device)  # (R,) the newest token of each
        self.done = False

    def __len__(self) -> int:
        """R."""
        return len(self._active)

    @property
    def held(self) -> int:
        """Tokens that it may still come to keep keys of."""
        return 0 if self.done else self._prompt_tokens() + len(self) * self._length

    @property
    def points(self) -> Tensor:
        """(R,) the uniforms of the next tokens."""
        return self._uniform[self._active, self._drawn]

    def first(self) -> Tensor:
        """(R, V) logits of the first tokens; they are not kept."""
        found, self._first = self._first, None
        assert found is not None
        return found

    def take(self, chosen: Tensor, logprobs: Tensor) -> None:
        """The next token (R,) of each running sample."""
        active, t = self._active, self._drawn
        self._tokens[active, t] = chosen
        self._logprobs[active, t] = logprobs
        before, ends = self._finished[active], self._eos[chosen]
        self._ended_at[active] = self._ended_at[active].masked_fill(ends & ~before, t + 1)
        running = ~(before | ends)
        self._finished[active] = ~running
        self._drawn += 1
        left = int(running.sum())  # all that a GPU is waited for, in a step that drops no row
        self.done = left == 0 or self._drawn == self._length
        if not self.done and left < _COMPACT_BELOW * len(active):
            self.last = chosen
            self.drop_to(running.cpu().nonzero()[:, 0])
        else:
            self.last = chosen

    def drop_to(self, rows: Tensor) -> None:
        """Computes these of the running samples from now on; `rows` ascend, on the CPU."""
        self._keep(rows)
        rows = rows.to(self._active.device)
        self._active, self.last = self._active[rows], self.last[rows]

    def _keep(self, rows: Tensor) -> None:
        """Computes these of the rows from now on, ascending, on the CPU."""
        raise NotImplementedError

    def _prompt_tokens(self) -> int:
        """Of the prompts whose samples are still computed."""
        raise NotImplementedError

    def rollouts(self, weight_version: int) -> Iterator[Rollout]:
        """Once it is done: request by request, in sample order."""
        tokens, logprobs = self._tokens.cpu().numpy(), self._logprobs.cpu().numpy()
        lengths, finished = self._ended_at.tolist(), self._finished.tolist()
        for row, (request, k) in enumerate(self._streams):
            token_ids = tokens[row, : lengths[row]].copy()
            yield Rollout(
                request_id=request.id,
                index=k,
                token_ids=token_ids,
                logprobs=logprobs[row, : lengths[row]].copy(),
                text=self.vlm.encoder.decode(token_ids[:-1] if finished[row] else token_ids),
                finished=finished[row],
                weight_version=weight_version,
                temperature=self._temperature,
            )


class SharedWave(Wave):
    """Many prompts, each prompt's keys stored once (see `prefix`)."""

    def __init__(self, vlm: Vlm, asked: Asked, sampling: Sampling, eos: Tensor, image_inputs: ImageInputs) -> None:
        super().__init__(vlm, asked, sampling, eos)
        prompts, counts = [prompt for _, prompt in asked], [request.n for request, _ in asked]
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
        images = image_inputs([image for prompt in prompts for image in prompt.images])
        hidden = vlm.hidden(torch.from_numpy(ids), planes, prefill, images)
        last = hidden[torch.arange(len(prompts), device=vlm.device), torch.tensor(lengths, device=vlm.device) - 1]
        self.decode = Decode(prefill, lengths, counts, max(self._length - 1, 1), vlm.device)
        self._first = vlm.head(last)[self.decode.owner.to(vlm.device)]
        self._position = torch.tensor(following)[self.decode.owner].to(vlm.device)

    @property
    def position(self) -> Tensor:
        """(R,) of the newest tokens."""
        return self._position + self.decode.step

    def _keep(self, rows: Tensor) -> None:
        self.decode.keep(rows)
        self._position = self._position[rows.to(self._position.device)]

    def _prompt_tokens(self) -> int:
        return self.decode.prompt_tokens


class CachedWave(Wave):
    """One prompt with the model's own cache."""

    def __init__(self, vlm: Vlm, asked: Asked, sampling: Sampling, eos: Tensor, image_inputs: ImageInputs) -> None:
        super().__init__(vlm, asked, sampling, eos)
        ((request, prompt),) = asked
        self._prompt_length = len(prompt)
        places, self._position = vlm.positions(prompt)
        out = vlm.model(
            input_ids=torch.from_numpy(prompt.input_ids)[None].to(vlm.device),
            position_ids=vlm.position_argument(places[:, None].expand(3, -1, -1)),
            use_cache=True,
            **vlm.modality_argument(prompt.token_types[None]),
            **image_inputs(prompt.images),
        )
        self._cache: Any = out.past_key_values
        # Every kind of layer has reorder_cache, those with a convolution's or a recurrent state included.
        self._cache.reorder_cache(torch.zeros(request.n, dtype=torch.long, device=vlm.device))
        self._first = out.logits[:, -1].clone().expand(request.n, -1)

    def next(self) -> Tensor:
        """(R, V) logits after the newest tokens."""
        place = torch.full((3, len(self), 1), self._position)
        out = self.vlm.model(
            input_ids=self.last[:, None],
            position_ids=self.vlm.position_argument(place),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position += 1
        logits: Tensor = out.logits[:, -1]
        return logits

    def _keep(self, rows: Tensor) -> None:
        self._cache.reorder_cache(rows.to(self.vlm.device))

    def _prompt_tokens(self) -> int:
        return self._prompt_length


def next_logits(vlm: Vlm, waves: Sequence[SharedWave]) -> Tensor:
    """Logits after the newest tokens of all waves, (rows of the first wave and those of the next ones, V)."""
    layout: Layout = waves[0].decode if len(waves) == 1 else Together([wave.decode for wave in waves])
    tokens, position = torch.cat([wave.last for wave in waves]), torch.cat([wave.position for wave in waves])
    hidden = vlm.next_hidden(tokens, position, layout)
    for wave in waves:
        wave.decode.step += 1
    logits: Tensor = vlm.head(hidden)
    return logits
