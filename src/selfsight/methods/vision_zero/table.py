"""Who and what is at the table of a run: the one policy that plays all seats, its prompts, and the images.

Which images belong to which step is arithmetic: step s plays about places s * games_per_step and following of the
source, so nothing has to be remembered. A source that is too small starts again from its beginning. An image that
cannot be read leaves its place empty, and the step has a game less.
"""

from dataclasses import dataclass

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.images import SpyImages, spy_images
from selfsight.language import GamePack, get_game_pack
from selfsight.language.prompts import PromptPack, get_pack
from selfsight.methods.stream import image_options, images_at, refuse_too_many_bad
from selfsight.methods.vision_zero.game import Game, deal
from selfsight.methods.vision_zero.rules import game_settings
from selfsight.policy import Policy
from selfsight.policy.open import open_policy, pack_name, read_image, set_threads
from selfsight.run import derive

ROLE = "player"


@dataclass(frozen=True)
class Table:
    """The policy, how it is spoken to in games and about held-out questions, and the images."""

    policy: Policy
    pack: GamePack
    questions: PromptPack
    source: SpyImages


def open_spy_images(config: EvolveConfig) -> SpyImages:
    """A run's images with what the spy sees in their place."""
    return spy_images(
        config.images,
        config.vision_zero.spy_view,
        seed=derive(config.seed, "images"),
        degradation=config.vision_zero.degradation,
        **image_options(config),
    )


def open_table(config: EvolveConfig) -> Table:
    """Opens images and model. The KL reference is the starting model, so it is frozen here, before anything learns."""
    source = open_spy_images(config)
    set_threads(config)
    name = pack_name(config, config.vision_zero.prompt_pack)
    policy = open_policy(config, ROLE, read_image(source), trainable=True)
    if config.grpo.beta_anchor > 0:
        policy.set_reference("anchor")
    return Table(policy, get_game_pack(name), get_pack(name), source)


def deal_step(config: EvolveConfig, source: SpyImages, step: int) -> list[Game]:
    """The games of step `step` of the run (from 0); fewer where images are bad. ImageError when too many are."""
    count = config.vision_zero.games_per_step
    settings = game_settings(config)
    games = []
    for place, image in images_at(source, step * count, count):
        spy_image = source.spy_view(image)
        if spy_image.id == image.id:
            raise SelfsightError(
                f"{image.origin}: its {settings.spy_view} view is the image itself",
                hint="remove it from the images, or choose another vision_zero.spy_view",
            )
        id = f"step-{step}/{place - step * count}"
        games.append(deal(settings, seed=config.seed, id=id, image=image, spy_image=spy_image))
    refuse_too_many_bad(source, (step + 1) * count)
    return games


def repeats(config: EvolveConfig, source: SpyImages) -> bool:
    """Whether the source is too small for all games of a run to be about images of their own."""
    size = source.size()
    return size is not None and size < config.vision_zero.games_per_step * config.vision_zero.iterations
