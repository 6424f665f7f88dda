"""The whole configuration of a run as typed models, and how a recipe becomes one.

A run is one `EvolveConfig`: a recipe (YAML, packaged or a path) with dotted overrides on top. Every
option is declared once, here, with its meaning; `selfsight recipes --show NAME` prints the same text.
Names follow TRL and Hugging Face where one exists (`num_generations`, `beta`, `max_grad_norm`).

Left out on purpose: environment interpolation, `_target_`-style instantiation (a recipe is data and
may come from a stranger), and options that nothing reads (tests/test_project.py looks for a reader of
each). Nucleus and top-k sampling are no options: the ratio of equation 3 (arXiv 2511.15661) would be
taken against a distribution that was not sampled from.

This module imports no torch: the command line answers before torch could be loaded.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, ValidationError, model_validator

from selfsight.errors import SelfsightError
from selfsight.recipes import dump_yaml, parse_yaml, read_recipe
from selfsight.recipes.explain import explained, options
from selfsight.settings import Count, Device, FolderName, Fraction, Settings, Share, Text
from selfsight.settings.alarms import AlarmSettings, MaxUnreadable
from selfsight.settings.images import ImageSettings
from selfsight.settings.report_to import ReportTo
from selfsight.settings.sampler import SamplerSettings
from selfsight.settings.vision_zero import VisionZeroSettings


class LoraSettings(Settings):
    """Low-rank adapters (peft) instead of training every weight.

    No dropout: the log-probs of the learner must equal those of the sampler.
    """

    r: Count = Field(default=16, description="rank of the adapters")
    lora_alpha: float = Field(default=32.0, gt=0.0, description="the adapters' update is multiplied by lora_alpha / r")
    target_modules: list[str] | None = Field(
        default=None,
        description="names of layers with adapters; null: every linear one of the language model",
    )
    keep_adapter: bool = Field(
        default=True,
        description="save the adapters alone as well, beside each round's model folder, for peft and vLLM",
    )


class OptimSettings(Settings):
    """AdamW with a constant learning rate after the warm-up."""

    learning_rate: float = Field(default=5e-5, gt=0.0, description="constant after the warm-up")
    weight_decay: float = Field(default=0.01, ge=0.0, description="decoupled weight decay")
    max_grad_norm: float = Field(default=1.0, gt=0.0, description="gradients are clipped to this norm")
    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up at the start of every phase")
    max_tokens_per_microbatch: Count = Field(
        default=16384,
        description="gradients are accumulated over pieces of at most this many tokens; memory grows with it",
    )
    freeze_vision: bool = Field(default=False, description="keep the vision tower as it is")
    gradient_checkpointing: bool = Field(
        default=False, description="compute activations twice instead of keeping them: less memory, more time"
    )


class GrpoSettings(Settings):
    """Policy optimisation, the same for all roles."""

    num_generations: int = Field(
        default=8, ge=2, description="G: samples in a group of VisPlay; that of Vision-Zero is vision_zero.votes"
    )
    epsilon: float = Field(default=0.2, gt=0.0, lt=1.0, description="lower clip: ratio at least 1 - epsilon")
    epsilon_high: float = Field(default=0.28, gt=0.0, description="upper clip: ratio at most 1 + epsilon_high")
    beta: float = Field(
        default=0.01,
        ge=0.0,
        description="weight of the KL (k3) to the role's weights at the phase's start (VisPlay; 0 for Vision-Zero)",
    )
    beta_anchor: float = Field(default=0.0, ge=0.0, description="weight of the KL (k3) to the base model")
    temperature: float = Field(
        default=1.0, gt=0.0, description="sampling temperature; log-probs are taken at the same one"
    )
    num_iterations: Count = Field(default=1, description="optimiser steps on each batch of samples")
    importance_cap: float = Field(
        default=2.0,
        ge=1.0,
        description="where the weight of a token is cut that the learner finds likelier than the sampler did",
    )


GATE_PRESETS: dict[str, dict[str, Any]] = {
    # The paper's own curation: a parseable question and a confidence in the band (section 3.3).
    "paper": {
        "band": (0.25, 0.75),
        "agreement_floor": None,
        "agreement_ceiling": None,
        "plausibility_floor": None,
        "duplicates": False,
        "novelty": None,
        "blind": False,
        "supervisor": None,
        "max_answer_share": None,
        "max_family_share": None,
    },
    # What held co-evolution together in our own experiments. Blind and supervisor are off: each costs another
    # pass of answers, and they need a model that reads without an image, or that can judge a question.
    "robust": {
        "band": None,
        "agreement_floor": 0.4,
        "agreement_ceiling": 0.95,
        "plausibility_floor": -5.0,
        "duplicates": True,
        "novelty": 0.02,
        "blind": False,
        "supervisor": None,
        "max_answer_share": 0.5,
        "max_family_share": 0.35,
    },
}


class GateSettings(Settings):
    """Which questions may enter the pool. A key that is not given comes from the preset."""

    preset: Literal["paper", "robust"] = Field(
        default="robust", description="where the keys below come from when not given"
    )
    band: Annotated[tuple[Fraction, Fraction], Strict(False)] | None = Field(
        default=None, description="keep questions whose confidence lies in [low, high], both included"
    )
    agreement_floor: Fraction | None = Field(default=None, description="smallest share of votes behind a label")
    agreement_ceiling: Fraction | None = Field(
        default=None, description="largest share of votes; above, nothing is left to learn"
    )
    plausibility_floor: float | None = Field(
        default=None,
        le=0.0,
        description="log-prob that the question's least likely token must reach under the base model",
    )
    duplicates: bool = Field(default=False, description="keep one question of a wording per image")
    novelty: Share | None = Field(
        default=None,
        description="refuse and do not reward wordings above this share of earlier rounds' questions",
    )
    blind: bool = Field(default=False, description="refuse questions that get the same sure answer without the image")
    supervisor: Share | None = Field(
        default=None,
        description="ask the reasoner num_votes times whether the image can answer the question; smallest share of yes",
    )
    max_answer_share: Share | None = Field(
        default=None, description="largest share of one answer inside a question family"
    )
    max_family_share: Share | None = Field(default=None, description="largest share of one question family in the pool")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return GATE_PRESETS.get(str(data.get("preset", "robust")), {}) | data
        return data

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        if self.band is not None and self.band[0] > self.band[1]:
            raise ValueError(f"`band` is {list(self.band)}, but the low end must not lie above the high end")
        floor, ceiling = self.agreement_floor, self.agreement_ceiling
        if floor is not None and ceiling is not None and floor > ceiling:
            raise ValueError(f"`agreement_floor` {floor} lies above `agreement_ceiling` {ceiling}")
        return self


class ControlSettings(Settings):
    """Runs that show where a gain comes from. The first value of each is the method itself."""

    questioner: Literal["trained", "untrained"] = Field(
        default="trained", description="untrained: skip the questioner phase"
    )
    reward: Literal["vote", "random"] = Field(
        default="vote", description="random: the reasoner's rewards are coin flips"
    )
    images: Literal["own", "shuffled"] = Field(
        default="own", description="shuffled: the reasoner sees another question's image"
    )
    labels: Literal["vote", "truth", "permuted"] = Field(
        default="vote",
        description="truth: exact labels (worlds only), labelled GRPO; permuted: the vote on another question of the "
        "pool whose label is of the same kind",
    )


class VisplaySettings(Settings):
    """VisPlay's schedule (arXiv 2511.15661), curation gates and controls."""

    rounds: Count = Field(default=3, description="times that questioner and reasoner are trained in turn")
    prompt_pack: Literal["auto", "compact", "full"] = Field(
        default="auto",
        description="compact for the starter, full for instruction-tuned models; auto picks by the model",
    )
    questioner_steps: int = Field(default=20, ge=0, description="optimiser steps of the questioner per round")
    reasoner_steps: int = Field(default=40, ge=0, description="optimiser steps of the reasoner per round")
    images_per_step: Count = Field(default=8, description="images in a questioner step, a group of questions each")
    num_votes: int = Field(default=8, ge=2, description="m: answers that vote on a question")
    questions_per_image: Count = Field(default=8, description="N: candidate questions per image during curation")
    questions_per_step: Count = Field(default=24, description="questions in a reasoner step, a group of answers each")
    pool_images: Count = Field(default=400, description="fresh images per round from which the pool is curated")
    min_pool: Count = Field(default=24, description="smallest pool to train on; below it the run stops and says why")
    max_pool_attempts: Count = Field(default=3, description="times that curation may draw images to fill the pool")
    max_question_length: Count = Field(default=40, description="tokens of a question at most, reasoning included")
    max_answer_length: Count = Field(default=64, description="tokens of an answer at most, reasoning included")
    diversity_weight: float = Field(default=1.0, ge=0.0, description="lambda: weight of the repetition penalty")
    gates: GateSettings = Field(default=GateSettings(), description="curation")
    controls: ControlSettings = Field(default=ControlSettings(), description="control experiments")


class MixedSettings(Settings):
    """Both methods in turn; how many rounds each has is said by `visplay.rounds` and `vision_zero.iterations`."""

    first: Literal["visplay", "vision-zero"] = Field(default="visplay", description="whose the first round is")


class EvaluationSettings(Settings):
    """The built-in measurement on held-out worlds; its seeds are disjoint from every training stream."""

    questions: Count = Field(
        default=600, description="held-out questions; the standard error is about 0.5 / sqrt(questions)"
    )
    num_samples: int = Field(default=8, ge=2, description="answers per question for sampled and majority accuracy")
    seed: int = Field(default=0, ge=0, description="which held-out set; keep it to compare runs")
    world: Literal["mixed", "scenes", "charts"] = Field(
        default="mixed", description="what the held-out pictures show; mixed: two scenes for each chart"
    )
    picture_size: int | None = Field(
        default=None,
        ge=56,
        le=2048,
        description="side of the held-out pictures in pixels; null: 112 for a model with the compact prompt pack "
        "(the starter), 448 for others",
    )
    batch_size: Count = Field(default=32, description="questions answered at once")
    audit: bool = Field(
        default=True, description="measure pseudo-labels and questions against exact truth (worlds only)"
    )


class EvolveConfig(ImageSettings):
    """Everything that `selfsight evolve` needs to know."""

    method: Literal["visplay", "vision-zero", "mixed"] = Field(
        default="visplay", description="the algorithm; mixed: both in turn on one model"
    )
    recipe: Text = Field(default="visplay-starter", description="the recipe's name; set by --recipe")
    seed: int = Field(default=0, ge=0, description="seed of everything random in the run")
    model: Text = Field(default="starter", description="starter, a model folder, or a Hugging Face id")
    revision: Text | None = Field(default=None, description="commit of a Hugging Face model; null: whatever is newest")
    max_unreadable: MaxUnreadable = 0.9
    output_dir: Text = Field(default="runs", description="folder that holds the runs")
    run_name: FolderName | None = Field(
        default=None, description="name of the run's folder; null: recipe, seed and time"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="number format of weights and activations"
    )
    backend: Literal["auto", "shared", "padded"] = Field(
        default="auto",
        description="how groups are computed: shared (the prompt once per group), padded (plain batch), auto",
    )
    device: Device = Field(
        default="auto", description="auto (cuda if there is one, else cpu), cpu, cuda or cuda:N; mps is not supported"
    )
    threads: Count | None = Field(default=None, description="CPU threads of torch; null: torch's own choice")
    min_pixels: Count | None = Field(
        default=None, description="images are enlarged to this area; null: the model's default"
    )
    max_pixels: Count | None = Field(
        default=None, description="images are shrunk to this area; null: the model's default"
    )
    lora: LoraSettings | None = Field(default=None, description="adapters; null: train every weight")
    sampler: SamplerSettings = Field(default=SamplerSettings(), description="where completions are drawn")
    optim: OptimSettings = Field(default=OptimSettings(), description="optimiser")
    grpo: GrpoSettings = Field(default=GrpoSettings(), description="policy optimisation")
    visplay: VisplaySettings = Field(default=VisplaySettings(), description="VisPlay's own settings")
    vision_zero: VisionZeroSettings = Field(default=VisionZeroSettings(), description="Vision-Zero's own settings")
    mixed: MixedSettings = Field(default=MixedSettings(), description="both methods in one run")
    evaluation: EvaluationSettings = Field(default=EvaluationSettings(), description="measurement")
    alarms: AlarmSettings = Field(default=AlarmSettings(), description="what is watched for collapse")
    save_steps: Count = Field(default=10, description="optimiser steps between checkpoints inside a phase")
    save_total_limit: Count = Field(default=2, description="checkpoints kept on disk")
    report_to: ReportTo = Field(
        default=["jsonl"],
        description="where figures go: jsonl (metrics.jsonl in the run, always with the others), tensorboard, wandb, "
        "trackio (docs/trackers.md); none keeps no metrics",
    )

    @model_validator(mode="after")
    def _pixels_in_order(self) -> Self:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"`min_pixels` {self.min_pixels} lies above `max_pixels` {self.max_pixels}")
        return self

    @model_validator(mode="after")
    def _none_is_alone(self) -> Self:
        if self.report_to != ["none"] and ("none" in self.report_to or not self.report_to):
            raise ValueError(f"`report_to` is {self.report_to}: name where figures go, or write [none]")
        return self

    @model_validator(mode="after")
    def _vision_zero_has_one_reference(self) -> Self:
        if self.method == "vision-zero" and self.grpo.beta > 0:
            raise ValueError(
                f"`grpo.beta` is {self.grpo.beta}, but Vision-Zero has no phases with a reference of their own: set it "
                "to 0; its KL is that to the starting model, `grpo.beta_anchor`"
            )
        return self


# --------------------------------------------------------------------------------------------- loading


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> EvolveConfig:
    """The configuration of a packaged recipe or YAML file, with `dotted.key=value` overrides on top.

    Raises SelfsightError naming the key, the value, what is allowed, and the recipe or override at fault.
    """
    data, origins = read_recipe(recipe)
    data.setdefault("recipe", Path(recipe).stem if str(recipe).endswith((".yaml", ".yml")) else str(recipe))
    for override in overrides:
        key, value = parse_override(override)
        _assign(data, key.split("."), value)
        origins = {name: origin for name, origin in origins.items() if not f"{name}.".startswith(f"{key}.")}
        origins[key] = f"the override {override}"
    try:
        return EvolveConfig.model_validate(data)
    except ValidationError as error:
        raise explained(error, EvolveConfig, origins, f"the recipe {recipe}") from None


def parse_override(override: str) -> tuple[str, Any]:
    """`visplay.rounds=5` as ("visplay.rounds", 5); the value is YAML, so `null`, `true` and `[a, b]` work."""
    key, sign, value = override.partition("=")
    key = key.strip()
    if not sign or not key or not all(key.split(".")):
        raise SelfsightError(
            f"'{override}' is not an override", hint="write dotted.key=value, for example visplay.rounds=5"
        )
    if key == "recipe":
        raise SelfsightError("'recipe' is not an override", hint=f"write --recipe {value} instead")
    return key, parse_yaml(value, where=f"the override {override}")


def to_yaml(config: EvolveConfig) -> str:
    """The resolved configuration; `load_config` on it gives the same configuration back."""
    return dump_yaml(config.model_dump(mode="json"))


def describe(config: EvolveConfig) -> str:
    """Every option with its value in this configuration, what it may be, and what it means."""
    values = config.model_dump(mode="json")
    lines = []
    for option in options(EvolveConfig):
        value: Any = values
        for name in option.key.split("."):
            value = value and value[name]  # a group that is null has null options
        shown = json.dumps(value, ensure_ascii=False)
        lines.append(f"{option.key} = {shown}\n    {option.description}\n    ({option.allowed})\n")
    return "".join(lines)


# Where a run is written, how much of it is kept and when it warns or gives up does not change what it computes.
_BOOKKEEPING = {
    "recipe", "output_dir", "run_name", "save_steps", "save_total_limit", "report_to", "max_bad_fraction",
    "max_unreadable", "alarms",
}  # fmt: skip


# The settings that a method does not read.
_NOT_READ = {"visplay": {"vision_zero", "mixed"}, "vision-zero": {"visplay", "mixed"}, "mixed": set[str]()}


def config_hash(config: EvolveConfig) -> str:
    """16 hex digits that change when, and only when, an option that can change the results does."""
    text = json.dumps(without_bookkeeping(config), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def without_bookkeeping(config: EvolveConfig) -> dict[str, Any]:
    """The options that can change the results of this run, as JSON-ready groups."""
    return config.model_dump(mode="json", exclude={*_BOOKKEEPING, *_NOT_READ[config.method]})


def _assign(data: dict[str, Any], path: list[str], value: Any) -> None:
    """Sets a nested key; a missing or null group on the way becomes a mapping."""
    for name in path[:-1]:
        inner = data.get(name)
        if not isinstance(inner, dict):
            inner = data[name] = {}
        data = inner
    data[path[-1]] = value
