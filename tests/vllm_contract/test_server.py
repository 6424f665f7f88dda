"""`vllm serve` on loopback: the same samples as in this process, behind a key, and gone when the run is gone."""

import http.client
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policy.conftest import Load, draw_groups, requests
from selfsight.errors import SelfsightError
from selfsight.policy import LearnerOptions, LoraOptions, LossOptions, Policy, Sampling
from selfsight.policy.samplers.vllm.engine import EngineFailure
from selfsight.policy.samplers.vllm.server import ServedEngine

from .conftest import SHORT, StartEngine, flat, options_for, rescored, serve

BOLD = LearnerOptions(learning_rate=3e-2, loss=LossOptions(beta=0.0))


@pytest.fixture(scope="module")
def server(load: Load) -> Iterator[ServedEngine]:
    engine = ServedEngine(options_for(load()))
    yield engine
    engine.close()


@pytest.fixture
def policy(load: Load, server: ServedEngine) -> Policy:
    """A policy that learns, with the weights of its folder in the server."""
    served = serve(load(learning=BOLD), server)
    served.publish()
    return served


def update(policy: Policy) -> None:
    policy.learn(draw_groups(policy))
    policy.step()
    policy.publish()


def in_session(leader: int) -> list[int]:
    """The processes that the server's process started, itself included."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else []
        except OSError:  # it has just ended
            continue
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def all_gone(leader: int) -> bool:
    deadline = time.monotonic() + 10
    while in_session(leader) and time.monotonic() < deadline:
        time.sleep(0.1)
    return in_session(leader) == []


def listening(process: int) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which a process listens for TCP."""
    own = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        target = descriptor.readlink().name if descriptor.is_symlink() else ""
        if target.startswith("socket:["):
            own.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                found.add(fields[1].partition(":")[0])
    return found


def test_a_server_draws_what_the_engine_in_this_process_draws(policy: Policy, load: Load, start: StartEngine) -> None:
    beside = load()
    serve(beside, start(beside))
    for sampling in (SHORT, Sampling(0.7, 10), Sampling(max_completion_length=8, greedy=True)):
        rollouts = policy.sample(requests(n=5), sampling)
        assert flat(rollouts) == flat(beside.sample(requests(n=5), sampling))
        assert rescored(policy, rollouts, sampling.temperature) < 1e-4


def test_after_an_update_the_same_images_are_drawn_from_the_new_weights(policy: Policy) -> None:
    before = policy.sample(requests(), SHORT)
    for version in (1, 2):
        update(policy)
        after = policy.sample(requests(), SHORT)
        assert {r.weight_version for several in after.values() for r in several} == {version}
        assert rescored(policy, after) < 1e-4
        assert rescored(policy, before) > 1e-2


def test_a_server_draws_no_placeholder_tokens(policy: Policy) -> None:
    banned = list(policy.vlm.encoder.placeholder_ids)
    likeliest = policy.sample(requests(n=1)[:1], Sampling(max_completion_length=1, greedy=True))["r0"][0].token_ids[0]
    head = policy.vlm.model.get_output_embeddings().weight
    with torch.no_grad():
        head[banned] = 4 * head[likeliest]
    policy.publish()
    rollouts = policy.sample(requests(n=8), SHORT)
    assert not any(np.isin(ids, banned).any() for ids in flat(rollouts).values())
    assert rescored(policy, rollouts) < 1e-4


def test_answers_that_are_lost_are_asked_for_again_and_change_nothing(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(n=6)
    whole = flat(policy.sample(asked, SHORT))
    call, calls = ServedEngine._call, []

    def losing(self: ServedEngine, method: str, path: str, body: Any = None) -> bytes:
        answer = call(self, method, path, body)
        calls.append(path)
        if len(calls) in (1, 3, 5):  # drawn, but the answer never came
            raise EngineFailure(f"{path}: timed out (injected)")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(ServedEngine, "_call", losing)
        assert flat(policy.sample(asked, SHORT)) == whole
    assert len(calls) == 4 + 2 + 1


def test_more_samples_than_the_server_takes_at_once_are_divided(
    policy: Policy, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flat(policy.sample(requests(n=7), SHORT))
    options = options_for(load(), max_num_seqs=3)
    monkeypatch.setattr(policy.sampler.engine, "options", options)  # type: ignore[attr-defined]
    assert flat(policy.sample(requests(n=7), SHORT)) == whole


PATHS = ["/health", "/v1/models", "/metrics", "/docs", "/openapi.json", "/version", "/ping", "/nowhere"]
COMMANDS = ["/inference/v1/generate", "/collective_rpc", "/reset_prefix_cache", "/v1/chat/completions", "/pause"]


@pytest.mark.parametrize(("method", "path"), [("GET", p) for p in PATHS] + [("POST", p) for p in COMMANDS])
def test_every_path_wants_the_key(server: ServedEngine, method: str, path: str) -> None:
    def status(**headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, path, "{}" if method == "POST" else None, headers)
        return connection.getresponse().status

    key = server._key
    assert status() == status(Authorization="Bearer wrong") == status(Authorization=key) == 401
    if path == "/health":
        assert status(Authorization=f"Bearer {key}") == 200


def test_the_server_listens_on_loopback_alone_and_tells_nobody_its_key(policy: Policy, server: ServedEngine) -> None:
    processes = in_session(server.process.pid)
    assert len(processes) >= 2
    addresses = {address for process in processes for address in listening(process)}
    assert addresses == {"0100007F"}
    shown = b"".join(Path(f"/proc/{process}/cmdline").read_bytes() for process in processes)
    assert server._key.encode() not in shown
    assert server._key not in server._log.read_text()
    assert os.getpgid(server.process.pid) == server.process.pid != os.getpgid(0)


def test_what_a_server_refuses_is_not_asked_again(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    call = ServedEngine._call

    def counted(self: ServedEngine, method: str, path: str, body: Any = None) -> bytes:
        calls.append(path)
        return call(self, method, path, body | {"token_ids": []})

    monkeypatch.setattr(ServedEngine, "_call", counted)
    with pytest.raises(SelfsightError, match="refused /inference/v1/generate with status 4"):
        policy.sample(requests(n=2)[:1], SHORT)
    assert len(calls) == 1


def test_adapters_are_served_beside_their_base_until_the_server_is_gone(load: Load) -> None:
    roles = {
        name: load(learning=None if seed is None else BOLD, lora=None if seed is None else LoraOptions(4, seed=seed))
        for name, seed in (("questioner", 1), ("reasoner", 2), ("judge", None))
    }
    engine = ServedEngine(options_for(roles["judge"], lora_rank=4, adapters=2))
    try:
        for name, role in roles.items():
            role.name = name
            serve(role, engine)
        base = flat(roles["judge"].sample(requests(), SHORT))
        for updated in ("questioner", "questioner", "reasoner", "questioner", "questioner", "questioner"):
            update(roles[updated])
        drawn = {name: role.sample(requests(), SHORT) for name, role in roles.items()}
        assert all(rescored(role, drawn[name]) < 1e-4 for name, role in roles.items())
        assert flat(drawn["judge"]) == base
        for name, other in (("questioner", "reasoner"), ("reasoner", "judge"), ("judge", "questioner")):
            assert rescored(roles[name], drawn[other]) > 1e-2
        assert len(list(Path(engine._folder.name).glob("*@*"))) == 2  # old versions are not kept

        guardian = engine.process.pid
        (server,) = (p for p in in_session(guardian) if parent(p) == guardian)
        os.kill(server, signal.SIGKILL)
        engine.process.wait(60)
        with pytest.raises(SelfsightError, match="has ended"):
            roles["judge"].sample(requests(), SHORT)
        assert all_gone(guardian)  # the engine's own processes, too
    finally:
        engine.close()


def test_a_server_that_cannot_start_is_an_error_with_what_it_said(load: Load) -> None:
    with pytest.raises(SelfsightError, match=r"has ended: .*memory for the cache blocks") as caught:
        ServedEngine(options_for(load(), kv_cache_gib=1e-5))
    assert caught.value.hint is not None and "sampler.kv_cache_gib" in caught.value.hint


def test_a_server_ends_when_the_pipe_from_its_run_does(server: ServedEngine) -> None:
    assert len(in_session(server.process.pid)) >= 3
    assert server.process.stdin is not None
    server.process.stdin.close()  # what the kernel does when the run is killed
    server.process.wait(60)
    assert all_gone(server.process.pid)


def test_a_server_that_is_still_starting_ends_too(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServedEngine, "_wait", lambda self: None)
    monkeypatch.setattr("selfsight.policy.samplers.vllm.server._END_SECONDS", 90.0)
    engine = ServedEngine(options_for(load()))
    deadline = time.monotonic() + 60
    while len(in_session(engine.process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2.0)  # into its imports
    engine.close()
    assert all_gone(engine.process.pid)
