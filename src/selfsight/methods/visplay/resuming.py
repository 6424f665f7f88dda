"""What may change when a run goes on, and what may not.

A resumed run takes new settings from its next step on. Some of them would make it another run (its seed, its
model), measure two things as if they were one (the held-out questions), or show images again that earlier rounds
have seen; those are refused by name before anything is touched.
"""

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods.resuming import FIXED, refuse_changed, refuse_late_references
from selfsight.methods.visplay.stream import round_images

FIXED_IN_ROUNDS = {
    "visplay.prompt_pack": "the roles have learned the old prompts",
    "visplay.controls": "a control holds for a whole run",
}


def refuse_changes(before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises for a change that would make nonsense of what the run has done."""
    refuse_changed(FIXED | FIXED_IN_ROUNDS, before, now)
    refuse_late_references(before, now)
    for name, was, will in zip(("questioner phase", "round"), round_images(before), round_images(now), strict=True):
        if will < was:
            raise SelfsightError(
                f"with these settings a {name} takes {will} images, and it took {was} so far: later rounds would see "
                "images of earlier ones",
                hint="do not lower visplay.questioner_steps, images_per_step, pool_images or max_pool_attempts",
            )
