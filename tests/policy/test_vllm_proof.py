"""A vLLM server is sent the key only after it has proved that it has it: no vLLM needed."""

import asyncio
import http.server
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest

from selfsight.errors import SelfsightError
from selfsight.policy.samplers.vllm.engine import EngineFailure
from selfsight.policy.samplers.vllm.guard import NONCE_HEADER, PROOF_PATH, KeyOnEveryPath, proof
from selfsight.policy.samplers.vllm.server import ServedEngine


def answer_of_guard(nonces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes]:
    monkeypatch.setenv("VLLM_API_KEY", "the-key")
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("let in without a key")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    headers = [(NONCE_HEADER.encode(), nonce) for nonce in nonces]
    scope = {"type": "http", "path": PROOF_PATH, "method": "GET", "headers": headers}
    asyncio.run(KeyOnEveryPath(app)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_the_guard_proves_that_it_has_the_key_and_lets_nobody_in_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    status, body = answer_of_guard([b"5"], monkeypatch)
    assert (status, body.decode()) == (200, proof("the-key", "5"))
    assert b"the-key" not in body
    assert body != answer_of_guard([b"6"], monkeypatch)[1]
    assert answer_of_guard([], monkeypatch) == (401, b"")
    assert answer_of_guard([b"5", b"6"], monkeypatch) == (401, b"")


@contextmanager
def listening(key: str | None) -> Iterator[tuple[int, list[str]]]:
    """A server on loopback that answers everything with 200, and proofs with `key` if it has one; what it was told."""
    told: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.append(f"{self.path} {self.headers.get('Authorization')}")
            nonce = self.headers.get(NONCE_HEADER)
            body = b"ok" if key is None or nonce is None else proof(key, nonce).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port, told
        server.shutdown()
        thread.join()


def engine_at(port: int, monkeypatch: pytest.MonkeyPatch) -> ServedEngine:
    """An engine whose process is under way on that port."""

    class Process:
        def poll(self) -> None:
            return None

    class Options:
        folder = "somewhere"

    engine = object.__new__(ServedEngine)
    engine.options, engine.process, engine.port = Options(), Process(), port  # type: ignore[assignment]
    engine._key, engine._proven = "the-key", False
    monkeypatch.setattr(ServedEngine, "close", lambda self: None)
    return engine


def test_a_stranger_on_the_port_never_sees_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(None) as (port, told):
        with pytest.raises(SelfsightError, match="another program") as refused:
            engine_at(port, monkeypatch)._call("GET", "/health")
        assert refused.value.hint
        assert told == [f"{PROOF_PATH} None"]


def test_the_server_itself_is_asked_once_and_then_sent_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("the-key") as (port, told):
        engine = engine_at(port, monkeypatch)
        for _ in range(2):
            assert engine._call("GET", "/health") == b"ok"
        assert told == [f"{PROOF_PATH} None", *["/health Bearer the-key"] * 2]


def test_nobody_there_yet_is_a_failure_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(None) as (port, _):
        pass
    with pytest.raises(EngineFailure):
        engine_at(port, monkeypatch)._call("GET", "/health")
