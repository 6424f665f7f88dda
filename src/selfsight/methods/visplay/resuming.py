"""What may change when a run goes on, and what may not.

A resumed run takes new settings from its next step on. Some of them would make it another run (its seed, its
model), measure two things as if they were one (the held-out questions), or show images again that earlier rounds
have seen; those are refused by name before anything is touched.
"""

from typing import Any

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods.visplay.stream import round_images

FIXED = {
    "method": "it would be another method",
    "seed": "a run has one seed",
    "model": "the weights so far are those of the old model",
    "revision": "the weights so far are those of the old model",
    "dtype": "the base model would be another one",
    "images": "rounds must not see the same image twice",
    "lora": "the checkpoints hold the weights that were trained so far",
    "optim.freeze_vision": "the checkpoints hold the weights that were trained so far",
    "visplay.prompt_pack": "the roles have learned the old prompts",
    "visplay.controls": "a control holds for a whole run",
    "evaluation.questions": "base and rounds are compared on the same questions",
    "evaluation.seed": "base and rounds are compared on the same questions",
    "evaluation.world": "base and rounds are compared on the same questions",
    "evaluation.picture_size": "base and rounds are compared on the same pictures",
}


def refuse_changes(before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises for a change that would make nonsense of what the run has done."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    for key, reason in FIXED.items():
        if _at(old, key) != _at(new, key):
            raise SelfsightError(
                f"{key} cannot change from {_at(old, key)!r} to {_at(new, key)!r} in a run that has begun: {reason}",
                hint="leave it out, or start a new run with `selfsight evolve`",
            )
    for key in ("grpo.beta", "grpo.beta_anchor"):
        if _at(old, key) == 0 < _at(new, key):
            raise SelfsightError(
                f"{key} cannot change from 0 to {_at(new, key)}: the weights it would hold on to were not kept",
                hint="leave it at 0, or start a new run with `selfsight evolve`",
            )
    for name, was, will in zip(("questioner phase", "round"), round_images(before), round_images(now), strict=True):
        if will < was:
            raise SelfsightError(
                f"with these settings a {name} takes {will} images, and it took {was} so far: later rounds would see "
                "images of earlier ones",
                hint="do not lower visplay.questioner_steps, images_per_step, pool_images or max_pool_attempts",
            )


def _at(data: dict[str, Any], key: str) -> Any:
    value: Any = data
    for name in key.split("."):
        value = value[name]
    return value
