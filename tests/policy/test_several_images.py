"""Prompts with several images: the processor's own tokens, and the log-probs of transformers' own forward pass."""

import numpy as np
import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import Policy, SampleRequest, Sampling
from selfsight.policy.scoring import ScoreItem, score

from .conftest import FAMILIES, FAST, Load, image, open_image
from .test_prefix import compare, computed

# LLaVA-OneVision cuts an image that is alone into tiles, and one in company not.
SEVERAL = [family for family in FAMILIES if family != "llava_onevision"]
ASKED = [
    Prompt(image(1), "Which has more circles?", further=(image(2),)),
    Prompt(image(1), "Are they alike?", further=(image(2),)),
    Prompt(image(1), "Which has more circles?", further=(image(3), image(1))),
    Prompt(image(1), "How many circles are there?"),
]


def items_for(policy: Policy) -> list[ScoreItem]:
    generator = np.random.default_rng(0)
    return [
        ScoreItem(policy.vlm.encoder.encode(prompt), tuple(generator.integers(20, 60, size=size) for size in sizes))
        for prompt, sizes in zip(ASKED, [(5, 3), (2,), (4, 1), (3,)], strict=True)
    ]


@pytest.mark.parametrize("family", SEVERAL)
def test_tokens_are_the_processor_s_own_and_every_image_has_its_own(load: Load, family: str) -> None:
    encoder = load(family).vlm.encoder
    for prompt in ASKED:
        direct, types, _ = encoder._call_processor(encoder._render(prompt), [open_image(i) for i in prompt.images])
        encoded = encoder.encode(prompt)
        assert np.array_equal(encoded.input_ids, direct)
        assert np.array_equal(encoded.token_types, types)
        sizes = [int((encoded.token_images == number).sum()) for number in range(1, len(prompt.images) + 1)]
        assert sizes == [int(encoder.image(ref).token_types.sum()) for ref in prompt.images]
        order = encoded.token_images[encoded.token_images > 0]
        assert np.array_equal(order, np.sort(order))


@pytest.mark.parametrize("family", SEVERAL)
def test_tries_equal_padded_rows_in_logprobs_and_every_gradient(load: Load, family: str) -> None:
    policy = load(family, learning=FAST)
    items = items_for(policy)
    assert max(compare(computed(policy, items, "shared"), computed(policy, items, "padded"))) < 1e-5


@pytest.mark.parametrize("family", SEVERAL)
def test_logprobs_are_those_of_a_plain_forward_pass(load: Load, family: str) -> None:
    """Prompt and completion as one row through the model as transformers calls it, with the processor's pixels."""
    policy = load(family)
    vlm = policy.vlm
    for prompt, item in zip(ASKED, items_for(policy), strict=True):
        completion = item.completions[0]
        inputs = dict(
            vlm.encoder.processor(
                text=[vlm.encoder._render(prompt)], images=[[open_image(i) for i in prompt.images]], return_tensors="pt"
            )
        )
        ids = torch.cat([inputs["input_ids"], torch.from_numpy(completion)[None]], dim=1)
        types = torch.from_numpy(np.concatenate([item.prompt.token_types, np.zeros_like(completion)]))[None]
        others = {name: value for name, value in inputs.items() if name.startswith(("pixel", "image"))}
        if "mm_token_type_ids" in inputs:
            others["mm_token_type_ids"] = types
        with torch.no_grad():
            logits = vlm.model(input_ids=ids, attention_mask=torch.ones_like(ids), **others).logits[0].float()
            logits[:, vlm.banned] = -torch.inf
            start = len(item.prompt) - 1
            rows = logits[start : start + len(completion)].log_softmax(-1)
            expected = rows[torch.arange(len(completion)), torch.from_numpy(completion)]
            found = score(vlm, [ScoreItem(item.prompt, (completion,))], 1.0).logprobs
        assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("family", SEVERAL)
def test_the_order_of_the_images_matters(load: Load, family: str) -> None:
    policy = load(family)
    completion = (np.arange(20, 26),)
    prompts = (ASKED[0], Prompt(image(2), ASKED[0].user, further=(image(1),)))
    with torch.no_grad():
        one, other = (
            score(policy.vlm, [ScoreItem(policy.vlm.encoder.encode(prompt), completion)], 1.0).logprobs
            for prompt in prompts
        )
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("family", SEVERAL)
def test_samples_are_the_same_in_both_backends_and_say_what_they_were_drawn_from(load: Load, family: str) -> None:
    requests = [SampleRequest(str(k), prompt, 3, k) for k, prompt in enumerate(ASKED)]
    drawn = {}
    for backend in ("shared", "padded"):
        policy = load(family, backend=backend)
        rollouts = policy.sample(requests, Sampling(max_completion_length=8))
        drawn[backend] = [rollout.token_ids.tolist() for id in rollouts for rollout in rollouts[id]]
        pairs = [(ASKED[int(id)], rollout) for id, several in rollouts.items() for rollout in several]
        scored = policy.logprobs([(prompt, rollout.token_ids) for prompt, rollout in pairs])
        for (_, rollout), now in zip(pairs, scored, strict=True):
            assert np.abs(rollout.logprobs - now).max() < 1e-4
    assert drawn["shared"] == drawn["padded"]


def test_a_model_that_sees_an_image_otherwise_in_company_is_refused_with_what_to_do(load: Load) -> None:
    with pytest.raises(SelfsightError, match="sees an image otherwise in company") as refusal:
        load("llava_onevision").vlm.encoder.encode(ASKED[0])
    assert "one image" in str(refusal.value.hint)


def test_further_images_need_a_first() -> None:
    with pytest.raises(ValueError, match="no first one"):
        Prompt(None, "x", further=(image(1),))
