"""The engine in this process: what it draws is what the learner would score, before and after new weights."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policy.conftest import FAST, PROMPTS, Load, draw_groups, follow_what_they_report, requests
from selfsight.errors import SelfsightError
from selfsight.policy import LearnerOptions, LoraOptions, LossOptions, Policy, SampleRequest, Sampling
from selfsight.policy.samplers.vllm import in_process
from selfsight.policy.samplers.vllm.options import engine_settings
from selfsight.policy.weights import plain_state
from tiny_models import build_qwen2_5_vl

from .conftest import SHORT, StartEngine, flat, rescored, serve

Served = Callable[..., Policy]
BOLD = LearnerOptions(learning_rate=3e-2, loss=LossOptions(beta=0.0))


def update(policy: Policy, *, publish: bool = True) -> None:
    policy.learn(draw_groups(policy))
    policy.step()
    if publish:
        policy.publish()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_engine_logprobs_equal_learner_logprobs(served: Served, family: str) -> None:
    policy = served(family)
    for temperature in (1.0, 0.7):
        rollouts = policy.sample(requests(), Sampling(temperature, 10))
        assert rescored(policy, rollouts, temperature) < 1e-4
        assert rescored(policy, rollouts, temperature + 0.3) > 1e-2


def test_pixels_are_normalised_once(
    load: Load, start: StartEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = build_qwen2_5_vl(tmp_path / "model") / "preprocessor_config.json"
    stated = {"do_rescale": True, "do_normalize": True, "image_mean": [0.85] * 3, "image_std": [0.3] * 3}
    file.write_text(json.dumps(json.loads(file.read_text()) | stated))
    policy = load(folder=file.parent)
    serve(policy, start(policy))
    assert rescored(policy, policy.sample(requests(), SHORT)) < 1e-4
    monkeypatch.setattr(in_process, "engine_settings", lambda o: engine_settings(o) | {"mm_device_do_normalize": True})
    serve(policy, start(policy))
    with pytest.raises(SelfsightError, match="differ from the learner's"):
        policy.sample(requests(), SHORT)


def test_engine_logprobs_are_close_to_the_learners_in_bfloat16(served: Served) -> None:
    policy = served(dtype="bfloat16", learning=FAST)
    assert rescored(policy, policy.sample(requests(), SHORT)) < 0.15
    update(policy)
    assert rescored(policy, policy.sample(requests(), SHORT)) < 0.15


def test_greedy_is_the_local_samplers_and_carries_logprobs_at_temperature_one(served: Served, load: Load) -> None:
    greedy = Sampling(max_completion_length=8, greedy=True)
    policy = served()
    rollouts = policy.sample(requests(), greedy)
    assert flat(rollouts) == flat(load().sample(requests(), greedy))
    assert rescored(policy, rollouts) < 1e-4
    assert {r.temperature for several in rollouts.values() for r in several} == {0.0}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_after_an_update_the_same_images_are_drawn_from_the_new_weights(served: Served, family: str) -> None:
    policy = served(family, learning=FAST)
    before = policy.sample(requests(), SHORT)
    for version in (1, 2):
        update(policy)
        after = policy.sample(requests(), SHORT)
        assert {r.weight_version for several in after.values() for r in several} == {version}
        assert rescored(policy, after) < 1e-4
        assert rescored(policy, before) > 1e-3


def test_without_the_reset_stale_prefixes_would_show(served: Served) -> None:
    policy = served(learning=BOLD)
    policy.sample(requests(), SHORT)
    update(policy, publish=False)
    policy.sampler.engine.load_weights(plain_state(policy.vlm.model))  # type: ignore[attr-defined]
    policy.sampler.weight_version = policy.weight_version
    try:
        apart = rescored(policy, policy.sample(requests(), SHORT))
    except (AssertionError, SelfsightError):  # the engine misses image features that it thinks it has
        return
    assert apart > 1e-3


def test_tied_embeddings_are_handed_over(load: Load, start: StartEngine, tmp_path: Path) -> None:
    policy = load(folder=build_qwen2_5_vl(tmp_path / "tied", tied=True), learning=FAST)
    serve(policy, start(policy))
    update(policy)
    assert rescored(policy, policy.sample(requests(), SHORT)) < 1e-4


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_a_resumed_policy_draws_from_the_weights_of_its_checkpoint(
    load: Load, start: StartEngine, lora: LoraOptions | None
) -> None:
    def fresh() -> Policy:
        policy = load(learning=BOLD, lora=lora)
        return serve(policy, start(policy, lora_rank=2 if lora else 0, adapters=1 if lora else 0))

    policy = fresh()
    update(policy)
    tensors, counters = policy.state_dict()
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = fresh()
    resumed.load_state_dict(kept, counters)
    rollouts = resumed.sample(requests(), SHORT)
    assert flat(rollouts) == flat(policy.sample(requests(), SHORT))
    assert rescored(resumed, rollouts) < 1e-4
    assert {r.weight_version for several in rollouts.values() for r in several} == {1}


def test_samples_depend_on_seed_and_index_alone(served: Served) -> None:
    policy = served()
    asked = requests()
    whole = flat(policy.sample(asked, SHORT))
    assert len(set(whole.values())) == len(whole)
    assert flat(policy.sample(asked[::-1], SHORT)) == whole
    one_by_one: dict[tuple[str, int], tuple[int, ...]] = {}
    for request in asked:
        one_by_one |= flat(policy.sample([request], SHORT))
    assert one_by_one == whole
    fewer = flat(policy.sample([SampleRequest(r.id, r.prompt, 2, r.seed) for r in asked], SHORT))
    assert fewer == {key: ids for key, ids in whole.items() if key[1] < 2}
    policy.sampler.publish(0)  # the same weights, empty caches
    assert flat(policy.sample(asked, SHORT)) == whole
    other = flat(policy.sample(requests(seed=1000), SHORT))
    assert not any(other[key] == whole[key] for key in whole)


def test_samples_follow_the_distribution_they_report(served: Served) -> None:
    policy = served()
    n = 2000
    rollouts = policy.sample([SampleRequest("a", PROMPTS[0], n, 3)], Sampling(max_completion_length=1))["a"]
    follow_what_they_report(rollouts)


def test_placeholder_tokens_are_never_drawn_and_have_no_probability(load: Load, start: StartEngine) -> None:
    policy = load(learning=FAST)
    banned, one_token = list(policy.vlm.encoder.placeholder_ids), Sampling(max_completion_length=1)
    likeliest = policy.sample(requests(n=1)[:1], Sampling(max_completion_length=1, greedy=True))["r0"][0].token_ids[0]
    head = policy.vlm.model.get_output_embeddings().weight
    with torch.no_grad():
        head[banned] = 4 * head[likeliest]
    asked = requests(n=16)[:1]
    careless = serve(policy, start(policy, banned_ids=()))
    careless.publish()
    samples = careless.sampler._asks(asked[0], one_token)  # type: ignore[attr-defined]
    drawn = [one.token_ids[0] for _, one in careless.sampler.engine.draw(samples, one_token, None)]  # type: ignore[attr-defined]
    assert np.isin(drawn, banned).mean() > 0.9  # without the ban
    with pytest.raises(SelfsightError, match="differ from the learner's by inf"):
        careless.sample(asked, one_token)
    serve(policy, start(policy)).publish()
    rollouts = policy.sample(requests(n=8), SHORT)
    assert not any(np.isin(ids, banned).any() for ids in flat(rollouts).values())
    assert rescored(policy, rollouts) < 1e-4


def end_early(policy: Policy) -> None:
    """Publishes weights under which end of sequence is now likely and now not."""
    with torch.no_grad():
        policy.vlm.model.get_output_embeddings().weight[list(policy.vlm.eos_ids)] *= 8
    policy.publish()


def test_a_sample_ends_with_its_end_of_sequence_token_or_at_the_limit(served: Served) -> None:
    policy = served(learning=FAST)
    end_early(policy)
    rollouts = policy.sample(requests(n=6), Sampling(max_completion_length=30))
    sizes = {len(r.token_ids) for several in rollouts.values() for r in several}
    assert len(sizes) > 4
    for several in rollouts.values():
        for r in several:
            ends = np.isin(r.token_ids, policy.vlm.eos_ids)
            assert ends[:-1].sum() == 0 and ends[-1] == r.finished
            assert r.finished or len(r.token_ids) == 30
            assert policy.vlm.encoder.tokenizer.eos_token not in r.text
    assert rescored(policy, rollouts) < 1e-4


def break_off(engine: Any, monkeypatch: pytest.MonkeyPatch, after: list[int]) -> list[int]:
    """Each call of the engine fails after so many steps, until the list is used up; what each call was asked for."""
    step, add = engine._engine.step, engine._engine.add_request
    left, asked, steps = list(after), [0], [0]

    def failing_step() -> Any:
        steps[0] += 1
        if left and steps[0] > left[0]:
            del left[0]
            steps[0] = 0
            asked.append(0)
            raise RuntimeError("CUDA out of memory (injected)")
        return step()

    def counted(*arguments: Any, **named: Any) -> Any:
        asked[-1] += 1
        return add(*arguments, **named)

    monkeypatch.setattr(engine._engine, "step", failing_step)
    monkeypatch.setattr(engine._engine, "add_request", counted)
    return asked


def test_an_engine_that_breaks_off_loses_and_doubles_no_sample(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = served(learning=FAST)
    end_early(policy)
    asked, sampling = requests(n=6), Sampling(max_completion_length=20)
    whole = flat(policy.sample(asked, sampling))
    calls = break_off(policy.sampler.engine, monkeypatch, [5, 14])  # type: ignore[attr-defined]
    assert flat(policy.sample(asked, sampling)) == whole
    assert calls[0] == 24 and 24 > calls[1] > calls[2] > 0
    monkeypatch.undo()
    assert flat(policy.sample(asked, sampling)) == whole


def test_an_engine_that_always_breaks_off_is_an_error_and_leaves_nothing_behind(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = served()
    with monkeypatch.context() as patch:
        break_off(policy.sampler.engine, patch, [2, 2, 2])  # type: ignore[attr-defined]
        with pytest.raises(SelfsightError, match=r"16 of 16 samples are missing after 3 attempts.*injected"):
            policy.sample(requests(), SHORT)
    assert not policy.sampler.engine._engine.has_unfinished_requests()  # type: ignore[attr-defined]
    assert rescored(policy, policy.sample(requests(), SHORT)) < 1e-4


@pytest.fixture
def roles(load: Load, start: StartEngine) -> Iterator[dict[str, Policy]]:
    """Two adapters and their frozen base in one engine."""
    loaded = {
        name: load(learning=BOLD if lora else None, lora=lora)
        for name, lora in (
            ("questioner", LoraOptions(rank=4, seed=1)),
            ("reasoner", LoraOptions(rank=4, seed=2)),
            ("judge", None),
        )
    }
    engine = start(loaded["judge"], lora_rank=4, adapters=2)
    for name, policy in loaded.items():
        policy.name = name
        serve(policy, engine)
    yield loaded


def test_two_adapters_and_their_base_are_served_side_by_side(roles: dict[str, Policy]) -> None:
    start = {name: flat(policy.sample(requests(), SHORT)) for name, policy in roles.items()}
    assert start["questioner"] == start["reasoner"] == start["judge"]  # adapters start at zero
    for _ in range(2):
        for name in ("questioner", "reasoner"):
            update(roles[name])
        drawn = {name: policy.sample(requests(), SHORT) for name, policy in roles.items()}
        assert all(rescored(policy, drawn[name]) < 1e-4 for name, policy in roles.items())
        for name, other in (("questioner", "reasoner"), ("reasoner", "judge"), ("judge", "questioner")):
            assert rescored(roles[name], drawn[other]) > 1e-2
        assert flat(drawn["judge"]) == start["judge"]


def test_an_adapter_that_was_not_published_is_not_served(roles: dict[str, Policy]) -> None:
    policy = roles["questioner"]
    old = policy.sample(requests(), SHORT)
    update(policy, publish=False)
    policy.sampler.weight_version = policy.weight_version
    stale = policy.sample(requests(), SHORT)
    assert flat(stale) == flat(old) and rescored(policy, stale) > 1e-2


def test_two_roles_with_full_weights_have_two_engines_in_one_process(served: Served) -> None:
    first, second = served(learning=FAST), served(learning=FAST)
    unmoved = flat(second.sample(requests(), SHORT))
    update(first)
    assert rescored(first, first.sample(requests(), SHORT)) < 1e-4
    assert flat(second.sample(requests(), SHORT)) == unmoved
    update(second)
    second.sampler.engine.close()  # type: ignore[attr-defined]
    assert rescored(first, first.sample(requests(), SHORT)) < 1e-4


def test_a_process_with_an_engine_keeps_its_threads_and_its_environment(served: Served) -> None:
    import os

    before, threads = dict(os.environ), torch.get_num_threads()
    served()
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert dict(os.environ) == before


def test_an_engine_without_room_says_what_to_change(load: Load, start: StartEngine) -> None:
    with pytest.raises(SelfsightError, match="vLLM cannot start") as caught:
        start(load(), kv_cache_gib=1e-5)
    assert caught.value.hint is not None and "sampler.kv_cache_gib" in caught.value.hint
