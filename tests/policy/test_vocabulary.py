"""Log-probs over the vocabulary: the same in chunks as at once, and never larger than a chunk."""

import pytest
import torch

from selfsight.policy import vocabulary
from selfsight.policy.vocabulary import masked_logits, token_scores

from .test_blocks import Largest

TOKENS, HIDDEN, ENTRIES = 37, 8, 501


def example(entries: int = ENTRIES) -> tuple[torch.Tensor, torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """Hidden states, a head, targets, and two banned entries."""
    generator = torch.Generator().manual_seed(3)
    head = torch.nn.Linear(HIDDEN, entries)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    banned = torch.zeros(entries, dtype=torch.bool)
    banned[[4, 9]] = True
    targets = torch.randint(10, entries, (TOKENS,), generator=generator)
    return torch.randn((TOKENS, HIDDEN), generator=generator, requires_grad=True), head, targets, banned


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("limit", [1 << 25, 5 * ENTRIES, 1])
def test_chunks_equal_the_whole_softmax_in_value_gradient_and_entropy(
    monkeypatch: pytest.MonkeyPatch, temperature: float, limit: int
) -> None:
    monkeypatch.setattr(vocabulary, "_LOGITS", limit)
    rows, head, targets, banned = example()
    scores = token_scores(rows, head, targets, banned, temperature)
    plain = masked_logits(head(rows), banned, temperature).log_softmax(-1)
    expected = plain.gather(-1, targets[:, None])[:, 0]
    entropy = torch.special.entr(plain.exp()).sum(-1)
    assert (scores.logprobs - expected).abs().max() < 1e-5 and (scores.entropy - entropy).abs().max() < 1e-5
    assert not scores.entropy.requires_grad
    weights = torch.linspace(-1, 1, TOKENS)
    wanted = [rows, *head.parameters()]
    ours = torch.autograd.grad((scores.logprobs * weights).sum(), wanted)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


def test_entropy_is_a_number_under_autocast_too() -> None:
    rows, head, targets, banned = example()
    plain = token_scores(rows, head, targets, banned, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = token_scores(rows, head, targets, banned, 1.0)
    assert scores.entropy.dtype == scores.logprobs.dtype == torch.float32
    assert (scores.entropy - plain.entropy).abs().max() < 0.05


def test_logits_may_be_given_instead_of_a_head() -> None:
    rows, head, targets, banned = example()
    given = token_scores(head(rows), None, targets, banned, 0.8)
    assert torch.equal(given.logprobs, token_scores(rows, head, targets, banned, 0.8).logprobs)


def test_a_banned_target_has_no_probability() -> None:
    rows, head, targets, banned = example()
    targets[0] = 4
    assert token_scores(rows, head, targets, banned, 1.0).logprobs[0] == -torch.inf


def test_no_tensor_of_tokens_by_vocabulary_exists_at_150000_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    entries, largest = 150_000, {}
    for limit in (4 * entries, TOKENS * entries):
        monkeypatch.setattr(vocabulary, "_LOGITS", limit)
        rows, head, targets, banned = example(entries)
        with Largest() as seen:
            token_scores(rows, head, targets, banned, 0.7).logprobs.sum().backward()
        largest[limit] = seen.numel
    # The largest tensor in chunks is the head's own gradient; at once it is the logits.
    assert largest == {4 * entries: HIDDEN * entries, TOKENS * entries: TOKENS * entries}
