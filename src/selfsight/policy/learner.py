"""The learner: GRPO's forward and backward over packed rows, and AdamW.

A batch of groups is laid out as tries in rows under a token budget, one micro-batch each (`scoring.plan`): what groups
have in common, their image first of all, is computed once, also where the budget cuts it (`stems`). Every token's
loss is divided by the number of tokens of the whole batch, so the gradient does not depend on the cut. A group
without learning signal and without a KL term has a zero gradient; it is not run through the model, but its tokens
still count.

Reference log-probs come from frozen copies of the trained tensors, put in place of the current ones for one
forward pass without gradient. With LoRA only the adapters are trained, so a reference costs their size alone
and the base model is "adapters at zero". A reference with the weights of now, or with those of the other reference,
takes over the log-probs that are there; one that differs in the language model only shares the image features.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from selfsight.errors import SelfsightError
from selfsight.policy.features import vision_is_frozen
from selfsight.policy.loss import LossOptions, TokenLoss, group_advantages, grpo_token_loss, k3
from selfsight.policy.records import Group, LearnStats, Rollout, StepStats
from selfsight.policy.scoring import Batch, ScoreItem, plan, score_batch
from selfsight.policy.stems import Shared
from selfsight.policy.vlm import Vlm

Reference = Literal["phase", "anchor"]
_SKIPS_IN_A_ROW = 3


@dataclass(frozen=True)
class LearnerOptions:
    """The optimiser's numbers; `token_budget` bounds the tokens of one micro-batch, those of its stem included.

    On a CPU small micro-batches are quicker (2,048 to 4,096 tokens were best); a GPU wants tens of thousands.
    """

    learning_rate: float = 1e-6
    weight_decay: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    token_budget: int = 4096
    loss: LossOptions = field(default_factory=LossOptions)


@dataclass(frozen=True, eq=False)
class _Weighted:
    """A group as the model sees it; an advantage for each rollout."""

    item: ScoreItem
    rollouts: tuple[Rollout, ...]
    advantages: np.ndarray


class Learner:
    """Owns the optimiser of a model; the model itself is shared with the local sampler."""

    def __init__(self, vlm: Vlm, options: LearnerOptions) -> None:
        self.vlm, self.options = vlm, options
        self.parameters: dict[str, nn.Parameter] = {
            name: parameter for name, parameter in vlm.model.named_parameters() if parameter.requires_grad
        }
        if not self.parameters:
            raise SelfsightError(f"Model {vlm.folder}: nothing is trainable.", hint="Train it fully or with LoRA.")
        self.optimiser = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=options.learning_rate,
            betas=(options.adam_beta1, options.adam_beta2),
            weight_decay=options.weight_decay,
        )
        self.weight_version = 0
        self.steps = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._phase_start = 0
        self._finite = True
        self._old: WeakKeyDictionary[Rollout, np.ndarray] = WeakKeyDictionary()
        self._references: dict[Reference, dict[str, Tensor]] = {}
        self._reference_versions: dict[Reference, int] = {}

    # ---- references ------------------------------------------------------------------------------------

    def begin_phase(self) -> None:
        """A phase is a training run of its own: its KL reference is the weights as they are now, the warm-up
        starts again, and AdamW starts without moments (those of the last phase chased other rewards).
        """
        if self.options.loss.beta > 0:
            self.set_reference("phase")
        self._phase_start = self.steps
        self.optimiser.state.clear()

    def end_phase(self) -> None:
        """Drops what only this phase needed, moments and phase reference, so that an idle role costs its weights."""
        self._references.pop("phase", None)
        self._reference_versions.pop("phase", None)
        self.optimiser.state.clear()

    def set_reference(self, which: Reference) -> None:
        """Freezes a copy: "phase" is the current weights; "anchor" is the base, so set it before training.

        With LoRA the anchor is the base model at any time: the adapters' outward halves at zero.
        """
        lora = self.vlm.options.lora is not None
        self._references[which] = {
            name: torch.zeros_like(p) if lora and which == "anchor" and "lora_B" in name else p.detach().clone()
            for name, p in self.parameters.items()
        }
        at_start = not lora or which == "phase" or self.weight_version == 0
        self._reference_versions[which] = self.weight_version if at_start else -1

    @contextmanager
    def weights_of(self, which: Reference) -> Iterator[None]:
        """The model computes with a reference inside this block; only without gradient."""
        if which not in self._references:
            raise SelfsightError(f"There is no {which!r} reference.", hint=f"Call set_reference({which!r}) first.")
        current = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.data = self._references[which][name]
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = current[name]

    def _reference_logprobs(
        self, batch: Batch, current: Tensor, temperature: float, shared: Mapping[Reference, Shared]
    ) -> dict[Reference, Tensor]:
        """Log-probs of the references that the loss weighs; equal weights give the numbers that are there."""
        of_version = {self.weight_version: current.detach()}
        found: dict[Reference, Tensor] = {}
        for which, its_shared in shared.items():
            version = self._reference_versions.get(which)
            if version is None or version not in of_version:
                with torch.no_grad(), self.weights_of(which):
                    logprobs = score_batch(self.vlm, batch, temperature, its_shared).logprobs
                found[which] = logprobs
                if version is not None:
                    of_version[version] = logprobs
            else:
                found[which] = of_version[version]
        return found

    # ---- forward and backward --------------------------------------------------------------------------

    def learn(self, groups: Sequence[Group]) -> LearnStats:
        """Adds the gradient of the GRPO loss of these groups; `step` applies it.

        What the weights that sampled make of the tokens (`old` in `loss`) is seen when a batch of them is learned from
        for the first time, and kept for later passes over the same rollouts. A batch of older weights that was not
        seen in time has the sampler's word alone.
        """
        started = time.perf_counter()
        temperature = _temperature(groups)
        weighted: list[_Weighted] = []
        zero_variance = 0
        for group in groups:
            advantages, flat = _advantages(group)
            zero_variance += flat
            if not flat or self._weighed():
                weighted.append(self._weighted(group, advantages))
        total = sum(len(rollout.token_ids) for group in groups for rollout in group.rollouts)
        sums = _Sums()
        batches = plan(self.vlm, [part.item for part in weighted], self.options.token_budget)
        shared = Shared(self.vlm, batches)
        features = shared.features if vision_is_frozen(self.vlm) else None
        references = {which: Shared(self.vlm, batches, features) for which in self._weighed()}
        for batch in batches:
            self._micro_batch(batch, weighted, temperature, total, sums, shared, references)
            for used in (*references.values(), shared):
                used.release(batch)
        self._finite = self._finite and math.isfinite(sums.loss)
        return LearnStats(
            loss=sums.loss,
            kl=sums.mean("kl"),
            kl_anchor=sums.mean("kl_anchor"),
            clip_fraction=sums.mean("clipped"),
            entropy=sums.mean("entropy"),
            ratio_max=sums.ratio_max,
            mismatch_kl=sums.mean("mismatch"),
            importance_capped=sums.mean("capped"),
            groups=len(groups),
            zero_variance_groups=zero_variance,
            tokens=total,
            tokens_scored=sums.tokens,
            tokens_per_second=total / max(time.perf_counter() - started, 1e-9),
            finite=self._finite,
        )

    def _weighed(self) -> list[Reference]:
        """The references whose KL term has a weight."""
        weights: dict[Reference, float] = {"phase": self.options.loss.beta, "anchor": self.options.loss.beta_anchor}
        return [which for which, weight in weights.items() if weight > 0]

    def _weighted(self, group: Group, advantages_G: np.ndarray) -> _Weighted:
        for rollout in group.rollouts:
            self.vlm.check_completion(rollout.token_ids)
        return _Weighted(
            ScoreItem(self.vlm.encoder.encode(group.prompt), tuple(rollout.token_ids for rollout in group.rollouts)),
            group.rollouts,
            advantages_G,
        )

    def _micro_batch(
        self,
        batch: Batch,
        weighted: Sequence[_Weighted],
        temperature: float,
        total: int,
        sums: "_Sums",
        shared: Shared,
        references: Mapping[Reference, Shared],
    ) -> None:
        device = self.vlm.device
        rollouts = [weighted[i].rollouts[k] for i, k in batch.members]
        spread = [
            np.full(len(rollout.logprobs), weighted[i].advantages[k])
            for rollout, (i, k) in zip(rollouts, batch.members, strict=True)
        ]
        behaviour = torch.from_numpy(np.concatenate([rollout.logprobs for rollout in rollouts])).float().to(device)
        advantages = torch.from_numpy(np.concatenate(spread)).float().to(device)
        scores = score_batch(self.vlm, batch, temperature, shared)
        found = self._reference_logprobs(batch, scores.logprobs, temperature, references)
        parts_of_loss = grpo_token_loss(
            scores.logprobs,
            behaviour,
            advantages,
            self.options.loss,
            old=self._when_sampled(rollouts, scores.logprobs.detach()),
            reference=found.get("phase"),
            anchor=found.get("anchor"),
        )
        loss = parts_of_loss.loss.sum() / total
        loss.backward()
        sums.add(parts_of_loss, loss.detach(), scores.entropy, k3(behaviour, scores.logprobs.detach()))

    def _when_sampled(self, rollouts: Sequence[Rollout], current: Tensor) -> Tensor:
        """(N,) log-probs by the weights that sampled, given those of now."""
        parts = []
        at = 0
        own = current.float().cpu().numpy()
        for rollout in rollouts:
            now = own[at : at + len(rollout.logprobs)]
            at += len(now)
            if rollout.weight_version == self.weight_version:
                self._old.setdefault(rollout, now.copy())
            parts.append(self._old.get(rollout, rollout.logprobs))
        return torch.from_numpy(np.concatenate(parts)).float().to(current.device)

    # ---- optimiser -------------------------------------------------------------------------------------

    def step(self) -> StepStats:
        """Clips, applies AdamW, forgets the gradient. A non-finite loss or gradient skips the step."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.options.max_grad_norm)
        finite = self._finite and bool(torch.isfinite(norm))
        rate = self.options.learning_rate * min(
            1.0, (self.steps - self._phase_start + 1) / (self.options.warmup_steps + 1)
        )
        if finite:
            for settings in self.optimiser.param_groups:
                settings["lr"] = rate
            self.optimiser.step()
            self.weight_version += 1
            self.steps += 1
            self._skipped_in_a_row = 0
        else:
            self.skipped += 1
            self._skipped_in_a_row += 1
        self.optimiser.zero_grad(set_to_none=True)
        self._finite = True
        if self._skipped_in_a_row >= _SKIPS_IN_A_ROW:
            raise SelfsightError(
                f"{_SKIPS_IN_A_ROW} steps in a row had a loss or gradient that is not finite; the weights of "
                f"version {self.weight_version} are untouched.",
                hint="Resume from the last checkpoint with a lower learning_rate, or with dtype float32.",
            )
        return StepStats(float(norm), rate, not finite, self.skipped, self.weight_version)

    # ---- checkpoints -----------------------------------------------------------------------------------

    def state_dict(self, *, anchor: bool = True) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Trained tensors, AdamW moments and references by name, and JSON-ready counters.

        Without `anchor` the base model's weights are left out; a learner that loads such a state keeps its own.
        """
        tensors = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adamw.{moment}.{name}"] = value
        for which, weights in self._references.items():
            if which == "anchor" and not anchor:
                continue
            tensors |= {f"reference.{which}.{name}": value for name, value in weights.items()}
        counters: dict[str, object] = {
            "weight_version": self.weight_version,
            "steps": self.steps,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "phase_start": self._phase_start,
            "reference_versions": dict(self._reference_versions),
        }
        return tensors, counters

    def load_state_dict(self, tensors: Mapping[str, Tensor], counters: Mapping[str, object]) -> None:
        """Restores `state_dict`; afterwards training continues as if it had not stopped (bitwise on CPU)."""
        missing = [name for name in self.parameters if f"model.{name}" not in tensors]
        if missing:
            raise SelfsightError(
                f"The checkpoint lacks {len(missing)} trained tensors, the first is {missing[0]!r}.",
                hint="Resume with the model, LoRA and freeze_vision settings that the run began with.",
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
        self.optimiser.zero_grad(set_to_none=True)
        self.optimiser.state.clear()
        for name, parameter in self.parameters.items():
            moments = {
                moment: tensors[f"adamw.{moment}.{name}"].clone().to("cpu" if moment == "step" else parameter.device)
                for moment in ("step", "exp_avg", "exp_avg_sq")
                if f"adamw.{moment}.{name}" in tensors
            }
            if moments:
                self.optimiser.state[parameter] = moments
        versions = dict(counters["reference_versions"])  # type: ignore[call-overload]
        self._reference_versions = versions
        own = self._references
        self._references = {
            which: {
                name: tensors[f"reference.{which}.{name}"].clone().to(parameter.device)
                for name, parameter in self.parameters.items()
            }
            if any(name.startswith(f"reference.{which}.") for name in tensors) or which != "anchor"
            else own[which]
            for which in versions
        }
        self.weight_version, self.steps, self.skipped, self._skipped_in_a_row, self._phase_start = (
            int(counters[key])  # type: ignore[call-overload]
            for key in ("weight_version", "steps", "skipped", "skipped_in_a_row", "phase_start")
        )


class _Sums:
    """Running totals over micro-batches."""

    def __init__(self) -> None:
        self.loss = self.ratio_max = 0.0
        self.tokens = 0
        self._of_tokens: defaultdict[str, float] = defaultdict(float)

    def add(self, parts: TokenLoss, loss: Tensor, entropy: Tensor, mismatch: Tensor) -> None:
        of_tokens = {
            "kl": parts.kl, "kl_anchor": parts.kl_anchor, "clipped": parts.clipped, "capped": parts.capped,
            "entropy": entropy, "mismatch": mismatch,
        }  # fmt: skip
        # Asked for together: a GPU is waited for each time.
        found = torch.stack([loss, parts.ratio.max(), *(one.sum() for one in of_tokens.values())]).tolist()
        self.loss += found[0]
        self.ratio_max = max(self.ratio_max, found[1])
        for name, part in zip(of_tokens, found[2:], strict=True):
            self._of_tokens[name] += part
        self.tokens += len(parts.ratio)

    def mean(self, name: str) -> float:
        """Of one of the quantities of `add`, over the tokens that were scored."""
        return self._of_tokens[name] / max(self.tokens, 1)


def _advantages(group: Group) -> tuple[np.ndarray, bool]:
    """(G,) advantages in float64, given or from the rewards, and whether the group carries no signal."""
    if group.advantages is not None:
        given = np.asarray(group.advantages, dtype=np.float64)
        return given, not given.any()
    advantages, flat = group_advantages(torch.from_numpy(np.asarray(group.rewards, dtype=np.float64)))
    return advantages.numpy(), flat


def _temperature(groups: Sequence[Group]) -> float:
    if not groups:
        raise ValueError("there are no groups to learn from")
    found = {rollout.temperature for group in groups for rollout in group.rollouts}
    if len(found) != 1:
        raise ValueError(f"the rollouts of one batch must share one temperature, found {sorted(found)}")
    temperature = found.pop()
    if temperature <= 0:
        raise ValueError("greedy rollouts cannot be learned from: nothing was sampled")
    return temperature
