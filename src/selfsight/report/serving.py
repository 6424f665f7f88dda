"""`selfsight serve`: the live page of a run over HTTP, for this machine and nobody else.

A browser lets any page that somebody visits ask servers on loopback, and shows what they answer to whoever is allowed
to look. So the server listens on 127.0.0.1 alone, answers only to its own names (a name that a stranger points at
127.0.0.1 is refused by the Host header: DNS rebinding), and, but for the page itself, no request that a browser says
came from another site. It answers GET and HEAD and nothing else. No path on the disk is ever made of an address: what
can be asked for is `/`, `/state`, and data and pictures by hashes that are looked up among those the run has now.

A request is a connection of its own; its head must arrive within `head_seconds` and fit into 16 KiB, the answer must be
taken within `body_seconds`, and of at most `most` connections at a time each has a thread. When all are taken, a new
connection takes the place of the oldest one whose head is not complete, because a browser sends its head at once. So
what is slow or half said keeps nobody else from being answered, however often it comes back.

Left out: other hosts, and a password with them (a report is a file that can be sent; a port can be forwarded by ssh), a
log of requests, and compression, which loopback does not need. Who has an account on this machine can read the page, as
with other tools of this kind.
"""

import io
import os
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TextIO

from selfsight.errors import SelfsightError
from selfsight.report.live import LiveRun, Piece, newest_run
from selfsight.report.page import MOST_GAMES, MOST_QUESTIONS, live_policy
from selfsight.report.questions import TruthOf
from selfsight.run import plain_text

RUNS: Final = Path("runs")  # where runs lie unless output_dir says otherwise
_LOOPBACK: Final = "127.0.0.1"
_HEAD_BYTES: Final = 16_384
_END_SECONDS: Final = 1.0  # a thread whose connection was closed ends in much less
_POLITE: Final = 19  # the lowest claim to the processor: a run goes first
_SAME: Final = ("same-origin", "none")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{live_policy()}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LiveServer(ThreadingHTTPServer):
    """Answers for one run on `port` of 127.0.0.1; 0 is any free one. SelfsightError when it cannot be had."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        run: LiveRun,
        port: int = 0,
        *,
        head_seconds: float = 10.0,
        body_seconds: float = 60.0,
        most: int = 64,
    ) -> None:
        self.run = run
        self.head_seconds, self.body_seconds = head_seconds, body_seconds
        self._free = threading.BoundedSemaphore(most)
        # Connections whose head is not complete, oldest first. Guarded: each answer's thread takes its own out.
        self._headless: dict[socket.socket, None] = {}
        self._guard = threading.Lock()
        try:
            super().__init__((_LOOPBACK, port), _Answer)
        except OSError as error:
            raise SelfsightError(
                f"port {port} of {_LOOPBACK} cannot be used ({error.strerror})",
                hint="choose another with --port, or leave it out for a free one",
            ) from error

    def server_bind(self) -> None:
        """Binds without asking a name service what 127.0.0.1 is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.socket.getsockname()[1]

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{_LOOPBACK}:{self.server_port}/"

    @property
    def names(self) -> tuple[str, ...]:
        """What a Host header may say; a browser leaves port 80 out."""
        hosts = (_LOOPBACK, "localhost")
        return (*(f"{host}:{self.server_port}" for host in hosts), *(hosts if self.server_port == 80 else ()))

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection; when there is none, that of the oldest one without a complete head, or none."""
        if self._free.acquire(blocking=False) or (self._end_oldest() and self._free.acquire(timeout=_END_SECONDS)):
            with self._guard:
                self._headless[request] = None
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _end_oldest(self) -> bool:
        """Closes the oldest connection without a complete head, whose thread ends by that; False if there is none."""
        with self._guard:
            oldest = next(iter(self._headless), None)
            if oldest is None:
                return False
            del self._headless[oldest]
            with suppress(OSError):  # it has hung up meanwhile
                oldest.shutdown(socket.SHUT_RDWR)
        return True

    def head_is_complete(self, request: Any) -> None:
        """From now on the connection is not closed for another one."""
        with self._guard:
            self._headless.pop(request, None)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and lets the next connection in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection, which then is none without a head any more."""
        self.head_is_complete(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up in the middle of an answer is no error of ours; anything else is, and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Head(io.RawIOBase):
    """What a connection sends, up to a number of bytes and until a point in time."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self.left = _HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if self.left == 0:
            return 0
        if remaining <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        got = self._connection.recv_into(memoryview(buffer)[: self.left])
        self.left -= got
        return got


class _Answer(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: LiveServer
    protocol_version = "HTTP/1.0"
    default_request_version = "HTTP/1.0"  # an answer has a status line whatever was asked

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._head = _Head(self.connection, self.server.head_seconds)
        self.rfile = io.BufferedReader(self._head)

    def parse_request(self) -> bool:
        """Whether there is something to answer; refusals are sent here."""
        if not super().parse_request():
            return False
        self.server.head_is_complete(self.connection)
        refused = self._refusal()
        if refused is not None:
            self.send_error(*refused)
        return refused is None

    def _refusal(self) -> tuple[int, str] | None:
        host, site = self.headers.get_all("Host", []), self.headers.get("Sec-Fetch-Site", "none")
        if self._head.left == 0:
            return 431, "The request is too long."
        if self.command not in ("GET", "HEAD"):
            return 405, "Only GET and HEAD are answered here."
        if len(host) != 1 or host[0].strip().lower() not in self.server.names:
            return 403, f"This page is at {self.server.address} only; a forwarded port must have the same number."
        if site not in _SAME and self._target() != "/":
            return 403, "Other sites get nothing from here."
        return None

    def do_GET(self) -> None:
        """The page, its state, and pieces of its data, each by its name and nothing else."""
        run, target = self.server.run, self._target()
        folder, _, name = target.removeprefix("/").partition("/")
        if target == "/":
            self._send_piece(run.page, "text/html; charset=utf-8")
        elif target == "/state":
            self._send_piece(run.state(), "application/json")
        elif folder == "data" and (data := run.block(name)) is not None:
            self._send_piece(Piece(name, data), "application/json")
        elif folder == "picture" and (picture := run.picture(name)) is not None:
            # A picture that cannot be opened is nothing, and no error: it is shown as missing.
            self._send_piece(Piece(name, picture), "image/webp", status=200 if picture else 204)
        elif target == "/favicon.ico":
            self._send(204, b"", "image/x-icon")
        else:
            self.send_error(404, "There is nothing of this name here.")

    do_HEAD = do_GET

    def _target(self) -> str:
        """What was asked for, as it was written: nothing is decoded, cut off or put together."""
        return self.requestline.split()[1]

    def _send_piece(self, piece: Piece, kind: str, status: int = 200) -> None:
        tag = f'"{piece.name}"'
        known = [one.strip().removeprefix("W/") for one in self.headers.get("If-None-Match", "").split(",")]
        if tag in known or "*" in known:
            self._send(304, b"", kind, tag)
        else:
            self._send(status, piece.body, kind, tag)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A refusal as plain text that repeats nothing of the request."""
        text = message if code in (403, 404, 405, 431) else "This request cannot be understood."
        self.command = getattr(self, "command", None) or "GET"
        self._send(code, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str, tag: str | None = None) -> None:
        self.connection.settimeout(self.server.body_seconds)
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        if tag is not None:
            self.send_header("ETag", tag)
        if status not in (204, 304):
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for every request."""


def serve(
    run_path: Path | None,
    stream: TextIO,
    *,
    port: int = 0,
    truth: TruthOf | None = None,
    most_questions: int = MOST_QUESTIONS,
    most_games: int = MOST_GAMES,
) -> None:
    """Serves a run until Ctrl-C, and says where on `stream`; without a path the run in runs/ that was written last."""
    run = LiveRun(
        newest_run(RUNS) if run_path is None else run_path,
        truth=truth,
        most_questions=most_questions,
        most_games=most_games,
    )
    with LiveServer(run, port) as server:
        os.nice(_POLITE)
        print(f"{plain_text(str(run.path))}: {server.address} until Ctrl-C", file=stream, flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
