"""Tiny real vision-language models with random weights, saved to disk as plain Hugging Face folders.

Each builder writes what `save_pretrained` would: config, safetensors, tokenizer, chat template, image
processor. They need no torchvision and no network. Head size is 32, the smallest that vLLM serves.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

_TEXT = [
    "How many red circles are there? The answer is 3.",
    "What colour is the largest square? It is blue.",
    "Is there a green triangle left of the yellow star? yes no",
    "Ask a question about this image. Count the shapes, then answer in one word.",
    "one two three four five six seven eight nine ten 0 1 2 3 4 5 6 7 8 9",
]
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _chat_template(image_marker: str) -> str:
    return (
        "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{%- if message['content'] is string %}{{ message['content'] }}{%- else %}"
        "{%- for part in message['content'] %}"
        "{%- if part['type'] == 'image' %}{{ '" + image_marker + "' }}"
        "{%- else %}{{ part['text'] }}{%- endif %}{%- endfor %}{%- endif %}"
        "{{ '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
    )


def _tokenizer(special: list[str], image_marker: str, named: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=_SPECIAL + special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named or {},
    )
    tokenizer.chat_template = _chat_template(image_marker)
    return tokenizer


def _save(
    folder: Path,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    image_processor: dict[str, object],
    processor: dict[str, object],
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(image_processor))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def _spread(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that log-probs depend visibly on image, position and every earlier token."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                scale = 0.5 if "embed_tokens" in name else 1.0
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale * fan_in**-0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def _text(hidden: int, layers: int, heads: int, kv_heads: int, vocab: int) -> dict[str, object]:
    return {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "vocab_size": vocab,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


_QWEN_SPECIAL = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_QWEN_MARKER = "<|vision_start|><|image_pad|><|vision_end|>"


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    names = ("vision_start", "vision_end", "image_pad", "video_pad")
    start, end, image, video = (tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names)
    return {
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
    }


def _qwen_image_processor(kind: str, patch: int) -> dict[str, object]:
    return {
        "image_processor_type": kind,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 4 * patch * patch, "longest_edge": 112 * 112},
    }


def build_qwen2_5_vl(
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    depth: int = 2,
    heads: int = 2,
    kv_heads: int = 1,
    seed: int = 0,
    tied: bool = False,
) -> Path:
    tokenizer = _tokenizer(_QWEN_SPECIAL, _QWEN_MARKER)
    sections = [hidden // heads // 4, hidden // heads // 8, hidden // heads // 8]
    config = Qwen2_5_VLConfig(
        text_config=_text(hidden, layers, heads, kv_heads, len(tokenizer))
        | {"tie_word_embeddings": tied}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}},
        vision_config={
            "depth": depth,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 14,
            "out_hidden_size": hidden,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=tied,
        **_qwen_ids(tokenizer),
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Qwen2VLImageProcessor", 14)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Qwen2_5_VLProcessor"})


def build_qwen3_vl(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(_QWEN_SPECIAL, _QWEN_MARKER)
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [8, 4, 4],
        "mrope_interleaved": True,
    }
    config = Qwen3VLConfig(
        text_config=_text(64, 3, 2, 1, len(tokenizer)) | {"rope_parameters": rope},
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    model = Qwen3VLForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Qwen2VLImageProcessor", 16)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Qwen3VLProcessor"})


def build_internvl(folder: Path, *, seed: int = 0) -> Path:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = _tokenizer(list(named.values()), "<IMG_CONTEXT>\n", named)
    config = InternVLConfig(
        text_config={"model_type": "qwen2"} | _text(64, 2, 2, 1, len(tokenizer)),
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [56, 56],
            "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "size": {"height": 56, "width": 56},
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": 4,
    }
    processor = {"processor_class": "InternVLProcessor", "image_seq_length": 4}
    return _save(folder, model, tokenizer, image_processor, processor)


def _build_idefics(folder: Path, family: str, seed: int) -> Path:
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    special += [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    tokenizer = _tokenizer(special, "<image>")
    smol = family == "SmolVLM"
    config = (SmolVLMConfig if smol else Idefics3Config)(
        text_config={"model_type": "llama"} | _text(64, 2, 2, 1, len(tokenizer)),
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = (SmolVLMForConditionalGeneration if smol else Idefics3ForConditionalGeneration)(config)
    _spread(model, seed)
    image_processor = {
        "image_processor_type": f"{family}ImageProcessor",
        "size": {"longest_edge": 112},
        "max_image_size": {"longest_edge": 56},
        "do_image_splitting": True,
    }
    processor = {"processor_class": f"{family}Processor", "image_seq_len": 4}
    return _save(folder, model, tokenizer, image_processor, processor)


def build_idefics3(folder: Path, *, seed: int = 0) -> Path:
    return _build_idefics(folder, "Idefics3", seed)


def build_smolvlm(folder: Path, *, seed: int = 0) -> Path:
    return _build_idefics(folder, "SmolVLM", seed)


def _siglip() -> dict[str, object]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "vision_use_head": False,
    }


def build_llava_onevision(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(["<image>", "<video>"], "<image>")
    image, video = (tokenizer.convert_tokens_to_ids(token) for token in ("<image>", "<video>"))
    grids = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2"} | _text(64, 2, 2, 1, len(tokenizer)),
        vision_config=_siglip(),
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=grids,
        tie_word_embeddings=False,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "size": {"height": 56, "width": 56},
        "image_grid_pinpoints": grids,
        "do_pad": True,
    }
    processor = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 16,
        "vision_feature_select_strategy": "full",
    }
    return _save(folder, model, tokenizer, image_processor, processor)


def build_gemma3(folder: Path, *, seed: int = 0) -> Path:
    """One layer with a sliding window, one without; the tokens of an image see each other both ways."""
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = _tokenizer(list(named.values()), "<start_of_image>", named)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in named.items()}
    text = _text(64, 2, 2, 1, len(tokenizer)) | {"sliding_window": 16, "head_dim": 32, "query_pre_attn_scalar": 32}
    config = Gemma3Config(
        text_config={"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]} | text,
        vision_config=_siglip(),
        mm_tokens_per_image=4,
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
        image_token_index=ids["image_token"],
    )
    model = Gemma3ForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}}
    return _save(
        folder, model, tokenizer, image_processor, {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    )


def build_qwen2_vl(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(_QWEN_SPECIAL, _QWEN_MARKER)
    config = Qwen2VLConfig(
        text_config=_text(64, 2, 2, 1, len(tokenizer))
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]}},
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "patch_size": 14},
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    model = Qwen2VLForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Qwen2VLImageProcessor", 14)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Qwen2VLProcessor"})


_QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 2,
    "patch_size": 16,
    "out_hidden_size": 64,
    "num_position_embeddings": 64,
}
_QWEN3_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4], "mrope_interleaved": True}


def build_qwen3_vl_moe(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(_QWEN_SPECIAL, _QWEN_MARKER)
    experts = {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
    config = Qwen3VLMoeConfig(
        text_config=_text(64, 2, 2, 1, len(tokenizer)) | experts | {"rope_parameters": _QWEN3_ROPE},
        vision_config=_QWEN3_VISION | {"deepstack_visual_indexes": [0]},
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    model = Qwen3VLMoeForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Qwen2VLImageProcessor", 16)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Qwen3VLProcessor"})


def build_qwen3_5(folder: Path, *, seed: int = 0) -> Path:
    """Three layers of linear attention, whose cache is a recurrent state, and one of full attention."""
    tokenizer = _tokenizer(_QWEN_SPECIAL, _QWEN_MARKER)
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
    }
    config = Qwen3_5Config(
        text_config=_text(64, 4, 2, 1, len(tokenizer)) | linear | {"rope_parameters": _QWEN3_ROPE},
        vision_config=_QWEN3_VISION,
        tie_word_embeddings=False,
        **_qwen_ids(tokenizer),
    )
    model = Qwen3_5ForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Qwen2VLImageProcessor", 16)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Qwen3VLProcessor"})


def build_glm4v(folder: Path, *, seed: int = 0) -> Path:
    names = ("begin_of_image", "end_of_image", "image", "begin_of_video", "end_of_video", "video")
    tokenizer = _tokenizer([f"<|{name}|>" for name in names], "<|begin_of_image|><|image|><|end_of_image|>")
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    config = Glm4vConfig(
        text_config=_text(64, 2, 2, 1, len(tokenizer))
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]}},
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": 14,
            "image_size": 56,
            "out_hidden_size": 64,
        },
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        image_start_token_id=ids["begin_of_image"],
        image_end_token_id=ids["end_of_image"],
        video_start_token_id=ids["begin_of_video"],
        video_end_token_id=ids["end_of_video"],
        tie_word_embeddings=False,
    )
    model = Glm4vForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = _qwen_image_processor("Glm4vImageProcessor", 14)
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "Glm4vProcessor"})


def _clip() -> dict[str, object]:
    vision = _siglip() | {"model_type": "clip_vision_model", "projection_dim": 64}
    del vision["vision_use_head"]
    return vision


def build_llava(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(["<image>"], "<image>")
    config = LlavaConfig(
        text_config={"model_type": "llama"} | _text(64, 2, 2, 1, len(tokenizer)),
        vision_config=_clip(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 56},
        "crop_size": {"height": 56, "width": 56},
    }
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "LlavaProcessor"} | _LLAVA)


def build_llava_next(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = _tokenizer(["<image>"], "<image>")
    grids = [[56, 112], [112, 56], [112, 112]]
    config = LlavaNextConfig(
        text_config={"model_type": "llama"} | _text(64, 2, 2, 1, len(tokenizer)),
        vision_config=_clip(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        image_grid_pinpoints=grids,
        tie_word_embeddings=False,
    )
    model = LlavaNextForConditionalGeneration(config)
    _spread(model, seed)
    image_processor = {
        "image_processor_type": "LlavaNextImageProcessor",
        "size": {"shortest_edge": 56},
        "crop_size": {"height": 56, "width": 56},
        "image_grid_pinpoints": grids,
    }
    return _save(folder, model, tokenizer, image_processor, {"processor_class": "LlavaNextProcessor"} | _LLAVA)


_LLAVA = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen3_vl": build_qwen3_vl,
    "internvl": build_internvl,
    "idefics3": build_idefics3,
    "smolvlm": build_smolvlm,
    "llava_onevision": build_llava_onevision,
}

# Families that load and are exact, but whose answers are computed with a prompt of their own.
OTHER_BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_vl": build_qwen2_vl,
    "qwen3_vl_moe": build_qwen3_vl_moe,
    "qwen3_5": build_qwen3_5,
    "glm4v": build_glm4v,
    "llava": build_llava,
    "llava_next": build_llava_next,
    "gemma3": build_gemma3,
}


def begin_with_bos(folder: Path, *, in_template: bool) -> Path:
    """The folder with a tokenizer that puts `<bos>` in front of every text, as Gemma's and Llama's do.

    `<bos>` is the id of a token that texts do not use, so that the weights need not change. With `in_template` the chat
    template writes it too, as those of Gemma 3 and Idefics3-Llama3 do.
    """
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = "<|endoftext|>"
    core = tokenizer.backend_tokenizer
    core.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))]
    )
    core.save(str(folder / "tokenizer.json"))
    file = folder / "tokenizer_config.json"
    stated = json.loads(file.read_text()) | {"bos_token": bos}
    file.write_text(json.dumps(stated))
    if in_template:
        template = folder / "chat_template.jinja"
        template.write_text("{{ bos_token }}" + template.read_text())
    return folder


def with_real_generation_config(folder: Path) -> Path:
    """The folder with the generation_config.json that Qwen2.5-VL ships: near-greedy, a penalty, two stop tokens."""
    stated = {
        "bos_token_id": 0,
        "pad_token_id": 0,
        "do_sample": True,
        "eos_token_id": [2, 0],
        "repetition_penalty": 1.05,
        "temperature": 1e-06,
        "top_k": 1,
        "top_p": 0.001,
    }
    (folder / "generation_config.json").write_text(json.dumps(stated))
    return folder


def with_rows_beyond_the_tokenizer(folder: Path, rows: int = 64) -> Path:
    """The folder with more embedding rows than its tokenizer has tokens, as hub folders are padded."""
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model.resize_token_embeddings(model.config.get_text_config().vocab_size + rows)
    model.save_pretrained(folder)
    return folder


def as_the_hub_had_it(folder: Path) -> Path:
    """A Qwen2.5-VL folder as of early 2025: keys `visual.` and `model.`, two shards, chat_template.json."""
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value
        for name, value in weights.items()
    }
    names = sorted(old)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: old[name] for name in held}, folder / file, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    where = {name: file for file, held in shards.items() for name in held}
    index = {"metadata": {"total_size": sum(v.nbytes for v in old.values())}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    return folder
