"""vLLM as a server of its own on loopback, started by the run and ended with it.

Requests go to vLLM's tokens-in, tokens-out endpoint with our ids and pixels, one for all samples of a prompt. New
weights go through a folder on disk: all of them by the development endpoint that reloads them, adapters by the one
that loads adapters, under a new name for each version, since vLLM would read an adapter that was loaded in place again
for every batch. The server listens on 127.0.0.1 alone, wants a random key on every path and proves that it has the key
before it is sent it (see guard.py), fetches nothing, and its log is a file that an error quotes.

Left out: servers on other machines, and keeping one between runs.
"""

import hmac
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.policy.records import Sampling
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, EngineFailure, EngineOptions, Key
from selfsight.policy.samplers.vllm.guard import NONCE_HEADER, PROOF_PATH, proof
from selfsight.policy.samplers.vllm.inputs import image_item, placeholder_range
from selfsight.policy.samplers.vllm.options import ENVIRONMENT, command_line, engine_settings, require_vllm

_HOST = "127.0.0.1"
_START_SECONDS = 1800.0  # compiling a large model takes minutes
_ANSWER_SECONDS = 3600.0
_END_SECONDS = 60.0  # longer than the guardian takes
_PROOF_SECONDS = 30.0
_AT_ONCE = 64  # requests under way; each may hold many samples
_BASE = "base"


class ServedEngine:
    """See the module."""

    def __init__(self, options: EngineOptions) -> None:
        require_vllm()
        self.options = options
        self._folder = tempfile.TemporaryDirectory(prefix="selfsight-vllm-")
        self._log = Path(self._folder.name) / "server.log"
        self._key = secrets.token_urlsafe(32)
        self._proven = False
        self.port = _free_port()
        self._adapters: dict[str, str] = {}  # a role's name -> that of its last version
        self._loaded = 0
        self.process = self._start()
        self._end = weakref.finalize(self, _end, self.process)
        self._wait()

    # ---- the process -----------------------------------------------------------------------------------

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | ENVIRONMENT | {"VLLM_API_KEY": self._key, "VLLM_SERVER_DEV_MODE": "1"}
        if self.options.adapters:
            environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        arguments = [
            *command_line(engine_settings(self.options)),
            "--host", _HOST, "--port", str(self.port), "--served-model-name", _BASE,
            "--middleware", "selfsight.policy.samplers.vllm.guard.KeyOnEveryPath",
            "--enable-scale-out", "--disable-fastapi-docs", "--disable-uvicorn-access-log",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("serve.py")), "guard", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._call("GET", "/health")
                return
            except EngineFailure as failure:
                if time.monotonic() > deadline:
                    self.close()
                    raise self._ended(f"was not ready after {_START_SECONDS:.0f} s") from failure
            time.sleep(0.2)

    def _ended(self, what: str) -> SelfsightError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        telling = [line for line in lines if "Error" in line] or lines
        return SelfsightError(
            f"The vLLM server for {self.options.folder} {what}: {' | '.join(telling[-3:]) or 'its log is empty'}",
            hint="Lower sampler.kv_cache_gib or sampler.max_model_len, or set sampler.backend to local.",
        )

    def close(self) -> None:
        self._end()
        self._folder.cleanup()

    # ---- requests --------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer's body. EngineFailure where trying again may help, SelfsightError where it will not."""
        if self.process.poll() is not None:
            raise self._ended("has ended")
        if not self._proven:
            self._prove()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailure(f"{path}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 500:
            raise EngineFailure(f"{path}: status {answer.status}: {content[:300].decode(errors='replace')}")
        if answer.status != 200:
            raise SelfsightError(
                f"The vLLM server refused {path} with status {answer.status}: {content[:300].decode(errors='replace')}",
                hint="This is a mistake in the request; `selfsight doctor` shows whether this vLLM version was tried.",
            )
        return content

    def _prove(self) -> None:
        """Makes sure that what listens on the port is the server that was started, before it is sent the key."""
        nonce = secrets.token_hex(32)
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_PROOF_SECONDS)
        try:
            connection.request("GET", PROOF_PATH, headers={NONCE_HEADER: nonce})
            content = connection.getresponse().read(1024)
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailure(f"{PROOF_PATH}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if not hmac.compare_digest(content, proof(self._key, nonce).encode()):
            self.close()
            raise SelfsightError(
                f"Port {self.port} of {_HOST} is answered by another program than the vLLM server that was started for "
                f"{self.options.folder}; it was sent no key.",
                hint="Start again: another port is chosen then.",
            )
        self._proven = True

    def draw(self, asks: Sequence[Ask], sampling: Sampling, adapter: str | None) -> Iterator[tuple[Key, Drawn]]:
        model = _BASE if adapter is None else self._adapters[adapter]
        failures: list[EngineFailure] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = [
                pool.submit(self._draw_together, together, sampling, model)
                for together in stretches(asks, self.options.max_num_seqs)
            ]
            for done in as_completed(waiting):
                try:
                    yield from done.result()
                except EngineFailure as failure:
                    failures.append(failure)
        if failures:
            raise failures[0]

    def _draw_together(self, asks: Sequence[Ask], sampling: Sampling, model: str) -> list[tuple[Key, Drawn]]:
        first = asks[0]
        body: dict[str, Any] = {
            "model": model,
            "token_ids": first.prompt.input_ids.tolist(),
            "sampling_params": {
                "n": len(asks),
                "temperature": 0.0 if sampling.greedy else sampling.temperature,
                "max_tokens": sampling.max_completion_length,
                "seed": first.seed,
                "stop_token_ids": list(self.options.eos_ids),
                "logprobs": 0,
                "detokenize": False,
            },
        }
        if sampling.greedy:
            body["sampling_params"]["n"] = 1  # vLLM refuses more of what is all the same
        if first.image is not None:
            from vllm.entrypoints.scale_out.token_in_token_out.mm_serde import encode_mm_kwargs_item

            offset, length = placeholder_range(first.prompt, first.image)
            body["features"] = {
                "mm_hashes": {"image": [first.prompt.images[0].id]},
                "mm_placeholders": {"image": [{"offset": offset, "length": length}]},
                "kwargs_data": {"image": [encode_mm_kwargs_item(image_item(first.image))]},
            }
        choices = json.loads(self._call("POST", "/inference/v1/generate", body))["choices"]
        if sampling.greedy:
            return [(ask.key, _drawn(choices[0])) for ask in asks]
        return [(asks[choice["index"]].key, _drawn(choice)) for choice in choices]

    # ---- new weights -----------------------------------------------------------------------------------

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder.name, prefix="weights-") as folder:
            apart = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
            save_file(apart, Path(folder) / "model.safetensors")
            body = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            self._publishing("POST", "/collective_rpc", body)

    def load_adapter(self, name: str, folder: Path) -> None:
        old = self._adapters.pop(name, None)
        self._loaded += 1
        version = f"{name}@{self._loaded}"
        # Kept as long as it is served: vLLM may drop an adapter from memory and read it again.
        kept = shutil.copytree(folder, Path(self._folder.name) / version)
        self._publishing("POST", "/v1/load_lora_adapter", {"lora_name": version, "lora_path": str(kept)})
        self._adapters[name] = version
        if old is not None:
            self._publishing("POST", "/v1/unload_lora_adapter", {"lora_name": old})
            shutil.rmtree(Path(self._folder.name) / old)

    def reset_caches(self) -> None:
        self._publishing("POST", "/reset_mm_cache")
        self._publishing("POST", "/reset_encoder_cache")
        answer = json.loads(self._publishing("POST", "/reset_prefix_cache"))
        if not answer["success"]:
            raise SelfsightError(
                "vLLM did not drop its cached prefixes: some are still in use.",
                hint="Publish only when no call of `sample` is running.",
            )

    def _publishing(self, method: str, path: str, body: Any = None) -> bytes:
        """A call that is not repeated: half-loaded weights are no state to go on from."""
        try:
            return self._call(method, path, body)
        except EngineFailure as failure:
            raise SelfsightError(
                f"The vLLM server did not take over new weights: {failure}", hint="Resume the run from its checkpoint."
            ) from failure


def stretches(asks: Sequence[Ask], longest: int) -> Iterator[Sequence[Ask]]:
    """The asks of one request whose seeds follow one another, at most `longest` together."""
    for _, one in groupby(asks, key=lambda ask: ask.key[0]):
        stretch: list[Ask] = []
        for ask in one:
            if stretch and (len(stretch) == longest or ask.seed != stretch[-1].seed + 1):
                yield stretch
                stretch = []
            stretch.append(ask)
        yield stretch


def _drawn(choice: Mapping[str, Any]) -> Drawn:
    if choice["finish_reason"] not in ("stop", "length"):
        raise EngineFailure(f"a sample was given up ({choice['finish_reason']})")
    content = choice["logprobs"]["content"]
    return Drawn(list(choice["token_ids"]), [entry["logprob"] for entry in content])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a server that this process started by the end of its standard input, which its guardian waits for."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
