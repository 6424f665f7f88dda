"""The padded fallback keeps the token budget with what it really computes: every prompt once per answer."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.policy.padded import pack_padded
from selfsight.policy.processor import EncodedPrompt

SIZES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 200))
def test_batches_keep_the_budget_and_lose_nothing(sizes: list[tuple[int, int]], budget: int) -> None:
    pairs = [(EncodedPrompt(np.zeros(p, np.int64), np.zeros(p, np.int64), ()), np.zeros(c)) for p, c in sizes]
    batches = pack_padded(pairs, budget)
    assert sorted(index for batch in batches for index in batch.members) == list(range(len(pairs)))
    for batch in batches:
        width = max(len(prompt) + len(completion) - 1 for prompt, completion in batch.pairs)
        assert width * len(batch.pairs) <= budget or len(batch.pairs) == 1
        assert [pairs[index] for index in batch.members] == list(batch.pairs)
