"""The two roles of a run: both policies, how they are spoken to, and which image the reasoner is shown."""

from collections.abc import Callable
from dataclasses import dataclass

from selfsight.config import EvolveConfig
from selfsight.images import ImageSource, ShuffledImages
from selfsight.images.source import ImageRef
from selfsight.language.prompts import PromptPack, get_pack
from selfsight.policy import Policy
from selfsight.policy.open import open_policy, pack_name, read_image, set_threads
from selfsight.policy.samplers.vllm.engines import Engines
from selfsight.run.seeds import derive


@dataclass(frozen=True)
class Roles:
    """Both policies, how they are spoken to, and which image the reasoner is shown for a reference."""

    questioner: Policy
    reasoner: Policy
    pack: PromptPack
    shown: Callable[[ImageRef], ImageRef]

    def policies(self) -> dict[str, Policy]:
        """Both policies by role."""
        return {"questioner": self.questioner, "reasoner": self.reasoner}


def open_roles(config: EvolveConfig, source: ImageSource) -> Roles:
    """Two copies of the base model. Their anchor is the base, so it is frozen here, before anything is learned."""
    set_threads(config)
    shown: Callable[[ImageRef], ImageRef] = _same
    if config.visplay.controls.images == "shuffled":
        shown = ShuffledImages(source, derive(config.seed, "shuffled")).partner
    pack, opener = get_pack(pack_name(config, config.visplay.prompt_pack)), read_image(source)
    trained = config.visplay.controls.questioner == "trained"
    engines = Engines(config.sampler)
    questioner = open_policy(config, "questioner", opener, trainable=trained, engines=engines)
    reasoner = open_policy(config, "reasoner", opener, trainable=True, engines=engines)
    if trained:
        questioner.set_reference("anchor")
    if config.grpo.beta_anchor > 0:
        reasoner.set_reference("anchor")
    return Roles(questioner, reasoner, pack, shown)


def _same(image: ImageRef) -> ImageRef:
    return image
