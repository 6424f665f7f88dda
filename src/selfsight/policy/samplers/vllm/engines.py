"""The engines of a run: which roles share one, and how each is started.

With LoRA one engine serves every role: the adapters of those that learn, its own weights for those that do not. A role
whose weights are all trained has an engine for itself, since its weights are the engine's.
"""

from selfsight.config import SamplerSettings
from selfsight.policy.policy import Policy
from selfsight.policy.samplers.vllm.engine import Engine, EngineOptions
from selfsight.policy.samplers.vllm.sampler import VllmSampler

_ADAPTERS = 2  # questioner and reasoner; Vision-Zero has one


class Engines:
    """Starts an engine when the first role needs it."""

    def __init__(self, settings: SamplerSettings) -> None:
        self.settings = settings
        self.running: dict[str, Engine] = {}

    def sampler(self, policy: Policy) -> VllmSampler:
        """A sampler for the policy, whose weights must still be those of its model folder."""
        alone = policy.trainable and policy.vlm.options.lora is None
        name = policy.name if alone else "shared"
        if name not in self.running:
            self.running[name] = self._start(engine_options(self.settings, policy))
        return VllmSampler(policy.name, policy.vlm, self.running[name])

    def _start(self, options: EngineOptions) -> Engine:
        # Imported here: each of the two needs vLLM, and only one is asked for.
        if self.settings.mode == "server":
            from selfsight.policy.samplers.vllm.server import ServedEngine

            return ServedEngine(options)
        from selfsight.policy.samplers.vllm.in_process import InProcessEngine

        return InProcessEngine(options)


def engine_options(settings: SamplerSettings, policy: Policy) -> EngineOptions:
    """The settings, and what the model says: its limit, its end tokens, its placeholders, its images' size."""
    vlm = policy.vlm
    own_limit = getattr(vlm.text_config, "max_position_embeddings", None)
    processor = vlm.encoder.processor.image_processor
    any_size = "merge_size" in processor.to_dict()
    return EngineOptions(
        folder=vlm.folder,
        dtype=vlm.options.dtype,
        eos_ids=vlm.eos_ids,
        banned_ids=vlm.encoder.placeholder_ids,
        max_model_len=min(settings.max_model_len, own_limit or settings.max_model_len),
        max_num_seqs=settings.max_num_seqs,
        kv_cache_gib=settings.kv_cache_gib,
        enforce_eager=settings.enforce_eager,
        lora_rank=0 if vlm.options.lora is None else vlm.options.lora.rank,
        adapters=0 if vlm.options.lora is None else _ADAPTERS,
        image_size={k: v for k, v in dict(processor.size).items() if v is not None} if any_size else None,
    )
