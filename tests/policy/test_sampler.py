"""Samples depend on weights, prompt, seed and index alone, and say truly what they were drawn from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import LoraOptions, Policy, SampleRequest, Sampling
from selfsight.policy.samplers.drawing import inverse_cdf, sample_stream
from tiny_models import build_qwen2_5_vl

from .conftest import FAMILIES, FAST, PROMPTS, Load, flat, follow_what_they_report, image, requests, rescored

SHORT = Sampling(max_completion_length=10)


@pytest.mark.parametrize("backend", ["shared", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_learner_logprobs_equal_sampler_logprobs(load: Load, family: str, backend: str) -> None:
    policy = load(family, backend=backend, learning=FAST)
    for temperature in (1.0, 0.7):
        rollouts = policy.sample(requests(), Sampling(temperature, 10))
        assert rescored(policy, rollouts, temperature) < 1e-4
        assert rescored(policy, rollouts, temperature + 0.3) > 1e-2


def test_learner_logprobs_equal_sampler_logprobs_with_adapters_and_in_bfloat16(load: Load) -> None:
    adapted = load(learning=FAST, lora=LoraOptions(rank=2))
    assert rescored(adapted, adapted.sample(requests(), SHORT)) < 1e-4
    for lora in (None, LoraOptions(rank=2)):
        half = load(learning=FAST, dtype="bfloat16", lora=lora)
        assert rescored(half, half.sample(requests(), SHORT)) < 0.15


@pytest.mark.parametrize("family", FAMILIES)
def test_both_backends_draw_the_same_samples(load: Load, family: str) -> None:
    drawn = [flat(load(family, backend=b).sample(requests(), SHORT)) for b in ("shared", "padded")]
    assert drawn[0] == drawn[1]


def test_heads_that_share_keys_draw_the_same_samples_alone_and_in_company(load: Load, tmp_path: Path) -> None:
    folder = build_qwen2_5_vl(tmp_path / "model", hidden=128, heads=4, kv_heads=2)
    asked = requests()
    expected = flat(load(folder=folder, backend="padded").sample(asked, SHORT))
    policy = load(folder=folder)
    assert flat(policy.sample(asked, SHORT)) == expected
    for request in asked:
        alone = flat(policy.sample([request], SHORT))
        assert alone == {key: ids for key, ids in expected.items() if key[0] == request.id}


def test_samples_do_not_depend_on_order_size_waves_or_company(load: Load) -> None:
    policy = load()
    asked = requests()
    whole = flat(policy.sample(asked, SHORT))
    assert len(set(whole.values())) == len(whole)
    assert flat(policy.sample(asked[::-1], SHORT)) == whole
    one_by_one: dict[tuple[str, int], tuple[int, ...]] = {}
    for request in asked:
        one_by_one |= flat(policy.sample([request], SHORT))
    assert one_by_one == whole
    assert flat(load(waves=1).sample(asked, SHORT)) == whole
    fewer = flat(policy.sample([SampleRequest(r.id, r.prompt, 2, r.seed) for r in asked], SHORT))
    assert fewer == {key: ids for key, ids in whole.items() if key[1] < 2}


def test_a_longer_limit_only_continues_the_same_samples(load: Load) -> None:
    policy = load()
    short, long = (flat(policy.sample(requests(), Sampling(max_completion_length=n))) for n in (4, 12))
    assert all(long[key][: len(ids)] == ids for key, ids in short.items())


def test_another_seed_gives_other_samples(load: Load) -> None:
    policy = load()
    first, second = (flat(policy.sample(requests(seed=s), SHORT)) for s in (7, 1000))
    assert sum(first[key] == second[key] for key in first) == 0


def test_rollouts_come_in_sample_order_under_their_request(load: Load) -> None:
    rollouts = load().sample(requests(n=5), SHORT)
    assert {key: [r.index for r in several] for key, several in rollouts.items()} == {
        f"r{i}": list(range(5)) for i in range(len(PROMPTS))
    }


def test_two_requests_with_one_id_are_refused(load: Load) -> None:
    with pytest.raises(ValueError, match="share an id"):
        load().sample([requests()[0]] * 2, SHORT)


def test_greedy_is_the_likeliest_token_each_time_and_needs_no_seed(load: Load) -> None:
    policy = load()
    greedy = Sampling(max_completion_length=6, greedy=True)
    rollouts = policy.sample(requests(n=1), greedy)
    assert flat(rollouts) == flat(policy.sample(requests(n=1, seed=99), greedy))
    first = rollouts["r0"][0]
    for position in range(len(first.token_ids)):
        scores = [
            policy.logprobs([(PROMPTS[0], np.append(first.token_ids[:position], token))])[0][-1]
            for token in (5 + 2, int(first.token_ids[position]), 100, 200)
        ]
        assert max(scores) == scores[1]


def _end_early(policy: Policy, bias: float) -> None:
    """Makes end-of-sequence likely, so that samples of one wave end at different times."""
    head = policy.vlm.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features), requires_grad=False)
    head.bias.data[list(policy.vlm.eos_ids)] = bias


@pytest.mark.parametrize("family", FAMILIES)
def test_finished_samples_leave_and_the_others_go_on_undisturbed(load: Load, family: str) -> None:
    policy = load(family)
    _end_early(policy, 4.0)
    asked = requests(n=6)
    rollouts = policy.sample(asked, Sampling(max_completion_length=30))
    sizes = {len(r.token_ids) for several in rollouts.values() for r in several}
    assert len(sizes) > 4
    for several in rollouts.values():
        for r in several:
            ends = np.isin(r.token_ids, policy.vlm.eos_ids)
            assert ends[:-1].sum() == 0 and ends[-1] == r.finished
            assert r.finished or len(r.token_ids) == 30
            assert len(r.logprobs) == len(r.token_ids) and (r.logprobs <= 0).all()
            assert policy.vlm.encoder.tokenizer.eos_token not in r.text
    scores = policy.logprobs([(q.prompt, r.token_ids) for q in asked for r in rollouts[q.id]])
    flat_rollouts = [r for q in asked for r in rollouts[q.id]]
    assert max(np.abs(s - r.logprobs).max() for s, r in zip(scores, flat_rollouts, strict=True)) < 1e-4


@pytest.mark.parametrize("backend", ["shared", "padded"])
def test_placeholder_tokens_are_never_sampled_and_have_no_probability(load: Load, backend: str) -> None:
    policy = load(backend=backend)
    head = policy.vlm.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features), requires_grad=False)
    head.bias.data[list(policy.vlm.encoder.placeholder_ids)] = 50.0  # would be drawn always
    rollouts = policy.sample(requests(n=8), SHORT)
    drawn = np.concatenate([r.token_ids for several in rollouts.values() for r in several])
    assert not np.isin(drawn, policy.vlm.encoder.placeholder_ids).any()
    assert np.concatenate([r.logprobs for several in rollouts.values() for r in several]).max() > -20
    with pytest.raises(SelfsightError, match="placeholder"):
        policy.logprobs([(PROMPTS[0], np.array([20, policy.vlm.encoder.placeholder_ids[0]]))])


def test_samples_follow_the_distribution_they_report(load: Load) -> None:
    policy = load()
    n = 4000
    rollouts = policy.sample([SampleRequest("a", PROMPTS[0], n, 3)], Sampling(max_completion_length=1))["a"]
    follow_what_they_report(rollouts)


def test_inverse_cdf_picks_the_first_token_above_the_uniform() -> None:
    masked = torch.log(torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25]])).repeat(5, 1)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 1.0 - 2**-53], dtype=torch.float64)
    chosen, logprobs = inverse_cdf(masked, uniform)
    assert chosen.tolist() == [1, 1, 3, 3, 4]
    assert torch.allclose(logprobs.exp(), torch.tensor([0.25, 0.25, 0.5, 0.5, 0.25]))


@pytest.mark.parametrize("vocabulary", [1, 100, 128, 129, 1000, 1024])
def test_inverse_cdf_equals_the_plain_sum_over_the_vocabulary(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn((400, vocabulary), generator=generator)
    if vocabulary > 1:  # most of them banned, whole blocks among them
        logits[:, torch.rand(vocabulary, generator=generator) < 0.7] = -torch.inf
        logits[:, : vocabulary // 3] = -torch.inf
        logits[:, vocabulary // 2] = 0.0
    uniform = torch.rand(400, generator=generator, dtype=torch.float64)
    uniform[:2] = torch.tensor([0.0, 1.0 - 1e-12], dtype=torch.float64)
    chosen, logprobs = inverse_cdf(logits.clone(), uniform)
    weights = (logits - logits.amax(-1, keepdim=True)).exp().double().numpy()
    for row, (point, token) in enumerate(zip(uniform.tolist(), chosen.tolist(), strict=True)):
        ends = weights[row].cumsum()
        assert weights[row, token] > 0
        assert ends[token] - weights[row, token] <= point * ends[-1] * (1 + 1e-9)
        assert point * ends[-1] <= ends[token] * (1 + 1e-9)
    expected = logits.double().log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
    assert torch.allclose(logprobs.double(), expected, atol=1e-5)


def test_streams_of_seed_and_index_are_independent_and_wide() -> None:
    first = {(seed, k): sample_stream(seed, k).random(3).tolist() for seed in (0, 1, 2**63 + 1) for k in (0, 1)}
    assert len({tuple(values) for values in first.values()}) == 6


def test_a_prompt_longer_than_the_model_is_refused_with_numbers(load: Load) -> None:
    with pytest.raises(SelfsightError, match="limit of 1024"):
        load().sample([SampleRequest("a", PROMPTS[0], 1, 0)], Sampling(max_completion_length=1020))


def test_impossible_sampling_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        Sampling(temperature=0.0)
    with pytest.raises(ValueError, match="max_completion_length"):
        Sampling(max_completion_length=0)


def test_a_request_for_no_samples_gives_an_empty_list(load: Load) -> None:
    rollouts = load().sample([SampleRequest("a", Prompt(image(1), "x"), 0, 0)], SHORT)
    assert rollouts == {"a": []}


def test_images_are_shared_inside_the_block_only_and_never_past_new_weights(load: Load) -> None:
    policy = load(learning=FAST)
    encoded: list[int] = []
    policy.vlm.model.model.visual.register_forward_pre_hook(lambda module, args: encoded.append(len(args[0])))
    asked, sampling = requests(), Sampling(max_completion_length=2)

    def spent() -> int:
        encoded.clear()
        policy.sample(asked, sampling)
        return sum(encoded)

    every = spent()
    assert every == spent() > 0
    with policy.sharing_images():
        assert (spent(), spent()) == (every, 0)
        policy.publish()
        assert (spent(), spent()) == (every, 0)
    assert spent() == every
