"""Where the wall time of a run went, in parts that add up to all of it.

    loading       opening models and the newest checkpoint
    sampling      the policies' `sample` and `publish`
    scoring       their `logprobs` (the plausibility gate)
    learning      their `learn` and `step`
    measurement   evaluation and audit, sampling included
    controller    all the rest: what this package adds around the model, checkpoints and tables included

The parts travel with the checkpoints, so that a resumed run reports the time behind its result; what a crash
threw away is not in it. `tokens_sampled` leaves measurement out, as `sampling` does.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from selfsight.policy import Policy

PARTS = ("loading", "sampling", "scoring", "learning", "measurement", "controller")


class Timings:
    """A clock that is read at the end of each stretch of work."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.phases: dict[str, float] = {}
        self.tokens_sampled = 0
        self._policies: Sequence[Policy] = ()
        self._seen: Counter[str] = Counter()
        self._tokens_seen = 0
        self._began = time.perf_counter()

    def loaded(self, policies: Sequence[Policy]) -> None:
        """Everything up to here was loading; from here on the usage of `policies` is told apart."""
        self._policies = policies
        self.lap(None, "loading")

    def lap(self, phase: str | None, part: str | None = None) -> None:
        """The time since the last lap was spent in `phase`; all of it on `part`, or as the policies' usage says."""
        now = time.perf_counter()
        elapsed, self._began = now - self._began, now
        if phase == "evaluation":
            part = part or "measurement"
        spent: Counter[str] = Counter()
        for policy in self._policies:
            spent.update(policy.usage.seconds)
        tokens = sum(policy.usage.tokens_sampled for policy in self._policies)
        if part is not None:
            self.parts[part] += elapsed
        else:
            news = {name: seconds - self._seen[name] for name, seconds in spent.items()}
            for name, seconds in news.items():
                self.parts[name] += seconds
            self.parts["controller"] += elapsed - sum(news.values())
            self.tokens_sampled += tokens - self._tokens_seen
        if phase is not None:
            self.phases[phase] = self.phases.get(phase, 0.0) + elapsed
        self._seen, self._tokens_seen = spent, tokens

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"parts": self.parts, "phases": self.phases, "tokens_sampled": self.tokens_sampled}

    def add(self, state: Mapping[str, Any]) -> None:
        """Adds what `state` gave in the process before this one."""
        for name, seconds in state["parts"].items():
            self.parts[name] += seconds
        for name, seconds in state["phases"].items():
            self.phases[name] = self.phases.get(name, 0.0) + seconds
        self.tokens_sampled += state["tokens_sampled"]

    def summary(self) -> dict[str, object]:
        """For summary.json: seconds by part, which add up to `total`, and by phase.

        `controller_share` is the controller's part of the time spent on training: of all but loading and measurement.
        """
        parts = {name: round(seconds, 3) for name, seconds in self.parts.items()}
        training = sum(parts.values()) - parts["loading"] - parts["measurement"]
        return {
            "total": round(sum(parts.values()), 3),
            **parts,
            "controller_share": round(parts["controller"] / training, 4) if training > 0 else None,
            "tokens_sampled": self.tokens_sampled,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
        }
