"""`selfsight serve`: what it answers, whom it does not answer, and that nobody keeps it from answering others."""

import json
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from made_runs import visplay_run
from selfsight.cli import app
from selfsight.errors import SelfsightError
from selfsight.report.live import LiveRun
from selfsight.report.serving import LiveServer

SECRET = "what-lies-beside-the-run"


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


def raw(server: LiveServer, request: bytes) -> bytes:
    """All that a connection answers to these bytes; empty when it is closed without a word."""
    with closing(socket.create_connection(("127.0.0.1", server.server_port), timeout=60)) as connection:
        connection.sendall(request)
        found = b""
        try:
            while piece := connection.recv(65_536):
                found += piece
        except ConnectionResetError:  # it did not want to read all of it
            pass
        return found


def parsed(answer: bytes) -> Answered:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1.0 "), first
    return Answered(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


def ask(server: LiveServer, target: str | bytes = "/", *, method: str = "GET", **headers: str) -> Answered:
    path = target if isinstance(target, bytes) else target.encode()
    given = {"Host": f"127.0.0.1:{server.server_port}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return parsed(raw(server, method.encode() + b" " + path + b" HTTP/1.1\r\n" + lines.encode() + b"\r\n"))


@contextmanager
def serving(run: Path, **limits: Any) -> Iterator[LiveServer]:
    with LiveServer(LiveRun(run), **limits) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    run = visplay_run(folder, images=1, rounds=1)
    for place in (run / "secret", run / "rounds/secret", folder / "secret", run / ".secret"):
        place.write_text(SECRET)
    return run


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[LiveServer]:
    with serving(made) as running:
        yield running


# ------------------------------------------------------------------------------------------------- answers


def test_the_page_leads_to_its_state_and_that_to_data_and_pictures(server: LiveServer) -> None:
    page = ask(server)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"Reading the run" in page.body
    assert b"application/json" not in page.body  # no data in it
    state = ask(server, "/state")
    assert state.headers["Content-Type"] == "application/json"
    blocks = json.loads(state.body)["blocks"]
    overview = json.loads(ask(server, f"/data/{blocks['overview']}").body)
    assert overview["headline"]["status"] == "better"
    album = json.loads(ask(server, f"/data/{blocks['album']}").body)
    picture = ask(server, f"/picture/{album['images'][0][0]}")
    assert (picture.status, picture.headers["Content-Type"], picture.body[8:12]) == (200, "image/webp", b"WEBP")


def test_head_answers_like_get_without_the_body(server: LiveServer) -> None:
    for target in ("/", "/state", "/nothing"):
        got, head = ask(server, target), ask(server, target, method="HEAD")
        assert head.body == b""
        assert head.status == got.status
        assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


def test_what_is_known_already_is_not_sent_again(server: LiveServer) -> None:
    state = ask(server, "/state")
    album = json.loads(state.body)["blocks"]["album"]
    picture = json.loads(ask(server, f"/data/{album}").body)["images"][0][0]
    for target in ("/", "/state", f"/data/{album}", f"/picture/{picture}"):
        tag = ask(server, target).headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = ask(server, target, If_None_Match=known)
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert ask(server, target, If_None_Match='"other"').status == 200


def test_every_answer_forbids_everything_that_a_page_does_not_need(server: LiveServer) -> None:
    answers = [
        ask(server), ask(server, "/state"), ask(server, "/x"), ask(server, method="POST"), ask(server, Host="x"),
        ask(server, "/favicon.ico"), parsed(raw(server, b"GET / HTTP/9\r\n\r\n")),
    ]  # fmt: skip
    for answer in answers:
        headers = answer.headers
        rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert (rules["default-src"], rules["connect-src"], rules["img-src"]) == ("'none'", "'self'", "'self'")
        assert (rules["frame-ancestors"], rules["form-action"], rules["trusted-types"]) == ("'none'",) * 3
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:"} & set(" ".join(rules.values()).split())
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert not {"Server", "Access-Control-Allow-Origin", "Set-Cookie"} & set(headers)
    page = ask(server).body.decode()
    inner = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert inner is not None
    policy = inner.group(1).replace("&#39;", "'")
    assert answers[0].headers["Content-Security-Policy"] == f"{policy}; frame-ancestors 'none'"


# ------------------------------------------------------------------------------------------------- refusals


def test_only_its_own_names_are_answered(server: LiveServer) -> None:
    port = server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert ask(server, Host=host).status == 200
    for host in (
        "localhost", "127.0.0.1", f"localhost:{port + 1}", f"evil.example:{port}", f"127.0.0.1:{port}.evil.example",
        f"evil@127.0.0.1:{port}", f"127.0.0.1.:{port}", f"[::1]:{port}", f"0.0.0.0:{port}", f"2130706433:{port}", "",
    ):  # fmt: skip
        refused = ask(server, "/state", Host=host)
        assert refused.status == 403, host
        assert b"blocks" not in refused.body
        assert b"evil" not in refused.body


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nHost: evil.example\r\n\r\n",
])  # fmt: skip
def test_a_request_without_one_host_is_refused(server: LiveServer, head: bytes) -> None:
    assert parsed(raw(server, head.replace(b"%d", b"%d" % server.server_port))).status == 403


def test_other_methods_are_refused(server: LiveServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 99):
        refused = ask(server, "/state", method=method)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_other_sites_may_link_to_the_page_and_get_nothing_else(server: LiveServer) -> None:
    for site in ("cross-site", "same-site", "anything"):
        assert ask(server, "/", Sec_Fetch_Site=site).status == 200
        assert ask(server, "/state", Sec_Fetch_Site=site).status == 403
    assert ask(server, "/state", Sec_Fetch_Site="same-origin").status == 200


TRAVERSALS = [
    "//", "///etc/passwd", "/../secret", "/..%2fsecret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "/%252e%252e/secret",
    "/secret", "/./secret", "/rounds/secret", "/config.yaml", "/metrics.jsonl", "/.lock", "/.secret", "/report.html",
    "/data/../secret", "/data/%2e%2e/secret", "/data/..\\..\\secret", "/picture/../../secret", "/data/", "/picture/",
    "/data/" + "0" * 32, "/data//", "/data/secret", "/state/", "/state?x", "/?x", "/#x", "/%00", "/state%00.html",
    "http://127.0.0.1/", "http://evil.example/state", "file:///etc/passwd", "*", "state", "\\secret", "/~root/secret",
    "/\u2025/secret", "/\uff0e\uff0e/secret", "/c:/secret", "/data/%c0%ae%c0%ae/secret", "/" + "a" * 9_000,
    "/" + "../" * 2_000 + "etc/passwd", "/;/../secret", "/data/" + "/".join(".." for _ in range(99)) + "/etc/hostname",
]  # fmt: skip
PARTS = [
    "..", ".", "/", "//", "\\", "%2e%2e", "%2f", "%5c", "%00", "%25", "%u002e", "secret", "rounds", "etc", "passwd",
    "data", "picture", "state", "config.yaml", "\u202e", "\u00e9", "\ufeff", "~", "?", "#", ";", ":", "@", "*",
    "a" * 300, "\t", "\x00", "\x0b", "\x7f", "\x85", "&", "=", "+", "|", "'", '"', "<script>", "{", "file:", "http://",
    "localhost",
]  # fmt: skip


def test_1000_addresses_give_nothing_that_was_not_offered(server: LiveServer, made: Path) -> None:
    draw = random.Random(5)
    targets: list[bytes] = [target.encode() for target in TRAVERSALS]
    targets += [str(made / "secret").encode(), b"/" + str(made / "secret").encode(), b"/\xff\xfe/secret", b"/\x80"]
    while len(targets) < 1_000:
        made_up = "".join(draw.choices(PARTS, k=draw.randrange(1, 12)))
        target = (made_up if draw.random() < 0.3 else f"/{made_up}").encode()
        targets.append(target if draw.random() < 0.8 else draw.randbytes(draw.randrange(1, 60)))
    known = {b"/", b"/state"}
    seen: dict[int, int] = {}
    for target in targets:
        host = b"Host: 127.0.0.1:%d\r\n\r\n" % server.server_port
        answer = raw(server, b"GET " + target + b" HTTP/1.1\r\n" + host)
        found = parsed(answer)
        seen[found.status] = seen.get(found.status, 0) + 1
        if (target.split() or [b""])[0] not in known:
            assert found.status in (400, 403, 404, 431), target
            assert len(found.body) < 200
        assert SECRET.encode() not in answer
        assert str(made).encode() not in answer
    assert seen[404] > 500


def test_a_request_that_is_too_long_or_no_request_is_refused(server: LiveServer) -> None:
    host = b"Host: 127.0.0.1:%d\r\n" % server.server_port
    for request in (
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"".join(b"X-%d: 1\r\n" % i for i in range(500)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/one\r\n" + host + b"\r\n", b"GET  / x y z HTTP/1.1\r\n\r\n", b"\x00" * 500 + b"\r\n\r\n",
    ):  # fmt: skip
        answer = raw(server, request)
        assert not answer or 400 <= parsed(answer).status < 500
    assert ask(server).status == 200


def test_a_request_has_a_connection_of_its_own(server: LiveServer) -> None:
    host = b"Host: 127.0.0.1:%d\r\nConnection: keep-alive\r\n\r\n" % server.server_port
    answer = raw(server, (b"GET /x HTTP/1.1\r\n" + host) * 3)
    assert answer.count(b"HTTP/1.0 404") == 1


# ------------------------------------------------------------------------------------------------- patience


def half(server: LiveServer, said: bytes = b"GET / HT") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=60)
    connection.sendall(said)
    return connection


def test_half_requests_keep_nobody_else_waiting(server: LiveServer) -> None:
    waiting = [half(server, said) for said in (b"", b"G", b"GET / HTTP/1.1\r\nHost:") for _ in range(10)]
    began = time.monotonic()
    assert ask(server, "/state").status == 200
    assert time.monotonic() - began < server.head_seconds
    for connection in waiting:
        connection.close()


def test_who_speaks_too_slowly_is_cut_off(made: Path) -> None:
    with serving(made, head_seconds=0.6) as server:
        connection = half(server)
        began = time.monotonic()
        # A byte now and then does not buy more time.
        while not select.select([connection], [], [], 0.1)[0]:
            assert time.monotonic() - began < 60
            connection.sendall(b"a")
        assert time.monotonic() - began >= 0.5
        connection.close()


def test_who_does_not_take_the_answer_is_cut_off(made: Path) -> None:
    with serving(made, body_seconds=0.3, most=1) as server:
        big = b"x" * 50_000_000
        server.run._pieces = {"big": big}
        connection = half(server, b"GET /data/big HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port)
        assert connection.recv(10) == b"HTTP/1.0 2"
        assert eventually(lambda: raw_or_nothing(server) != b"")  # the only place is free again
        connection.close()


def test_a_new_connection_takes_the_place_of_the_oldest_half_said_one(made: Path) -> None:
    with serving(made, most=3) as server:
        waiting = [half(server) for _ in range(3)]
        assert raw_or_nothing(server).startswith(b"HTTP/1.0 404")
        waiting[0].settimeout(10)
        assert waiting[0].recv(1) == b""  # closed for it, and only that one
        for connection in waiting[1:]:
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        for connection in waiting:
            connection.close()


def test_half_said_requests_that_come_again_and_again_keep_nobody_out(made: Path) -> None:
    with serving(made, most=4) as server:
        over = threading.Event()

        def flood() -> None:
            while not over.is_set():
                with suppress(OSError), closing(half(server)) as connection:
                    connection.settimeout(0.05)
                    connection.recv(1)

        threads = [threading.Thread(target=flood) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            answered = sum(raw_or_nothing(server) != b"" for _ in range(20))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert answered >= 15


def raw_or_nothing(server: LiveServer) -> bytes:
    return raw(server, b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port)


def eventually(holds: Any) -> bool:
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_who_hangs_up_early_leaves_no_traceback(server: LiveServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        half(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.server_port).close()
    assert ask(server).status == 200
    assert "Traceback" not in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------- the command


def listening(port: int) -> list[str]:
    """The addresses on which anything listens at this port, as the kernel writes them."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                found.append(local.rpartition(":")[0])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
def test_it_listens_on_loopback_alone(server: LiveServer) -> None:
    assert listening(server.server_port) == ["0100007F"]


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(server: LiveServer, made: Path) -> None:
    with pytest.raises(SelfsightError, match=rf"port {server.server_port} of 127\.0\.0\.1 cannot be used"):
        LiveServer(LiveRun(made), server.server_port)
    done = CliRunner().invoke(app, ["serve", str(made), "--port", str(server.server_port)])
    assert done.exit_code == 2
    assert "--port" in done.stderr


def test_there_is_no_option_for_another_host() -> None:
    assert CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"]).exit_code == 2
    assert CliRunner().invoke(app, ["serve", "--port", "70000"]).exit_code == 2


def snapshot(run: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in run.rglob("*")}


def test_the_command_prints_the_address_once_writes_nothing_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    made = visplay_run(tmp_path / "runs", images=1, rounds=1)
    before = snapshot(made)
    # A shell that starts tests in the background has its children ignore Ctrl-C.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from selfsight.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "serve"]  # the only run there is in runs/
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"{re.escape(str(made))}: http://127\.0\.0\.1:(\d+)/ until Ctrl-C\n", line)
        assert found, process.stderr.read()
        with closing(socket.create_connection(("127.0.0.1", int(found.group(1))), timeout=60)) as connection:
            connection.sendall(f"GET /state HTTP/1.1\r\nHost: localhost:{found.group(1)}\r\n\r\n".encode())
            assert b"finished" in b"".join(iter(lambda: connection.recv(65_536), b""))
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert snapshot(made) == before
