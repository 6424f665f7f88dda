"""Damaged, hostile and merely unusual model folders: each is loaded right, or refused with the cause.

Nothing else may come out of a folder: no other exception, no stall, no control character, no gigabytes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.language.prompts import taught_pack
from selfsight.policy import LoraOptions
from selfsight.policy.device import choose_device
from selfsight.policy.open import open_policy
from tiny_models import build_gemma3

from .conftest import FAMILIES, FAST, Load, open_image

TESTS = Path(__file__).parents[1]
Change = Callable[[Path], None]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123\n"


def config(file: str = "config.json", part: str | None = None, **values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text()) if path.exists() else {}
        (content if part is None else content[part]).update(values)
        path.write_text(json.dumps(content))

    return change


def text(file: str, content: str) -> Change:
    return all_of(
        lambda folder: (folder / file).unlink(missing_ok=True), lambda folder: (folder / file).write_text(content)
    )


def link(file: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return change


def pipe(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        os.mkfifo(folder / file)

    return change


def folder_at(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).mkdir()

    return change


def weights(edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        state = load_file(path)
        save_file(edit(state) or state, path, {"format": "pt"})

    return change


def without(pattern: str) -> Change:
    return weights(lambda state: {name: tensor for name, tensor in state.items() if not re.search(pattern, name)})


def renamed(prefix: str) -> Change:
    return weights(lambda state: {prefix + name: tensor for name, tensor in state.items()})


def filled(value: float, name: str = "norm.weight") -> Change:
    def edit(state: dict[str, torch.Tensor]) -> None:
        next(tensor for key, tensor in state.items() if key.endswith(name)).view(-1)[0] = value

    return weights(edit)


def cast(dtype: torch.dtype) -> Change:
    return weights(lambda state: {n: t.to(dtype) if n.endswith("down_proj.weight") else t for n, t in state.items()})


def index(target: str) -> Change:
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        torch.save(state, folder / "w.bin")
        content = {"metadata": {}, "weight_map": dict.fromkeys(state, target)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return change


def larger_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 9999, "content": "<|beyond|>"})
    path.write_text(json.dumps(content))


def padded_rows(folder: Path) -> None:
    def edit(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        wide = ("embed_tokens.weight", "lm_head.weight")
        return {n: torch.cat([t, t[:7]]) if n.endswith(wide) else t for n, t in state.items()}

    size = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    weights(edit)(folder)
    config(part="text_config", vocab_size=size + 7)(folder)


def long_list(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}")


def all_of(*changes: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "config a pipe": (pipe("config.json"), "not a regular file"),
    "config a device": (link("config.json", "/dev/zero"), "not a regular file"),
    "config a folder": (folder_at("config.json"), "config.json"),
    "config a dangling link": (link("config.json", "nowhere"), "config.json"),
    "config a loop": (link("config.json", "config.json"), "config.json"),
    "config a list": (text("config.json", "[1]"), "JSON object"),
    "config null": (text("config.json", "null"), "JSON object"),
    "config empty": (text("config.json", ""), "config.json: cannot be read"),
    "config not UTF-8": (all_of(lambda f: (f / "config.json").write_bytes(b'{"a":"\xff"}')), "cannot be read"),
    "config an LFS pointer": (text("config.json", LFS), "git lfs pull"),
    "config deep": (long_list, "nested"),
    "config 70 deep": (lambda f: config(x=json.loads("[" * 70 + "]" * 70))(f), "nested more than"),
    "config of 12 MB": (text("config.json", '{"a":"' + "x" * 12_000_000 + '"}'), "the limit is"),
    "config with a number of 5,000 digits": (text("config.json", '{"a":' + "9" * 5000 + "}"), "cannot be read"),
    "adapter config a pipe": (pipe("adapter_config.json"), "adapter_config"),
    "adapter beside": (config("adapter_config.json", r=4), "holds a LoRA adapter"),
    "adapter weights beside": (text("adapter_model.safetensors", "x"), "holds a LoRA adapter"),
    "adapter alone": (
        all_of(
            config("adapter_config.json", base_model_name_or_path="owner/base"), lambda f: (f / "config.json").unlink()
        ),
        "adapter of owner/base",
    ),
    "index a device": (link("model.safetensors.index.json", "/dev/zero"), "not a regular file"),
    "index to bin": (index("w.bin"), r"w\.bin.*safetensors"),
    "index outside": (index("../part.safetensors"), "plain name"),
    "index absolute": (index("/tmp/x.safetensors"), "plain name"),
    "index to nothing": (index("lost.safetensors"), "lost.safetensors is missing"),
    "index without map": (
        all_of(index("part.safetensors"), text("model.safetensors.index.json", "{}")), "weight_map",
    ),
    "weights under another name": (all_of(lambda f: (f / "model.safetensors").rename(f / "w.safetensors")), "neither"),
    "weights a pipe": (pipe("model.safetensors"), "not a regular file"),
    "weights a device": (link("model.safetensors", "/dev/zero"), "not a regular file"),
    "weights an LFS pointer": (text("model.safetensors", LFS), "git lfs pull"),
    "weights empty": (text("model.safetensors", ""), "truncated"),
    "weights of a huge header": (all_of(lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64)), "truncated"),
    "weights with a bad header": (
        all_of(lambda f: (f / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]" + b"0" * 64)),
        "header",
    ),
    "weights with escapes": (
        weights(lambda state: state | {"\x1b]0;PWNED\x07\x1b[2J": torch.zeros(1)}), "control characters",
    ),
    "tokenizer an LFS pointer": (text("tokenizer.json", LFS), "git lfs pull"),
    "tokenizer a pipe": (pipe("tokenizer.json"), "not a regular file"),
    "tokenizer a list": (text("tokenizer.json", "[]"), "JSON object"),
    "tokenizer of nothing": (text("tokenizer.json", "{}"), "tokenizer"),
    "tokenizer of another kind": (config("tokenizer.json", model={"type": "Nonsense"}), "tokenizer"),
    "tokenizer missing": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
    "tokenizer too large": (larger_tokenizer, "beyond.*embeddings"),
    "tokenizer config a list": (text("tokenizer_config.json", "[]"), "JSON object"),
    "vocabulary a list": (text("vocab.json", "[]"), "JSON object"),
    "generation config a pipe": (pipe("generation_config.json"), "not a regular file"),
    "generation config a list": (text("generation_config.json", "[]"), "JSON object"),
    "template a pipe": (pipe("chat_template.jinja"), "not a regular file"),
    "template of 2 MB": (text("chat_template.jinja", "x" * 2_000_000), "the limit is"),
    "template json broken": (text("chat_template.json", "{"), "chat_template.json"),
    "more templates a pipe": (
        all_of(lambda f: (f / "additional_chat_templates").mkdir(), pipe("additional_chat_templates/a.jinja")),
        "not a regular file",
    ),
    "template broken": (text("chat_template.jinja", "{% for %}"), "Model "),
    "template that refuses": (text("chat_template.jinja", "{{ raise_exception('\x1b[2Jno') }}"), "no"),
    "processor config a device": (link("preprocessor_config.json", "/dev/zero"), "not a regular file"),
    "image processor unknown": (config("preprocessor_config.json", image_processor_type="Nonsense"), "image processor"),
    "image processor a number": (config("preprocessor_config.json", image_processor_type=3), "Model "),
    "patch size 0": (config("preprocessor_config.json", patch_size=0), "Model "),
    "patch size a word": (config("preprocessor_config.json", patch_size="x"), "Model "),
    "bitsandbytes": (config(quantization_config={"load_in_4bit": True}), "quantised.*bitsandbytes"),
    "awq": (config(quantization_config={"quant_method": "awq"}), "quantised.*awq"),
    "gptq inside": (config(part="text_config", quantization_config={"quant_method": "gptq"}), "quantised.*gptq"),
    "compressed tensors": (config(compression_config={"format": "pack-quantized"}), "quantised.*pack"),
    "quantised by a list": (config(quantization_config=[1]), "quantised"),
    "float8 weights": (cast(torch.float8_e4m3fn), "quantised.*F8_E4M3"),
    "int8 weights": (cast(torch.int8), "quantised.*I8"),
    "uint8 weights": (cast(torch.uint8), "quantised.*U8"),
    "packed weights": (weights(lambda s: s | {"a.qweight": torch.zeros(2, dtype=torch.int32)}), "quantised.*qweight"),
    "attention of the hub": (config(_attn_implementation="evil-org/evil-kernel"), "_attn_implementation"),
    "attention of the hub, inside": (config(part="vision_config", attn_implementation="a/b"), "attn_implementation"),
    "attention by part": (config(_attn_implementation={"text_config": "a/b"}), "attn_implementation"),
    "attention a number": (config(_attn_implementation=[3]), "attn_implementation"),
    "experts of the hub": (config(part="text_config", _experts_implementation="a/b"), "experts_implementation"),
    "one weight missing": (without(r"layers\.1\.mlp\.down_proj\.weight"), "1 weights are missing.*down_proj"),
    "a layer missing": (without(r"^model\.(language_model\.)?layers\.0\."), "weights are missing"),
    "vision missing": (without("visual"), "weights are missing.*visual"),
    "no head": (without("lm_head"), "1 weights are missing: lm_head"),
    "compiled": (renamed("_orig_mod."), r"missing.*begin with '_orig_mod\.'"),
    "data parallel": (renamed("module."), r"missing.*begin with 'module\.'"),
    "of peft": (renamed("base_model.model."), r"missing.*begin with 'base_model\.model\.'"),
    "no weights at all": (weights(lambda state: {"x": torch.zeros(1)}), "missing"),
    "another width": (config(part="text_config", intermediate_size=96), "another shape"),
    "another vocabulary": (config(part="text_config", vocab_size=100), "Model "),
    "fewer layers": (config(part="text_config", num_hidden_layers=1, layer_types=None), "fewer layers"),
    "no vision layers": (config(part="vision_config", depth=0), "fewer layers"),
    "more layers": (config(part="text_config", num_hidden_layers=9, layer_types=None), "missing"),
    "a million layers": (config(part="text_config", num_hidden_layers=10**6), "num_hidden_layers.*largest"),
    "a million vision layers": (config(part="vision_config", depth=10**6), "depth.*largest"),
    "a trillion labels": (config(num_labels=10**12), "num_labels.*largest"),
    "a width of a billion": (config(part="text_config", hidden_size=10**9), "Model "),
    "a vocabulary of a billion": (config(part="text_config", vocab_size=10**9), "declares more than"),
    "an inner width of a billion": (config(part="vision_config", intermediate_size=10**9), "declares more than"),
    "9,000 layers": (config(part="text_config", num_hidden_layers=9000, layer_types=None), "Model "),
    "negative layers": (config(part="text_config", num_hidden_layers=-1), "Model "),
    "width 0": (config(part="text_config", hidden_size=0), "Model "),
    "no heads": (config(part="text_config", num_attention_heads=0), "Model "),
    "heads a word": (config(part="text_config", num_attention_heads="two"), "Model "),
    "text config a list": (config(text_config=[1]), "Model "),
    "vision config null": (config(vision_config=None), "Model "),
    "rope of another kind": (config(part="text_config", rope_parameters={"rope_type": "nonsense"}), "Model "),
    "activation unknown": (config(part="text_config", hidden_act="nonsense"), "Model "),
    "model type unknown": (config(model_type="nonsense"), "Model "),
    "model type of text": (config(model_type="qwen2"), "Model "),
    "model type a number": (config(model_type=7), "Model "),
    "image token beyond": (config(image_token_id=10**6), "Model "),
    "NaN": (filled(float("nan")), "norm.weight holds 1 NaN"),
    "infinite": (filled(float("-inf")), "norm.weight holds 1 NaN"),
}  # fmt: skip
LOADED: dict[str, Change] = {
    "unchanged": lambda folder: None,
    "weights by an index": index("part.safetensors"),
    "weights by a link": all_of(
        lambda f: (f / "model.safetensors").rename(f / "blob"), link("model.safetensors", "blob")
    ),
    "rows beyond the tokenizer": padded_rows,
    "a weight too many": weights(lambda state: state | {"extra.weight": torch.zeros(3)}),
    "quantisation null": config(quantization_config=None),
    "attention sdpa": config(_attn_implementation="sdpa"),
    "generation of two": config("generation_config.json", eos_token_id=1, num_return_sequences=2),
    "generation that is not saved": config("generation_config.json", eos_token_id=1, temperature=0.9, top_p=0.6),
    "generation of early stops": config("generation_config.json", eos_token_id=[1, 0], early_stopping=True),
    "other files": all_of(text("notes.txt", "x"), text("trainer_state.json", "[1]")),
}  # fmt: skip


def tried(folders: list[Path]) -> dict[str, tuple[str, str]]:
    """What opening each of the folders came to, by its name; nothing raw may be printed."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "opening_folders.py")],
        input="\n".join(map(str, folders)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "\x1b" not in done.stdout + done.stderr and "LOAD REPORT" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {name: (outcome, said) for name, outcome, said in lines}


@pytest.fixture(scope="module")
def outcomes(folders: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    root = tmp_path_factory.mktemp("folders")
    changed = []
    changes = {name: change for name, (change, _) in REFUSED.items()} | LOADED
    for name, change in changes.items():
        changed.append(Path(shutil.copytree(folders("qwen2_5_vl"), root / name)))
        change(changed[-1])
    families = [folders(family) for family in FAMILIES] + [build_gemma3(root / "gemma3")]
    return tried(changed + families)


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_trained_is_refused_with_the_cause(
    outcomes: dict[str, tuple[str, str]], name: str
) -> None:
    outcome, said = outcomes[name]
    assert outcome == "refused", (outcome, said)
    assert re.search(REFUSED[name][1], said) and "\n  -> " in said
    assert len(said) < 4000 and not re.search("[\x00-\x09\x0b-\x1f\x7f]", said)


@pytest.mark.parametrize("name", [*LOADED, *FAMILIES, "gemma3"])
def test_a_folder_that_is_merely_unusual_is_loaded(outcomes: dict[str, tuple[str, str]], name: str) -> None:
    assert outcomes[name][0] == "loaded", outcomes[name]


def test_an_unknown_prompt_pack_is_refused_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"selfsight_prompt_pack": ["compact"]}')
    with pytest.raises(SelfsightError, match="no prompt pack"):
        taught_pack(tmp_path)
    pipe("config.json")(tmp_path)
    with pytest.raises(SelfsightError, match="not a regular file"):
        taught_pack(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_vision_holds_under_lora_of_any_targets(load: Load, family: str) -> None:
    tower = "vision_model" if family in ("idefics3", "smolvlm") else "vision_tower"
    tower = "visual" if family.startswith("qwen") else tower
    targets = ("q_proj", "v_proj", "up_proj", "down_proj")
    free = load(family, learning=FAST, lora=LoraOptions(rank=2, targets=targets)).vlm.model
    kept = load(family, learning=FAST, lora=LoraOptions(rank=2, targets=targets), freeze_vision=True).vlm.model
    adapted, left = ({n for n, p in model.named_parameters() if p.requires_grad} for model in (free, kept))
    assert left and not any(f".{tower}." in name for name in left)
    assert adapted - left == {name for name in adapted if f".{tower}." in name}


def test_adapters_in_the_vision_tower_are_counted_and_refused_when_there_are_no_others(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    load(learning=FAST, lora=LoraOptions(rank=2, targets=("q_proj", "up_proj")))
    assert "2 of 6 LoRA adapters lie in the vision tower" in caplog.text
    with pytest.raises(SelfsightError, match=r"all 2 layers .* in the vision tower"):
        load(learning=FAST, lora=LoraOptions(rank=2, targets=("qkv",)), freeze_vision=True)


def test_a_device_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(SelfsightError, match=r"device=cuda: .* no CUDA device"):
        open_policy(load_config("visplay-smoke", ["device=cuda", "model=/nowhere"]), "x", open_image, trainable=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (choose_device("auto"), choose_device("cuda"), choose_device("cuda:1")) == ("cuda", "cuda", "cuda:1")
    with pytest.raises(SelfsightError, match="CUDA devices 0 to 1"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("device", "said"), [("mps", "not supported"), ("mps:0", "not supported"), ("gpu", "auto, cpu")]
)
def test_a_device_that_is_none_is_named(device: str, said: str) -> None:
    with pytest.raises(SelfsightError, match=said):
        load_config("visplay-smoke", [f"device={device}"])
