"""Opens model folders, each in a process of its own with limits, and writes what came of it: a line of JSON for each.

Run as a program with the folders on standard input, a path in a line. torch is imported once and the processes are
forked from there, so that a folder costs what opening it costs. A line is [name, outcome, text]: "loaded", "refused"
(a SelfsightError), "escaped" (any other exception) or "stopped" (by a limit, or by a signal).
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.policy.open import model_folder
from selfsight.policy.policy import Policy

CPU_SECONDS, WALL_SECONDS, MEMORY = 40, 240, 6 * 2**30


def opened(folder: str) -> tuple[str, str]:
    try:
        policy = Policy.load("tried", model_folder(folder), open_image=lambda _: Image.new("RGB", (112, 112)))
    except SelfsightError as error:
        return "refused", str(error)
    except BaseException as error:  # noqa: BLE001 (what escapes is what is looked for)
        return "escaped", f"{type(error).__name__}: {error}"
    return "loaded", str(policy.vlm.eos_ids)


def in_a_process(folder: str) -> tuple[str, str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS + int(time.process_time()), -1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, -1))
        os.write(writer, json.dumps(opened(folder)).encode()[:60000])
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + WALL_SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(0.02)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    outcome, text = json.loads(said) if said else ("stopped", "by a limit")
    return outcome, text


if __name__ == "__main__":
    for line in sys.stdin.read().splitlines():
        print(json.dumps([Path(line).name, *in_a_process(line)]), flush=True)
