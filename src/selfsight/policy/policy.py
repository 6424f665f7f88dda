"""A policy: a name, a model that may learn, and a sampler that draws from it.

The verbs between a method and a model: `sample`, `learn`, `step`, `publish` (and `logprobs`, `save`). A
method never knows whether the sampler is in this process. So the rules of a remote sampler hold for the
local one as well: after `step` the sampler has no valid weights until `publish`, and says so.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy.folder_check import opening_errors
from selfsight.policy.image_probe import check_model
from selfsight.policy.learner import Learner, LearnerOptions, Reference
from selfsight.policy.loading import ModelOptions
from selfsight.policy.records import Group, LearnStats, Rollout, SampleRequest, Sampling, StepStats
from selfsight.policy.samplers import Sampler
from selfsight.policy.samplers.local import LocalSampler, LocalSamplerOptions
from selfsight.policy.saving import check_savable, save_adapter, save_folder
from selfsight.policy.scoring import ScoreItem, plan, score_batch
from selfsight.policy.stems import Shared
from selfsight.policy.vlm import Vlm
from selfsight.policy.weights import weights_hash

_SCORING_BUDGET = 16384

Verb = Literal["sampling", "scoring", "learning"]


@dataclass
class Usage:
    """What a policy has spent since it was loaded: wall seconds by verb, and tokens drawn.

    For timings only: nothing that is computed, hashed or saved with the weights depends on it.
    """

    seconds: dict[Verb, float] = field(default_factory=lambda: {"sampling": 0.0, "scoring": 0.0, "learning": 0.0})
    tokens_sampled: int = 0

    @contextmanager
    def spending(self, verb: Verb) -> Iterator[None]:
        """Counts the time of the block, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[verb] += time.perf_counter() - start


class Policy:
    """See the module. A frozen policy has no learner. `usage` says what its verbs have cost."""

    def __init__(self, name: str, vlm: Vlm, learner: Learner | None, sampler: Sampler) -> None:
        self.name, self.vlm, self.sampler = name, vlm, sampler
        self._learner = learner
        self.usage = Usage()

    @classmethod
    def load(
        cls,
        name: str,
        model: str | Path,
        *,
        open_image: Callable[[ImageRef], Image.Image],
        options: ModelOptions | None = None,
        learning: LearnerOptions | None = None,
        sampling: LocalSamplerOptions | None = None,
    ) -> "Policy":
        """A policy from a model folder; frozen unless `learning` is given."""
        options = options if options is not None else ModelOptions()
        vlm = Vlm.open(model, options, open_image, trainable=learning is not None)
        with opening_errors(vlm.folder, "first prompts"):
            check_model(vlm)
        if learning is not None:
            check_savable(vlm)
        learner = Learner(vlm, learning) if learning is not None else None
        return cls(name, vlm, learner, LocalSampler(vlm, sampling))

    @property
    def trainable(self) -> bool:
        return self._learner is not None

    @property
    def learner(self) -> Learner:
        if self._learner is None:
            raise SelfsightError(
                f"Policy {self.name!r} is frozen: it has no learner.",
                hint="Load it with learner options to train it.",
            )
        return self._learner

    @property
    def weight_version(self) -> int:
        return self._learner.weight_version if self._learner is not None else self.sampler.weight_version

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        """Rollouts by request id, in sample order."""
        if self.sampler.weight_version != self.weight_version:
            raise SelfsightError(
                f"Policy {self.name!r}: weights of version {self.weight_version} were never published to the "
                f"sampler, which holds version {self.sampler.weight_version}.",
                hint="Call publish() after step().",
            )
        with self.usage.spending("sampling"):
            rollouts = self.sampler.sample(requests, sampling)
        self.usage.tokens_sampled += sum(len(r.token_ids) for drawn in rollouts.values() for r in drawn)
        return rollouts

    def sharing_images(self) -> AbstractContextManager[None]:
        """Inside, an image is encoded once, however many calls of `sample` show it. Do not learn in there."""
        return self.sampler.sharing_images()

    def close(self) -> None:
        """Ends what its sampler has started: an engine, a server."""
        self.sampler.close()

    def learn(self, groups: Sequence[Group]) -> LearnStats:
        """Forward and backward over the groups; the gradient adds up until `step`."""
        with self.usage.spending("learning"):
            return self.learner.learn(groups)

    def step(self) -> StepStats:
        """One optimiser step on what was learned since the last one."""
        with self.usage.spending("learning"):
            return self.learner.step()

    def publish(self) -> None:
        """The sampler takes over the learner's weights; everything computed from the old ones is dropped."""
        with self.usage.spending("sampling"):
            self.sampler.publish(self.weight_version)

    def begin_phase(self) -> None:
        """Marks the start of a phase: KL reference, warm-up and optimiser start afresh."""
        self.learner.begin_phase()

    def end_phase(self) -> None:
        """Drops the optimiser's moments and the phase's reference."""
        self.learner.end_phase()

    def set_reference(self, which: Reference) -> None:
        """Freezes the current weights as "phase" reference, or the base model as "anchor"."""
        self.learner.set_reference(which)

    def logprobs(
        self,
        pairs: Sequence[tuple[Prompt, np.ndarray]],
        *,
        reference: Reference | None = None,
        temperature: float = 1.0,
    ) -> list[np.ndarray]:
        """(T,) float32 log-probs of each given completion, under the current weights or a frozen reference.

        Completions of the same prompt are scored together, whatever their order.
        """
        with self.usage.spending("scoring"):
            if reference is None:
                return self._logprobs(pairs, temperature)
            with self.learner.weights_of(reference):
                return self._logprobs(pairs, temperature)

    @torch.no_grad()
    def _logprobs(self, pairs: Sequence[tuple[Prompt, np.ndarray]], temperature: float) -> list[np.ndarray]:
        members: dict[Prompt, list[int]] = {}
        for index, (prompt, token_ids) in enumerate(pairs):
            self.vlm.check_completion(token_ids)
            members.setdefault(prompt, []).append(index)
        items = [
            ScoreItem(self.vlm.encoder.encode(prompt), tuple(pairs[i][1] for i in indices))
            for prompt, indices in members.items()
        ]
        order = list(members.values())
        out: list[np.ndarray] = [np.empty(0, dtype=np.float32)] * len(pairs)
        batches = plan(self.vlm, items, _SCORING_BUDGET)
        shared = Shared(self.vlm, batches)
        for batch in batches:
            flat = score_batch(self.vlm, batch, temperature, shared).logprobs.float().cpu().numpy()
            shared.release(batch)
            at = 0
            for index in (order[i][k] for i, k in batch.members):
                size = len(pairs[index][1])
                out[index] = flat[at : at + size].copy()
                at += size
        return out

    def token_at(self, rollout: Rollout, character: int) -> int:
        """Index of the token that holds this character of the rollout's text."""
        ids, decode = rollout.token_ids, self.vlm.encoder.decode
        return bisect_right(range(len(ids)), character, key=lambda end: len(decode(ids[: end + 1])))

    def weights_hash(self) -> str:
        """Equal for equal weights, and only for them."""
        return weights_hash(self.vlm.model)

    def save(self, folder: str | Path) -> None:
        """Writes a plain model folder that transformers and vLLM load; LoRA is merged into it.

        The folder is read back and compared with the policy's weights.

        Args:
            folder: Where to write; made if it does not exist.

        Raises:
            SelfsightError: what was written is not what a reader of the folder gets; the message names the tensor.

        Example:
            >>> policy.save("my-model")
        """
        save_folder(self.vlm, Path(folder))

    def save_adapter(self, folder: str | Path, *, base: str, revision: str | None = None) -> None:
        """Writes the LoRA adapters alone, as `peft.PeftModel.from_pretrained(base_model, folder)` loads them.

        Args:
            folder: Where to write. Not inside a model folder: transformers would load the adapters onto the model.
            base: The model that the adapters were trained on, a folder or an id of the Hugging Face hub.
            revision: The commit of the hub repository, if one was pinned.

        Raises:
            SelfsightError: the policy has no adapters, or the files do not hold them.

        Example:
            >>> policy.save_adapter("my-adapter", base="Qwen/Qwen2.5-VL-3B-Instruct")
        """
        save_adapter(self.vlm, Path(folder), base=base, revision=revision)

    def clone_frozen(self, name: str) -> "Policy":
        """A copy that samples and scores with today's weights, whatever this policy learns later."""
        vlm = self.vlm.frozen_copy()
        options = self.sampler.options if isinstance(self.sampler, LocalSampler) else None
        sampler = LocalSampler(vlm, options)
        sampler.publish(self.weight_version)
        return Policy(name, vlm, None, sampler)

    def state_dict(self, *, anchor: bool = True) -> tuple[dict[str, Tensor], dict[str, object]]:
        """What a checkpoint needs: tensors (for safetensors) and counters (for JSON); see `Learner.state_dict`."""
        return self.learner.state_dict(anchor=anchor)

    def load_state_dict(self, tensors: Mapping[str, Tensor], counters: Mapping[str, object]) -> None:
        """Continues where `state_dict` was taken, sampler included."""
        self.learner.load_state_dict(tensors, counters)
        self.publish()
