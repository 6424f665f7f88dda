"""What stands before a vLLM server, and what the run asks of it: no vLLM needed."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.samplers.vllm.engine import Ask
from selfsight.policy.samplers.vllm.guard import KeyOnEveryPath
from selfsight.policy.samplers.vllm.server import stretches

PROMPT = EncodedPrompt(np.array([1, 2]), np.array([0, 0]), ())


def answer_to(scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[MutableMapping[str, Any]]:
    """What a guarded application that says yes to everything sends."""
    monkeypatch.setenv("VLLM_API_KEY", "the-key")
    sent: list[MutableMapping[str, Any]] = []

    async def yes(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "yes"})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    asyncio.run(KeyOnEveryPath(yes)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/", "/health", "/collective_rpc", "/v1/models"])
def test_only_the_whole_key_opens_a_path(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(*given: bytes) -> object:
        headers = [(b"authorization", value) for value in given]
        (first, *_) = answer_to({"type": "http", "path": path, "method": "GET", "headers": headers}, monkeypatch)
        return first.get("status", first["type"])

    assert status(b"Bearer the-key") == "yes"
    for other in ((), (b"",), (b"the-key",), (b"Bearer the-ke",), (b"Bearer the-key",) * 2, (b"Bearer \xff",)):
        assert status(*other) == 401


def test_preflights_and_websockets_do_not_pass_and_the_servers_own_life_does(monkeypatch: pytest.MonkeyPatch) -> None:
    key = [(b"authorization", b"Bearer the-key")]
    (first, *_) = answer_to({"type": "http", "method": "OPTIONS", "headers": []}, monkeypatch)
    assert first["status"] == 401
    assert answer_to({"type": "websocket", "headers": key}, monkeypatch) == [{"type": "websocket.close", "code": 1008}]
    assert answer_to({"type": "lifespan"}, monkeypatch) == [{"type": "yes"}]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), unique=True), st.integers(1, 4))
def test_stretches_hold_every_sample_once_with_seeds_in_a_row(keys: list[tuple[int, int]], longest: int) -> None:
    asks = [Ask((f"r{r}", k), PROMPT, None, 100 * r + k) for r, k in keys]
    found = [list(stretch) for stretch in stretches(asks, longest)]
    assert [ask for stretch in found for ask in stretch] == asks
    for stretch in found:
        assert 1 <= len(stretch) <= longest
        assert [ask.seed - stretch[0].seed for ask in stretch] == list(range(len(stretch)))
        assert len({ask.key[0] for ask in stretch}) == 1
    whole = [Ask(("a", k), PROMPT, None, k) for k in range(8)]
    assert [len(stretch) for stretch in stretches(whole, 3)] == [3, 3, 2]
