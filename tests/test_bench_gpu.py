"""The bench for GPUs, on the stand-in for one: it runs, checks before it times, and says what did not fit."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import gpu  # noqa: E402
from learner import Update  # noqa: E402
from selfsight.errors import SelfsightError  # noqa: E402
from selfsight.policy.blocks import TrieAttention  # noqa: E402
from selfsight.starter.architecture import train_tokenizer  # noqa: E402
from standin import standing_in  # noqa: E402


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A CUDA device whose clock and memory say the same always."""
    small = gpu.Shape(
        {"num_hidden_layers": 2, "vocab_size": 8192}, {"depth": 2, "fullatt_block_indexes": [1]}, 60, 3, 16
    )
    monkeypatch.setitem(gpu.SHAPES, "tiny", small)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    answers: dict[str, Any] = {
        "is_available": True, "synchronize": None, "empty_cache": None, "memory_allocated": 2**30,
        "reset_peak_memory_stats": None, "max_memory_allocated": 3 * 2**30, "get_device_name": "a card",
        "is_bf16_supported": True,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *args, answer=answer: answer)
    with standing_in():
        yield monkeypatch


def run(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert gpu.main(["--shape", "tiny", "--repeats", "2", "--peak-tflops", "2000"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_all_systems_are_timed_and_compared(card: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys)
    learner, drawn = found["learner"], found["sampler"]
    assert {name: len(values) for name, values in learner["seconds"].items()} == {"tries": 2, "padded": 2}
    assert learner["peak_gib"] == {"tries": 2.0, "padded": 2.0} and learner["difference_from_padded"]["tries"] < 0.1
    assert set(drawn["tokens_per_second"]) == {"shared", "padded", "generate"} and drawn["mismatch_kl"] < 0.015
    # By hand, forward: the language model over 60 + 8 x 2 tokens (nothing follows an answer's last), the head over all
    # of the answers, the tower over 64 patches. Its attention is not counted: on a CPU it is another operator.
    decoder = 2 * 76 * 2 * (4 * 192 * 192 + 3 * 192 * 512)
    head = 2 * 24 * 192 * 8192
    tower = 2 * 64 * 2 * (4 * 128 * 128 + 3 * 128 * 256) + 2 * 64 * 1176 * 128 + 2 * 16 * (512 * 512 + 512 * 192)
    attention = 4 * 2 * 6 * 32 * (60 * 60 // 2 + 16 * 60 + 8 * 2 * 2 // 2)
    assert learner["tflop"] * 1e12 == pytest.approx(3 * (decoder + head + tower + attention), rel=1e-6)
    rate = learner["tflop"] / learner["median_seconds"]["tries"]
    assert learner["mfu"]["of_peak"] == pytest.approx(rate / 2000)
    assert found["machine"]["gpu"] == "a card" and found["trl"].startswith("not importable")


def test_a_system_that_does_not_fit_is_named(card: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    update = gpu.ours

    def too_large(policy: object, groups: object, backend: str) -> object:
        def fail() -> float:
            raise torch.cuda.OutOfMemoryError("as large as that")

        fitting = update(policy, groups, backend)  # type: ignore[arg-type]
        return fitting if backend == "shared" else Update(fail, fitting.parameters)

    card.setattr(gpu, "ours", too_large)
    learner = run(capsys)["learner"]
    assert learner["out_of_memory"] == ["padded"] and set(learner["median_seconds"]) == {"tries"}


def test_what_computes_something_else_is_not_timed(card: pytest.MonkeyPatch) -> None:
    attend = TrieAttention.attend

    def unmasked(self: Any, layer: int, q: Any, k: Any, v: Any, scale: float) -> Any:
        self.blocks = tuple(block._replace(causal=False) for block in self.blocks)
        return attend(self, layer, q, k, v, scale)

    policies = gpu.load_policy

    def broken(*args: Any, **options: Any) -> Any:
        policy = policies(*args, **options)
        card.setattr(TrieAttention, "attend", unmasked)
        return policy

    card.setattr(gpu, "load_policy", broken)
    with pytest.raises(SelfsightError, match="do not compute what the padded batch computes"):
        gpu.main(["--shape", "tiny", "--repeats", "1"])


@pytest.mark.parametrize(("shape", "billions"), [("3b", 3.75), ("7b", 8.29)])
def test_the_shapes_are_those_of_the_models_that_they_are_named_after(shape: str, billions: float) -> None:
    """Parameters of Qwen2.5-VL-3B and 7B, as their publisher's files have them."""
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(gpu.config_of(gpu.SHAPES[shape], train_tokenizer(["one two"] * 9)))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.01)


def test_without_a_device_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu.main([])
