"""What a GPU would be asked to do, on a stand-in for one: no operator gets tensors of two devices, results are those of
the CPU, and Python waits for the device as often as a step needs and not once for every layer.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfsight.config import load_config
from selfsight.policy import Group, Policy, Rollout, SampleRequest, Sampling
from selfsight.policy.kernels import FusedCuda, kernel_for
from selfsight.policy.open import open_policy
from selfsight.run.checkpoint import Checkpoints
from standin import CUDA, Standin, standing_in
from tiny_models import build_gemma3, build_qwen2_5_vl

from .conftest import FAMILIES, FAST, PROMPTS, WITH_KL, Load, flat, groups_of, open_image, requests

SHORT = Sampling(max_completion_length=8)


def learned(policy: Policy) -> tuple[dict[tuple[str, int], tuple[int, ...]], list[float]]:
    """Two steps against the first weights: the last samples, and what learning said of each."""
    policy.set_reference("anchor")
    policy.begin_phase()
    said = []
    for _ in range(2):
        drawn = policy.sample(requests(), SHORT)
        stats = policy.learn(groups_of(requests(), drawn))
        step = policy.step()
        said += [stats.loss, stats.kl, stats.kl_anchor, stats.entropy, stats.mismatch_kl, step.grad_norm]
        policy.publish()
    return flat(drawn), said


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
@pytest.mark.parametrize("budget", [16384, 60], ids=["whole", "cut"])
def test_every_family_learns_on_a_gpu_what_it_learns_on_a_cpu(
    family: str, budget: int, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.policy.trie._PASS", 0)  # so that a cut trie carries its stem
    folder = {"folder": build_gemma3(tmp_path / "gemma3")} if family == "gemma3" else {"family": family}
    expected = load(**folder, learning=WITH_KL)
    with standing_in():
        policy = load(**folder, learning=WITH_KL, device="cuda")
        assert {tensor.device for tensor in policy.vlm.model.state_dict().values()} == {CUDA}
        assert policy.vlm.backend == expected.vlm.backend and policy.vlm.decodes_by_step == expected.vlm.decodes_by_step
        for one in (policy, expected):
            one.learner.options = replace(one.learner.options, token_budget=budget)
        drawn, said = learned(policy)
    its_drawn, its_said = learned(expected)
    assert drawn == its_drawn
    assert said == pytest.approx(its_said, rel=1e-3, abs=1e-5)


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # a recomputed layer asks PyTorch
@pytest.mark.parametrize("recipe", ["visplay-qwen2.5-vl-3b", "vision-zero-qwen2.5-vl-7b"])
def test_the_recipes_for_gpus_run_in_half_precision_with_flash_attention(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_qwen2_5_vl(tmp_path / "model", hidden=128, heads=4, kv_heads=2)
    config = load_config(recipe, [f"model={folder}"])
    used: list[torch.device] = []
    forward = FusedCuda.forward

    def counted(self: FusedCuda, q: torch.Tensor, *rest: object) -> object:
        used.append(q.device)
        return forward(self, q, *rest)  # type: ignore[arg-type]

    with standing_in():
        assert isinstance(kernel_for("cuda"), FusedCuda)
        monkeypatch.setattr(FusedCuda, "forward", counted)
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            policy = open_policy(config, "tiny", open_image, trainable=True)
        assert (
            policy.vlm.backend == "shared" and policy.vlm.decodes_by_step and policy.vlm.device == torch.device("cuda")
        )
        _, said = learned(policy)
    assert set(used) == {CUDA}
    assert np.isfinite(said).all() and max(said[4::6]) < 0.015  # mismatch_kl, and the threshold of its alarm


def test_padded_rows_frozen_copies_scores_and_checkpoints(load: Load, tmp_path: Path) -> None:
    on_cpu = load(learning=FAST)
    with standing_in():
        policy = load(learning=FAST, device="cuda", backend="padded")
        assert policy.weights_hash() == on_cpu.weights_hash()
        learned(policy)
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        tensors, counters = policy.state_dict()
        checkpoints.save(1, tensors, {"counters": counters})
        frozen = policy.clone_frozen("frozen")
        again = load(learning=FAST, device="cuda", backend="padded")
        found = checkpoints.latest_valid()
        assert found is not None
        again.load_state_dict(found.tensors(), counters)
        for other in (frozen, again):
            assert other.weights_hash() == policy.weights_hash()
            assert flat(other.sample(requests(), SHORT)) == flat(policy.sample(requests(), SHORT))
        assert learned(again) == learned(policy)
        pairs = [(PROMPTS[0], np.array([30, 31, 32])), (PROMPTS[3], np.array([40]))]
        scores, saved = policy.logprobs(pairs), frozen.weights_hash()
        on_cpu.load_state_dict(found.tensors(), counters)
    assert on_cpu.weights_hash() == saved
    assert [len(one) for one in scores] == [3, 1]


def waits(folder: Path, load: Load, work: Callable[[Policy], object]) -> Counter[str]:
    """What `work` waits for, by file and line."""
    with standing_in() as device:
        policy = load(folder=folder, learning=WITH_KL, device="cuda")
        policy.set_reference("anchor")
        policy.begin_phase()
        device.waits.clear()
        work(policy)
        return device.waits.copy()


def drawing(length: int) -> Callable[[Policy], object]:
    """Three samples of this length."""

    def work(policy: Policy) -> None:
        policy.vlm.banned[list(policy.vlm.eos_ids)] = True
        drawn = policy.sample([SampleRequest("r", PROMPTS[0], 3, 0)], Sampling(max_completion_length=length))
        assert {len(rollout.token_ids) for rollout in drawn["r"]} == {length}

    return work


def test_what_is_waited_for_does_not_grow_with_the_layers(load: Load, tmp_path: Path) -> None:
    few, many = (build_qwen2_5_vl(tmp_path / str(n), layers=n, depth=n) for n in (2, 6))
    answers = [np.array([30, 31, 32]), np.array([30, 31, 33, 34, 35]), np.array([36])]
    rollouts = tuple(Rollout("r", k, ids, np.full(len(ids), -4.0), "", True, 0) for k, ids in enumerate(answers))
    groups = [Group(prompt, rollouts, np.arange(3.0)) for prompt in PROMPTS]

    def once(policy: Policy) -> None:
        drawing(4)(policy)
        policy.learn(groups)
        policy.step()

    waited, by_many = waits(few, load, once), waits(many, load, once)
    assert waited.total() > 10 and by_many - waited == Counter() and waited - by_many == Counter()


def test_a_step_of_decoding_waits_once(load: Load, tmp_path: Path) -> None:
    folder = build_qwen2_5_vl(tmp_path / "model")
    assert waits(folder, load, drawing(12)).total() - waits(folder, load, drawing(5)).total() == 7


# ---- the stand-in itself


def test_the_stand_in_refuses_two_devices_and_counts_what_is_waited_for() -> None:
    with standing_in() as device:
        here, there = torch.ones(3), torch.arange(3.0, device="cuda")
        assert isinstance(there, Standin) and there.device == CUDA and there.is_cuda
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            nn.Linear(3, 3).to("cuda")(here)
        with pytest.raises(RuntimeError, match="same device"):
            here.index_select(0, torch.tensor([0], device="cuda"))
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        device.waits.clear()
        assert (there + torch.tensor(1.0)).sum().device == CUDA and not device.waits
        assert float(there.sum()) == 3.0 and there.tolist() == [0.0, 1.0, 2.0] and (there > 1).nonzero().shape == (1, 1)
        assert there.cpu().numpy().tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(RuntimeError, match="same device"):
            there.index_select(0, torch.tensor(0))
        assert device.waits.total() == 4 and all("test_device.py" in place for place in device.waits)
        there[torch.tensor([1])] = 5.0  # places may lie on the CPU
        with pytest.raises(RuntimeError, match="same device"):
            there[torch.tensor([0, 1], device="cuda")] = torch.tensor([5.0, 6.0])
        there.add_(1)
        assert there.tolist() == [1.0, 6.0, 3.0]


def test_gradients_pass_the_stand_in_and_come_back_to_the_cpu() -> None:
    with standing_in():
        leaf = torch.ones(2, requires_grad=True)
        (leaf.to("cuda") * torch.tensor([2.0, 3.0], device="cuda")).sum().cpu().backward()
        assert not isinstance(leaf.grad, Standin) and leaf.grad is not None and leaf.grad.tolist() == [2.0, 3.0]
        layer = nn.Linear(2, 1, bias=False).to("cuda")
        layer(torch.ones(1, 2, device="cuda")).sum().backward()
        assert isinstance(layer.weight.grad, Standin)


def test_flash_attention_of_the_stand_in_refuses_what_cuda_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_in():
        kernel = kernel_for("cuda")
        q, k, v = (torch.randn((1, 1, 4, 8)).to("cuda") for _ in range(3))
        kernel.forward(q, k, v, True, 1.0)  # float32, which goes to products
        monkeypatch.setattr("selfsight.policy.kernels._flash_can", lambda q: True)
        kernel.forward(*(x.bfloat16() for x in (q, k, v)), True, 1.0)
        with pytest.raises(AssertionError):
            kernel.forward(q, k, v, True, 1.0)
