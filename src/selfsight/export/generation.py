"""What an exported model's own generation settings would change against how it was measured."""

import json
from pathlib import Path
from typing import Any, Final

from selfsight.export.inert import code

# Settings of generation_config.json that leave the distribution of every token as the model gives it, or that do not
# decide about it: special tokens, and whether to draw or to be greedy, both of which are measured.
_INERT: Final = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version",
    "_from_model_config", "do_sample", "use_cache", "return_dict_in_generate", "output_scores", "output_logits",
    "output_attentions", "output_hidden_states", "cache_implementation", "trust_remote_code",
}  # fmt: skip
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "temperature": (1,), "top_p": (1,), "top_k": (0,), "min_p": (0,), "top_h": (1,), "typical_p": (1,),
    "epsilon_cutoff": (0,), "eta_cutoff": (0,), "repetition_penalty": (1,), "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,), "num_beams": (1,), "num_beam_groups": (1,),
    "diversity_penalty": (0,), "length_penalty": (1,), "early_stopping": (False,), "num_return_sequences": (1,),
    "penalty_alpha": (0,), "min_length": (0,), "guidance_scale": (1,), "renormalize_logits": (False,),
    "remove_invalid_values": (False,),
}  # fmt: skip


def other_settings(folder: Path) -> list[str]:
    """The settings, as code, that `generate` would follow and that the measurement did not; empty if there are none.

    Raises:
        ValueError: generation_config.json is no JSON object.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return []
    settings = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ValueError("it is no JSON object")
    if settings.get("do_sample") and settings.get("top_k") is None:
        settings["top_k"] = 50  # what transformers takes where the file says nothing
    return [
        code(f"{name}: {json.dumps(value)}")
        for name, value in sorted(settings.items())
        if name not in _INERT and value is not None and value not in _NEUTRAL.get(name, ())
    ]


def measured_otherwise(folder: Path) -> str:
    """A sentence that says how `generate` differs from the measurement, or nothing."""
    try:
        settings = other_settings(folder)
    except (OSError, ValueError) as error:
        return f"`generation_config.json` could not be read ({code(str(error))}): `generate` may not follow it."
    if not settings:
        return ""
    return (
        "The figures above were measured with answers drawn at temperature 1 from all tokens, and greedily. "
        f"`generation_config.json`, which is the base model's, asks for something else ({', '.join(settings)}), and "
        "`generate` follows it: its answers will differ from those that were measured."
    )
