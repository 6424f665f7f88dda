"""A key on every path of a vLLM server.

vLLM's own check covers /v1 and /inference. Handing weights over and dropping caches needs its development endpoints,
among them one that calls any method of the engine, and these it leaves open to whoever reaches the port: on a shared
machine that is every user of it.

The run in turn must not send its key to a stranger: between choosing a port and vLLM's listening on it, another program
may have taken the port. So the server first proves that it has the key, without showing it: it answers a random number
with that number's HMAC.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


PROOF_PATH = "/selfsight-proof"
NONCE_HEADER = "x-selfsight-nonce"


def proof(key: str, nonce: str) -> str:
    """What whoever has the key answers to `nonce`: HMAC-SHA256 in hexadecimal."""
    return hmac.new(key.encode(), b"selfsight-proof:" + nonce.encode("latin-1"), "sha256").hexdigest()


class KeyOnEveryPath:
    """ASGI middleware: 401 for HTTP without the key that is in VLLM_API_KEY; nothing but HTTP is let in.

    Without the key it answers `PROOF_PATH` alone, with a proof that this server has it.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._key = os.environ["VLLM_API_KEY"]
        self._wanted = f"Bearer {self._key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        nonces = [value for name, value in scope["headers"] if name == NONCE_HEADER.encode()]
        if scope["type"] == "http" and scope.get("path") == PROOF_PATH and len(nonces) == 1:
            body = proof(self._key, nonces[0].decode("latin-1")).encode()
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": body})
        elif scope["type"] == "http" and len(given) == 1 and hmac.compare_digest(given[0], self._wanted):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})
