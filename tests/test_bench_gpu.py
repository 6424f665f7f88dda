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
from selfsight.errors import SelfsightError  # noqa: E402
from selfsight.policy import Policy  # noqa: E402
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
    for figures in learner["systems"].values():
        assert len(figures["seconds"]) == 2 and figures["peak_gib"] == 2.0
        assert figures["difference_from_padded_rows"] < 0.1
    assert set(learner["systems"]) == {"tries", "padded"} and learner["out_of_memory"] == []
    assert set(drawn["tokens_per_second"]) == {"shared", "padded", "generate"} and drawn["mismatch_kl"] < 0.015
    # By hand, forward: the language model over 60 + 8 x 2 tokens (nothing follows an answer's last), the head over all
    # of the answers, the tower over 64 patches. Its attention is not counted: on a CPU it is another operator.
    decoder = 2 * 76 * 2 * (4 * 192 * 192 + 3 * 192 * 512)
    head = 2 * 24 * 192 * 8192
    tower = 2 * 64 * 2 * (4 * 128 * 128 + 3 * 128 * 256) + 2 * 64 * 1176 * 128 + 2 * 16 * (512 * 512 + 512 * 192)
    attention = 4 * 2 * 6 * 32 * (60 * 60 // 2 + 16 * 60 + 8 * 2 * 2 // 2)
    assert learner["tflop"] * 1e12 == pytest.approx(3 * (decoder + head + tower + attention), rel=1e-6)
    rate = learner["tflop"] / learner["systems"]["tries"]["median_seconds"]
    assert learner["mfu"]["of_peak"] == pytest.approx(rate / 2000)
    assert found["machine"]["gpu"] == "a card" and found["trl"].startswith("not importable")


@pytest.mark.parametrize("flags", [[], ["--recompute"]])
def test_layers_are_computed_again_when_that_is_asked_for(
    card: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    asked: list[bool] = []

    def noted(policy: Policy, *args: object, **options: object) -> dict[str, Any]:
        with torch.enable_grad(), policy.vlm.recomputing():
            asked.append(any(layer.training for layer in policy.vlm.decoder.layers))
        return {"systems": {}}

    card.setattr(gpu, "learning", noted)
    card.setattr(gpu, "rollouts", lambda *args, **options: {})
    assert gpu.main(["--shape", "tiny", *flags]) == 0
    assert asked == [bool(flags)] and json.loads(capsys.readouterr().out)["setting"]["recompute"] == bool(flags)


@pytest.mark.parametrize("which", ["shared", "padded"])
def test_a_system_that_does_not_fit_is_named(
    card: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    learn = Policy.learn

    def too_large(self: Policy, groups: Any) -> Any:
        # Padded rows one by one fit, whatever the whole batch does.
        if self.vlm.backend == which and self.learner.options.token_budget > 100:
            raise torch.cuda.OutOfMemoryError("as large as that")
        return learn(self, groups)

    card.setattr(Policy, "learn", too_large)
    found = run(capsys)["learner"]
    name, other = {"shared": ("tries", "padded"), "padded": ("padded", "tries")}[which]
    assert found["out_of_memory"] == [name] and set(found["systems"]) == {other} and found["times_faster_than"] == {}
    assert ("mfu" in found) == (which == "padded")


@pytest.mark.parametrize("padded_fits", [True, False])
def test_what_computes_something_else_is_not_timed(card: pytest.MonkeyPatch, padded_fits: bool) -> None:
    attend, policies, learn = TrieAttention.attend, gpu.load_policy, Policy.learn

    def unmasked(self: Any, *args: Any) -> Any:
        self.blocks = tuple(block._replace(causal=False) for block in self.blocks)
        return attend(self, *args)

    def broken(*args: Any, **options: Any) -> Any:
        policy = policies(*args, **options)
        card.setattr(TrieAttention, "attend", unmasked)
        return policy

    def fits(self: Policy, groups: Any) -> Any:
        if self.vlm.backend == "padded" and self.learner.options.token_budget > 100 and not padded_fits:
            raise torch.cuda.OutOfMemoryError("as large as that")
        return learn(self, groups)

    card.setattr(gpu, "load_policy", broken)
    card.setattr(Policy, "learn", fits)
    with pytest.raises(SelfsightError, match="tries does not compute what padded rows compute"):
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
