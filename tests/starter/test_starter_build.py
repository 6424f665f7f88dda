"""A build is a function of its seed, and one that was stopped goes on to the same weights."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig

from selfsight.errors import SelfsightError
from selfsight.starter import build as building
from selfsight.starter.architecture import starter_config
from selfsight.starter.build import build
from selfsight.starter.corpus import CAREFUL, MIXTURE
from selfsight.starter.pretrain import Stage

STAGES = (
    Stage("look", CAREFUL, steps=3, pages=2, lr=1e-3, final_lr=1e-3, warmup=1, segments=1),
    Stage("careful", CAREFUL, steps=5, pages=2, lr=1e-3, final_lr=1e-4, warmup=1, segments=3),
    Stage("mixture", MIXTURE, steps=3, pages=2, lr=1e-4, final_lr=1e-5, warmup=1, segments=3),
)


class Stopped(Exception):
    """Stands for a build that is killed."""


@pytest.fixture(autouse=True, scope="module")
def tiny(tokenizer: PreTrainedTokenizerFast) -> Iterator[None]:
    """Eleven steps, two layers per tower, a checkpoint every two steps, and the tokenizer of the session (another test
    shows that it is a function of the seed)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "STAGES", STAGES)
        patch.setattr(building, "_tokenizer", lambda seed: tokenizer)
        patch.setattr(building, "starter_config", shallow_config)
        patch.setattr(building, "SAVE_EVERY", 2)
        yield


def shallow_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    stored = starter_config(tokenizer).to_dict()
    stored["text_config"] |= {"num_hidden_layers": 2, "layer_types": None, "max_window_layers": 2}
    stored["vision_config"] |= {"depth": 2, "fullatt_block_indexes": [1]}
    return Qwen2_5_VLConfig(**stored)


def weights(folder: Path) -> str:
    return hashlib.blake2b((folder / "model.safetensors").read_bytes()).hexdigest()


def run(folder: Path, out: str = "out", *, seed: int = 0, scale: float = 1.0) -> str:
    """Builds into folder/out with the checkpoints of folder/work; the weights' hash."""
    build(folder / out, work=folder / "work", seed=seed, scale=scale, workers=0, say=lambda line: None)
    return weights(folder / out)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> Callable[[], None]:
    real, done = building.batch_loss, [0]

    def loss(*arguments: object) -> torch.Tensor:
        if done[0] == steps:
            raise Stopped
        done[0] += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "batch_loss", loss)
    return lambda: monkeypatch.setattr(building, "batch_loss", real)


@pytest.fixture(scope="module")
def undisturbed(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights' hash of a build that was never stopped."""
    return run(tmp_path_factory.mktemp("undisturbed"))


def test_a_build_is_a_function_of_its_seed(tmp_path: Path, undisturbed: str) -> None:
    assert run(tmp_path / "again") == undisturbed
    assert run(tmp_path / "other", seed=1) != undisturbed


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 8, 10])
def test_a_stopped_build_goes_on_to_the_same_weights(
    tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Stopped before the first checkpoint, at one, between stages (3, 8), inside one, and before the last step."""
    let_go = stop_after(monkeypatch, steps)
    with pytest.raises(Stopped):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    let_go()
    assert run(tmp_path) == undisturbed


def test_a_finished_build_is_written_again_without_a_step(
    tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    stop_after(monkeypatch, 0)
    assert run(tmp_path, "elsewhere") == undisturbed


def test_every_stage_leaves_its_model(tmp_path: Path) -> None:
    run(tmp_path)
    names = [stage.name for stage in STAGES]
    after = [weights(tmp_path / "work" / f"after-{name}") for name in names]
    assert len(set(after)) == len(names) and after[-1] == weights(tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_stage_that_was_stopped_while_its_model_was_written_still_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = building._export

    def killed(*arguments: object) -> None:
        raise Stopped

    monkeypatch.setattr(building, "_export", killed)
    with pytest.raises(Stopped):
        run(tmp_path)
    monkeypatch.setattr(building, "_export", real)
    run(tmp_path)
    assert (tmp_path / "work" / f"after-{STAGES[0].name}" / "model.safetensors").is_file()


@pytest.mark.parametrize(("seed", "scale"), [(1, 1.0), (0, 2.0)])
def test_the_work_of_another_build_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, scale: float
) -> None:
    stop_after(monkeypatch, 3)
    with pytest.raises(Stopped):
        run(tmp_path)
    before = (tmp_path / "work" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(SelfsightError, match="belongs to another build") as refused:
        run(tmp_path, seed=seed, scale=scale)
    assert str(tmp_path / "work" / "checkpoint.safetensors") in str(refused.value)
    assert "--work" in (refused.value.hint or "")
    assert (tmp_path / "work" / "checkpoint.safetensors").read_bytes() == before


def test_the_pace_is_told_every_twenty_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "STAGES", (Stage("look", CAREFUL, 45, 1, 1e-3, 1e-4, 1, segments=1),))
    monkeypatch.setattr(building, "SAVE_EVERY", 100)
    lines: list[str] = []
    build(tmp_path / "out", work=tmp_path / "work", workers=0, say=lines.append)
    assert [line.split(" loss ")[0] for line in lines] == ["look 20/45", "look 40/45"]
    first, second = (float(line.split()[3]) for line in lines)
    assert second < first  # and it learns
