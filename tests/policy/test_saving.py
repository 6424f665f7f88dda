"""Model folders that are written: what a fresh reader gets from them, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import LoraOptions, Policy
from selfsight.policy.weights import plain_state
from selfsight.run.read_back import UnfaithfulFolder, check_holds, sample
from tiny_models import BUILDERS, build_gemma3, build_qwen2_5_vl

from .conftest import FAST, PROMPTS, Load, draw_groups

FAMILIES = sorted([*BUILDERS, "gemma3"])
PAIRS = [(PROMPTS[0], np.array([20, 30, 40])), (PROMPTS[3], np.array([50, 60]))]


@pytest.fixture(scope="module")
def sources(folders: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of the families and of variants as the hub has them: tied, old names of tensors, shards."""
    root = tmp_path_factory.mktemp("sources")
    makers: dict[str, Callable[[Path], object]] = {
        "gemma3": build_gemma3,
        "tied": lambda path: build_qwen2_5_vl(path, tied=True),
        "tied gemma3": lambda path: tied(build_gemma3(path)),
        "old names": lambda path: old_names(shutil.copytree(folders("qwen2_5_vl"), path)),
        "shards": lambda path: shards(shutil.copytree(folders("internvl"), path)),
        "no generation_config": lambda path: (
            shutil.copytree(folders("idefics3"), path) / "generation_config.json"
        ).unlink(),
    }

    def folder(kind: str) -> Path:
        if kind not in makers:
            return folders(kind)
        if not (root / kind).exists():
            makers[kind](root / kind)
        return root / kind

    return folder


def tied(folder: Path) -> Path:
    """One matrix for embeddings and head, said at the top level alone, as real folders of Gemma 3 have it."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].pop("tie_word_embeddings", None)
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(folder / "model.safetensors")
    state.pop("lm_head.weight", None)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


def old_names(folder: Path) -> Path:
    """The names of tensors that Qwen2.5-VL has on the hub: `visual.` and `model.`, and `lm_head.` as it is."""
    file = folder / "model.safetensors"
    state = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.startswith("visual.") for name in state)
    save_file(state, file, {"format": "pt"})
    return folder


def shards(folder: Path) -> Path:
    """Two weight files and an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def trained(load: Load, folder: Path, lora: LoraOptions | None = None, **options: Any) -> Policy:
    policy = load(folder=folder, learning=FAST, lora=lora, **options)
    policy.learn(draw_groups(policy))
    policy.step()
    policy.publish()
    return policy


def plain_logprobs(model: Any, policy: Policy, prompt: Prompt, completion: np.ndarray) -> np.ndarray:
    """Log-probs of a completion by a plain model's own forward pass."""
    encoder = policy.vlm.encoder
    encoded = encoder.encode(prompt)
    ids = torch.from_numpy(np.concatenate([encoded.input_ids, completion]))[None]
    types = np.concatenate([encoded.token_types, np.zeros_like(completion)])[None]
    arguments: dict[str, Any] = dict(encoder.image(prompt.image).pixels) if prompt.image is not None else {}
    if policy.vlm.model.config.model_type == "gemma3":
        arguments["token_type_ids"] = torch.from_numpy(types)
    elif "image_grid_thw" in arguments:
        arguments["mm_token_type_ids"] = torch.from_numpy(types)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **arguments).logits[0].float()
    logits[:, list(encoder.placeholder_ids)] = -torch.inf
    scores = logits.log_softmax(-1)[len(encoded.input_ids) - 1 : -1]
    return scores.gather(1, torch.from_numpy(completion)[:, None])[:, 0].numpy()


def largest_difference(model: Any, policy: Policy) -> float:
    """Between the log-probs of a policy and those of a plain model."""
    ours = policy.logprobs(PAIRS)
    theirs = [plain_logprobs(model, policy, prompt, ids) for prompt, ids in PAIRS]
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


# ---- what a reader gets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", [*FAMILIES, "tied", "old names", "shards", "no generation_config"])
def test_a_fresh_reader_of_a_saved_folder_gets_the_trained_log_probs(
    load: Load, sources: Callable[[str], Path], kind: str, lora: LoraOptions | None, tmp_path: Path
) -> None:
    policy = trained(load, sources(kind), lora)
    policy.save(tmp_path / "saved")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert largest_difference(plain, policy) < 1e-5
    assert largest_difference(AutoModelForImageTextToText.from_pretrained(policy.vlm.folder), policy) > 1e-3


def test_a_folder_with_old_names_keeps_them(load: Load, sources: Callable[[str], Path], tmp_path: Path) -> None:
    trained(load, sources("old names")).save(tmp_path)
    assert (
        load_file(tmp_path / "model.safetensors").keys() == load_file(sources("old names") / "model.safetensors").keys()
    )


def test_saving_does_not_move_the_random_numbers_of_a_run(load: Load, tmp_path: Path) -> None:
    policy = load(learning=FAST)
    before = torch.get_rng_state()
    policy.save(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2), LoraOptions(rank=2, targets=("embed_tokens",))])
def test_a_folder_states_the_type_of_its_weights(
    load: Load, sources: Callable[[str], Path], lora: LoraOptions | None, tmp_path: Path
) -> None:
    """All weights are trained in float32, whatever is multiplied in; a base under adapters is held as it is used."""
    policy = trained(load, sources("tied"), lora, dtype="bfloat16")
    policy.save(tmp_path)
    wanted = torch.float32 if lora is None else torch.bfloat16
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {wanted}
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype="auto")
    assert {parameter.dtype for parameter in plain.parameters()} == {wanted}
    expected = plain_state(policy.vlm.model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in plain.state_dict().items())


def test_two_savings_are_equal_bytes(load: Load, sources: Callable[[str], Path], tmp_path: Path) -> None:
    policy = trained(load, sources("tied"), LoraOptions(rank=2))
    for name in ("one", "two"):
        policy.save(tmp_path / name)
        policy.save_adapter(tmp_path / f"{name}_adapter", base="owner/name")
    for suffix in ("", "_adapter"):
        for file in (tmp_path / f"one{suffix}").iterdir():
            assert file.read_bytes() == (tmp_path / f"two{suffix}" / file.name).read_bytes()


# ---- generation settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.9, "top_p": 0.6},
        {"do_sample": False, "temperature": 1e-6},
        {"top_k": 1},
        {"early_stopping": True},
        {"do_sample": True, "temperature": 1e-6, "top_k": 1, "top_p": 0.001, "repetition_penalty": 1.05},
        {"do_sample": False, "num_beams": 1, "length_penalty": 2.0, "diversity_penalty": 0.5},
        {"do_sample": False, "min_p": 0.1, "typical_p": 0.5, "cache_implementation": "static"},
        {"max_new_tokens": 10, "max_length": 5, "unknown_setting": [1, 2]},
    ],
    ids=str,
)
def test_generation_settings_are_copied_whatever_transformers_says_of_them(
    load: Load, sources: Callable[[str], Path], settings: dict[str, object], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(sources("qwen2_5_vl"), tmp_path / "source"))
    text = json.dumps({"eos_token_id": 2, "pad_token_id": 0} | settings, separators=(", ", " : "))
    (source / "generation_config.json").write_text(text)
    policy = trained(load, source)
    policy.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "generation_config.json").read_text() == text
    assert load(folder=tmp_path / "saved").vlm.eos_ids == policy.vlm.eos_ids


def test_a_configuration_that_cannot_be_written_is_refused_before_training(load: Load, tmp_path: Path) -> None:
    policy = load(learning=FAST)
    policy.vlm.model.config._auto_class = None
    policy.vlm.model.config.unwritable = object()
    from selfsight.policy.saving import check_savable

    with pytest.raises(SelfsightError, match="could be trained but not saved"):
        check_savable(policy.vlm)


# ---- a head that is tied to the embeddings -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tied", "tied gemma3"])
@pytest.mark.parametrize("targets", [("q_proj", "lm_head"), ("q_proj", "embed_tokens"), ("lm_head", "embed_tokens")])
def test_a_tied_head_that_was_adapted_says_that_it_is_its_own(
    load: Load, sources: Callable[[str], Path], kind: str, targets: tuple[str, ...], tmp_path: Path
) -> None:
    policy = trained(load, sources(kind), LoraOptions(rank=2, targets=targets))
    before = AutoModelForImageTextToText.from_pretrained(sources(kind))
    assert before.get_output_embeddings().weight is before.get_input_embeddings().weight
    policy.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config["text_config"]["tie_word_embeddings"] is False
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert plain.get_output_embeddings().weight is not plain.get_input_embeddings().weight
    assert largest_difference(plain, policy) < 1e-5


def test_a_tied_head_that_was_not_adapted_stays_tied(
    load: Load, sources: Callable[[str], Path], tmp_path: Path
) -> None:
    trained(load, sources("tied"), LoraOptions(rank=2)).save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is True
    assert not any("lm_head" in name for name in load_file(tmp_path / "model.safetensors"))


# ---- what is refused ---------------------------------------------------------------------------------------


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})


HEAD = "lm_head.weight"
LAYER = "model.language_model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "no .*safetensors file holds a tensor"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "read"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds adapters"),
        (lambda f: changed(f, lambda s: s.pop(HEAD)), "missing keys.*lm_head"),
        (lambda f: changed(f, lambda s: s.update({"x.weight": torch.zeros(2)})), "unexpected keys.*x.weight"),
        (lambda f: changed(f, lambda s: s.update({HEAD: s[HEAD][:-1].contiguous()})), HEAD),
        (lambda f: changed(f, lambda s: s.update({HEAD: s[HEAD].bfloat16()})), f"{HEAD}.* is BF16, not F32"),
        (lambda f: changed(f, lambda s: s.update({HEAD: s[HEAD].to(torch.float8_e4m3fn)})), "is F8_E4M3"),
        (lambda f: changed(f, lambda s: s.update({HEAD: s[HEAD] * 1.001})), f"{HEAD}.* holds other values"),
        (lambda f: changed(f, lambda s: s.update({HEAD: s[HEAD].roll(1, 0)})), f"{HEAD}.* holds other values"),
        (lambda f: changed(f, lambda s: s[HEAD][-1, -1].fill_(7.0)), f"{HEAD}.* holds other values"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_another_model_is_refused_by_tensor_and_file(
    load: Load, sources: Callable[[str], Path], spoil: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    policy = load("qwen2_5_vl", learning=FAST)
    policy.save(tmp_path / "saved")
    state = policy.vlm.model.state_dict()
    check_holds(tmp_path / "saved", state)
    spoil(tmp_path / "saved")
    with pytest.raises(UnfaithfulFolder, match=f"(?s){tmp_path}.*{said}"):
        check_holds(tmp_path / "saved", state)


def test_a_wrong_tensor_is_named_by_the_file_that_holds_it(
    load: Load, sources: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sources("shards"), tmp_path / "shards"))
    state = load(folder=folder).vlm.model.state_dict()
    check_holds(folder, state)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    name = next(name for name in index if name.endswith("layers.1.mlp.down_proj.weight"))
    file = folder / index[name]
    save_file(load_file(file) | {name: load_file(file)[name] + 1}, file, {"format": "pt"})
    with pytest.raises(UnfaithfulFolder, match=rf"{file}: .*layers\.1\.mlp\.down_proj\.weight' holds other values"):
        check_holds(folder, state)


@pytest.mark.parametrize("gone", ["entry", "index", "shard"])
def test_an_index_that_does_not_agree_with_its_files_is_refused(
    load: Load, sources: Callable[[str], Path], gone: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sources("shards"), tmp_path / "shards"))
    state = load(folder=folder).vlm.model.state_dict()
    index = folder / "model.safetensors.index.json"
    if gone == "index":
        index.unlink()
    elif gone == "shard":
        (folder / "model-00002-of-00002.safetensors").unlink()
    else:
        content = json.loads(index.read_text())
        content["weight_map"].popitem()
        index.write_text(json.dumps(content))
    with pytest.raises(UnfaithfulFolder, match="index"):
        check_holds(folder, state)


def test_a_model_that_transformers_writes_as_adapters_only_is_refused_and_not_called_saved(
    load: Load, sources: Callable[[str], Path], tmp_path: Path
) -> None:
    """What transformers does once it has loaded an adapter onto the model by itself."""
    policy = load("qwen2_5_vl", learning=FAST)
    from peft import LoraConfig

    policy.vlm.model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(UnfaithfulFolder, match=r"config\.json is missing|refuses to write|adapter"):
        policy.save(tmp_path / "saved")


def test_the_sampled_places_are_fixed_and_hold_both_ends() -> None:
    tensor = torch.arange(10_000.0).reshape(100, 100)
    found = sample(tensor)
    assert torch.equal(found, sample(tensor.clone())) and len(found) == 32
    assert (found[0], found[-1]) == (0.0, 9999.0)
    assert torch.equal(sample(torch.arange(3)), torch.arange(3))
    assert sample(torch.zeros(0, 4)).numel() == 0 and sample(torch.tensor(5.0)).tolist() == [5.0]


# ---- adapters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*FAMILIES, "tied", "old names"])
def test_peft_loads_the_adapter_folder_onto_the_base_model(
    load: Load, sources: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    from peft import PeftModel

    policy = trained(load, sources(kind), LoraOptions(rank=2, alpha=8.0))
    policy.save_adapter(tmp_path, base="owner/name", revision="abc")
    base = AutoModelForImageTextToText.from_pretrained(policy.vlm.folder)
    assert largest_difference(base, policy) > 1e-3
    model = PeftModel.from_pretrained(base, tmp_path)
    assert largest_difference(model, policy) < 1e-5
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == sum("lora_A" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/name", "abc")
    assert (config["r"], config["lora_alpha"]) == (2, 8.0)


@pytest.mark.parametrize("targets", [("lm_head", "v_proj"), ("embed_tokens",)])
def test_adapters_of_head_and_embeddings_are_in_the_folder(
    load: Load, sources: Callable[[str], Path], targets: tuple[str, ...], tmp_path: Path
) -> None:
    from peft import PeftModel

    policy = trained(load, sources("tied"), LoraOptions(rank=2, targets=targets))
    policy.save_adapter(tmp_path, base="owner/name")
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(policy.vlm.folder), tmp_path)
    assert largest_difference(model, policy) < 1e-5


def test_a_model_without_adapters_has_none_to_save(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="not trained with adapters"):
        load(learning=FAST).save_adapter(tmp_path, base="owner/name")


def test_the_merged_state_is_what_is_saved(load: Load, tmp_path: Path) -> None:
    policy = load("qwen2_5_vl", learning=FAST, lora=LoraOptions(rank=2))
    policy.save(tmp_path)
    check_holds(tmp_path, plain_state(policy.vlm.model))
