"""What a run with adapters keeps of them, what an export makes of it, and a model folder that turns out wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import is_torchvision_available
from typer.testing import CliRunner

from selfsight.cli import app
from selfsight.errors import SelfsightError
from selfsight.export import export_run
from selfsight.export.generation import measured_otherwise
from selfsight.export.processor_needs import processor_needs
from selfsight.methods.visplay.run import evolve, resume
from selfsight.policy import saving
from selfsight.run import hash_path, read_journal
from selfsight.run.read_back import UnfaithfulFolder
from tiny_models import BUILDERS, build_gemma3
from watching import Watcher

from .conftest import Witnessed
from .runs import config

IDS = torch.arange(10, 30)[None]


@pytest.fixture(scope="module")
def adapted(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round with adapters."""
    folder = tmp_path_factory.mktemp("adapted")
    evolve(config(speaker, folder, "lora.r=4", "visplay.rounds=1"), progress=Watcher())
    return folder / "run"


def logprobs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits.log_softmax(-1)
    return found


@pytest.mark.parametrize("role", ["questioner", "reasoner"])
def test_a_run_keeps_adapters_that_peft_loads_to_the_merged_model(adapted: Path, speaker: Path, role: str) -> None:
    folder = adapted / "rounds" / "1"
    merged = AutoModelForImageTextToText.from_pretrained(folder / role)
    base = AutoModelForImageTextToText.from_pretrained(speaker)
    untrained = logprobs(base)
    model = PeftModel.from_pretrained(base, folder / f"{role}_adapter")
    assert (logprobs(model) - logprobs(merged)).abs().max() < 5e-5
    assert (logprobs(merged) - untrained).abs().max() > 1e-3
    stated = json.loads((folder / f"{role}_adapter" / "adapter_config.json").read_text())
    assert stated["base_model_name_or_path"] == str(speaker.resolve())
    assert not list((folder / role).glob("adapter*"))


def test_the_journal_knows_the_adapters(adapted: Path) -> None:
    written = {name: hash for entry in read_journal(adapted / "journal.jsonl") for name, hash in entry.outputs.items()}
    for role in ("questioner", "reasoner"):
        artefact = f"rounds/1/{role}_adapter"
        assert written[artefact] == hash_path(adapted / artefact)


def test_adapters_are_left_out_where_the_settings_say_so(speaker: Path, straight: Witnessed, tmp_path: Path) -> None:
    evolve(config(speaker, tmp_path, "lora.r=4", "lora.keep_adapter=false", "visplay.rounds=1"), progress=Watcher())
    for run in (tmp_path / "run", straight.path):
        assert not list(run.rglob("*adapter*"))


def test_an_export_has_the_adapters_beside_the_model(adapted: Path, speaker: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(adapted), "--out", str(tmp_path), "--what", "model"])
    assert done.exit_code == 0, done.output
    assert "adapter: its adapters alone, for peft" in done.stdout
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(speaker), tmp_path / "adapter")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert (logprobs(model) - logprobs(merged)).abs().max() < 5e-5
    for file in (tmp_path / "adapter").iterdir():
        assert str(speaker.parent).encode() not in file.read_bytes()
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "rank 4, lora_alpha 32" in card and "PeftModel.from_pretrained" in card
    record = json.loads((tmp_path / "adapter" / "provenance.json").read_text())
    assert (record["kind"], record["round"]) == ("adapter", 1)


def test_two_exports_are_equal_bytes(adapted: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_run(adapted, tmp_path / name, what="model", dtype="bfloat16")
    assert hash_path(tmp_path / "one") == hash_path(tmp_path / "two")


def test_a_damaged_adapter_folder_is_refused_before_anything_is_written(adapted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    with (run / "rounds" / "1" / "reasoner_adapter" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(
        SelfsightError, match=r"reasoner_adapter/adapter_model\.safetensors: is not what the run wrote there"
    ):
        export_run(run, tmp_path / "out", what="model")
    assert not (tmp_path / "out").exists()


def test_an_older_adapter_folder_does_not_stay_beside_another_model(
    adapted: Path, straight: Witnessed, tmp_path: Path
) -> None:
    export_run(adapted, tmp_path, what="model")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(SelfsightError, match="adapter: holds an export already"):
        export_run(straight.path, tmp_path, what="model")
    export_run(straight.path, tmp_path, what="model", force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


# ---- another floating-point type ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_export_is_of_the_type_that_was_asked_for(straight: Witnessed, dtype: Any, tmp_path: Path) -> None:
    run = straight.path
    export_run(run, tmp_path, what="model", dtype=dtype)
    source = load_file(run / "rounds" / "2" / "reasoner" / "model.safetensors")
    written = load_file(tmp_path / "model" / "model.safetensors")
    wanted = getattr(torch, dtype)
    assert written.keys() == source.keys()
    assert all(torch.equal(tensor, source[name].to(wanted)) for name, tensor in written.items())
    stated = json.loads((tmp_path / "model" / "config.json").read_text())
    assert {level["dtype"] for level in (stated, stated["text_config"], stated["vision_config"])} == {dtype}
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {wanted}
    assert f"converted to {dtype} for this export" in (tmp_path / "model" / "README.md").read_text()
    assert json.loads((tmp_path / "model" / "provenance.json").read_text())["dtype"] == dtype


def test_a_type_without_a_model_is_refused(straight: Witnessed, tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="--dtype is about the model"):
        export_run(straight.path, tmp_path, what="questions", dtype="bfloat16")


# ---- generation settings and the processor -----------------------------------------------------------------


def test_the_card_says_what_generate_does_otherwise(tmp_path: Path) -> None:
    assert measured_otherwise(tmp_path) == ""
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": 2, "do_sample": False, "temperature": 1.0, "top_p": 1, "top_k": None}))
    assert measured_otherwise(tmp_path) == ""
    file.write_text(json.dumps({"do_sample": True, "temperature": 1e-6, "top_k": 1, "repetition_penalty": 1.05}))
    said = measured_otherwise(tmp_path)
    assert "at temperature 1" in said
    assert all(part in said for part in ("temperature: 1e-06", "top_k: 1", "repetition_penalty: 1.05"))
    file.write_text(json.dumps({"do_sample": True}))
    assert "top_k: 50" in measured_otherwise(tmp_path)
    file.write_text("[")
    assert "could not be read" in measured_otherwise(tmp_path)


@pytest.mark.parametrize("family", [*sorted(BUILDERS), "gemma3"])
def test_the_packages_that_are_named_are_those_that_auto_processor_lacks(family: str, tmp_path: Path) -> None:
    """Here without torchvision: what is said to need nothing loads, and what is said to need it does not."""
    folder = {**BUILDERS, "gemma3": build_gemma3}[family](tmp_path / "model")
    needs = processor_needs(folder)
    assert needs == {"idefics3": (), "gemma3": (), "smolvlm": ("torchvision", "num2words")}.get(
        family, ("torchvision",)
    )
    if not needs:
        AutoProcessor.from_pretrained(folder)
    else:
        if is_torchvision_available():
            pytest.skip("torchvision is installed here")
        with pytest.raises((ImportError, ValueError), match=r"(?i)torchvision"):
            AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize("family", ["qwen3_vl", "idefics3"])
def test_a_folder_without_the_name_of_its_processor_is_known_by_its_model_type(family: str, tmp_path: Path) -> None:
    folder = BUILDERS[family](tmp_path / "model")
    needs = processor_needs(folder)
    (folder / "processor_config.json").unlink()
    assert processor_needs(folder) == needs


def test_card_and_terminal_name_what_auto_processor_needs(straight: Witnessed, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(straight.path), "--out", str(tmp_path), "--what", "model"])
    assert "need `pip install torchvision`" in done.stdout
    card = (tmp_path / "model" / "README.md").read_text()
    assert "`AutoProcessor` and `pipeline` need `pip install torchvision`" in card
    # What the card says to do without it is done.
    code = card.partition("```python\n")[2].partition("```")[0].replace("FOLDER", str(tmp_path / "model"))
    names: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), names)  # noqa: S102
    assert names["processor"].image_processor is not None


# ---- what a killed export leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize("exported_before", [True, False])
def test_what_a_killed_export_left_is_removed_and_named(
    straight: Witnessed, tmp_path: Path, exported_before: bool
) -> None:
    if exported_before:
        export_run(straight.path, tmp_path)
    for name in ("model", "questions", "adapter"):
        (tmp_path / f".{name}.tmp").mkdir()
        (tmp_path / f".{name}.tmp" / "half").write_text("half")
    done = CliRunner().invoke(app, ["export", str(straight.path), "--out", str(tmp_path)])
    assert (done.exit_code == 2) is exported_before
    assert not list(tmp_path.glob(".*"))
    said = " ".join(done.output.split())
    assert "removed, an export that was killed had left it" in said
    for name in ("model", "questions", "adapter"):
        assert f"/.{name}.tmp" in said


# ---- a folder that turns out wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["questioner", "reasoner"])
def test_a_model_that_is_written_wrongly_stops_the_run_and_loses_nothing(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """transformers writes a model with a wrong tensor, once; the run goes on to the weights of an undisturbed one."""
    original = saving.weight_files

    def spoiled(folder: Path) -> dict[str, Path]:
        if role in folder.name and folder.parent.name == "2":
            file = folder / "model.safetensors"
            state = load_file(file)
            state["lm_head.weight"] += 1
            from safetensors.torch import save_file

            save_file(state, file, {"format": "pt"})
        return original(folder)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "weight_files", spoiled)
        with pytest.raises(UnfaithfulFolder, match=r"'lm_head\.weight' holds other values") as refused:
            evolve(config(speaker, tmp_path), progress=Watcher())
    assert "selfsight resume" in (refused.value.hint or "")
    run = tmp_path / "run"
    assert (run / "rounds" / "1" / role / "model.safetensors").is_file()
    assert not (run / "rounds" / "2" / role).exists()
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    assert f"round-2/{role}" in (newest / "state.json").read_text()
    resume(run, progress=Watcher())
    for round in (1, 2):
        ours, theirs = (path / "rounds" / str(round) / role for path in (run, straight.path))
        assert hash_path(ours) == hash_path(theirs)
