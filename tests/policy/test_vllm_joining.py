"""Every sample once, whatever breaks off on the way: no vLLM needed."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.errors import SelfsightError
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, EngineFailure, Key
from selfsight.policy.samplers.vllm.joining import ATTEMPTS, draw_all
from selfsight.policy.samplers.vllm.seeds import engine_seed

PROMPT = EncodedPrompt(np.array([1, 2]), np.array([0, 0]), ())


def asks(requests: int, samples: int) -> list[Ask]:
    return [Ask((f"r{r}", k), PROMPT, None, 10 * r + k) for r in range(requests) for k in range(samples)]


def answer(ask: Ask) -> Drawn:
    return Drawn([ask.seed], [-0.5])


class Flaky:
    """Answers in an order of its own, some of it twice, and breaks off after `until[attempt]` answers."""

    def __init__(self, until: Sequence[int], seed: int = 0) -> None:
        self.until, self.random = list(until), np.random.default_rng(seed)
        self.asked: list[list[Key]] = []

    def __call__(self, wanted: Sequence[Ask]) -> Iterator[tuple[Key, Drawn]]:
        self.asked.append([ask.key for ask in wanted])
        left = self.until.pop(0) if self.until else len(wanted)
        order = self.random.permutation(len(wanted))[:left]
        for index in order:
            yield wanted[index].key, answer(wanted[index])
            if self.random.random() < 0.3:
                yield wanted[index].key, Drawn([-1], [0.0])  # the second of two is not taken
        if left < len(wanted):
            raise EngineFailure("broke off")


@given(st.integers(1, 6), st.integers(1, 4), st.lists(st.integers(0, 10), max_size=ATTEMPTS - 1), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_no_sample_is_lost_or_doubled_when_attempts_break_off(
    requests: int, samples: int, until: list[int], seed: int
) -> None:
    wanted, flaky = asks(requests, samples), Flaky(until, seed)
    found = draw_all(wanted, flaky)
    assert list(found) == [ask.key for ask in wanted]
    assert [found[ask.key].token_ids for ask in wanted] == [[ask.seed] for ask in wanted]


def test_only_the_missing_samples_are_asked_for_again() -> None:
    flaky = Flaky([5, 2])
    draw_all(asks(2, 4), flaky)
    assert [len(keys) for keys in flaky.asked] == [8, 3, 1]
    assert set(flaky.asked[2]) < set(flaky.asked[1]) < set(flaky.asked[0])


def test_after_the_last_attempt_the_error_names_a_missing_sample_and_the_reason() -> None:
    flaky = Flaky([3, 0, 0, 0])
    with pytest.raises(SelfsightError, match=r"5 of 8 samples are missing after 3 attempts.*request 'r\d'.*broke off"):
        draw_all(asks(2, 4), flaky)
    assert len(flaky.asked) == ATTEMPTS


def test_an_engine_that_ends_early_without_an_error_is_asked_again() -> None:
    calls: list[int] = []

    def quiet(wanted: Sequence[Ask]) -> Iterator[tuple[Key, Drawn]]:
        calls.append(len(wanted))
        yield wanted[0].key, answer(wanted[0])

    assert len(draw_all(asks(1, 3), quiet)) == 3
    assert calls == [3, 2, 1]


def test_an_answer_to_nothing_that_was_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="never asked for"):
        draw_all(asks(1, 1), lambda wanted: [(("other", 0), Drawn([1], [0.0]))])


def test_any_other_error_is_not_asked_again() -> None:
    calls: list[int] = []

    def broken(wanted: Sequence[Ask]) -> Iterator[tuple[Key, Drawn]]:
        calls.append(1)
        raise KeyError("a mistake in our own code")
        yield

    with pytest.raises(KeyError):
        draw_all(asks(1, 1), broken)
    assert calls == [1]


def test_samples_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="share a key"):
        draw_all(asks(1, 1) * 2, lambda wanted: [])


def test_nothing_asked_asks_no_engine() -> None:
    assert draw_all([], Flaky([])) == {}


def test_seeds_of_a_requests_samples_follow_one_another_and_those_of_requests_lie_apart() -> None:
    starts = [engine_seed(seed, 0) for seed in range(200)]
    assert engine_seed(3, 5) == engine_seed(3, 0) + 5
    assert all(0 <= start < 2**62 for start in starts)
    gaps = np.diff(sorted(starts))
    assert gaps.min() > 10**6
