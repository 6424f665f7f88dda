"""What may not change when a run of any method goes on, and how that is said."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.run.history import flat

FIXED = {
    "method": "it would be another method",
    "seed": "a run has one seed",
    "model": "the weights so far are those of the old model",
    "revision": "the weights so far are those of the old model",
    "dtype": "the base model would be another one",
    "images": "rounds must not see the same image twice",
    "image_column": "rounds must not see the same image twice",
    "image_split": "rounds must not see the same image twice",
    "lora": "the checkpoints hold the weights that were trained so far",
    "optim.freeze_vision": "the checkpoints hold the weights that were trained so far",
    "evaluation.questions": "base and rounds are compared on the same questions",
    "evaluation.seed": "base and rounds are compared on the same questions",
    "evaluation.world": "base and rounds are compared on the same questions",
    "evaluation.picture_size": "base and rounds are compared on the same pictures",
}


def refuse_changed(fixed: Mapping[str, str], before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises for the first of the `fixed` keys, with their reasons, that has another value now."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    for key, reason in fixed.items():
        if _at(old, key) != _at(new, key):
            raise SelfsightError(
                f"{key} cannot change from {_at(old, key)!r} to {_at(new, key)!r} in a run that has begun: {reason}",
                hint="leave it out, or start a new run with `selfsight evolve`",
            )


def refuse_late_references(before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises for a KL that is switched on after its reference was let go."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    for key in ("grpo.beta", "grpo.beta_anchor"):
        if _at(old, key) == 0 < _at(new, key):
            raise SelfsightError(
                f"{key} cannot change from 0 to {_at(new, key)}: the weights it would hold on to were not kept",
                hint="leave it at 0, or start a new run with `selfsight evolve`",
            )


# What a finished run may be resumed with: its figures are sent to other trackers, and nothing is computed.
_NO_PAST = ("report_to",)


def refuse_late_changes(run: Path, before: EvolveConfig, now: EvolveConfig, length_option: str) -> None:
    """Raises for a changed setting when nothing of the run is left to do: config.yaml would claim what no step used."""
    old, new = flat(before.model_dump(mode="json")), flat(now.model_dump(mode="json"))
    changed = [key for key in sorted({**old, **new}) if old.get(key) != new.get(key) and key not in _NO_PAST]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        asked = f"{changed[0]}={json.dumps(new.get(changed[0]))}{more}"
        raise SelfsightError(
            f"{run}: this run is finished; nothing is left to do with {asked}",
            hint=f"give it more rounds as well ({length_option}), from which the setting then holds, or start a new "
            "run with `selfsight evolve`",
        )


def _at(data: dict[str, Any], key: str) -> Any:
    value: Any = data
    for name in key.split("."):
        value = value[name]
    return value
