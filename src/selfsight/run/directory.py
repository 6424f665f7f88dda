"""A run's folder: what lies where, who may write, and that no run is written over another.

config.yaml     the resolved configuration      journal.jsonl   one line per finished stage
metrics.jsonl   one line per step               rounds/K/       questions, votes, pool, model folders
alarms.jsonl    what was watched for collapse
images.parquet  image files of the run          quarantine.jsonl  image files left out, and why
checks.json     check values of files above     history.json    changed settings, losses (if any)
checkpoints/    what resuming needs             images/         content-addressed references
summary.json    what the run showed             report.html     self-contained
failure.json    why it failed, until it goes on
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import yaml

from selfsight.errors import SelfsightError
from selfsight.run.atomic import disk_errors, pretty_json, read_json, write_atomic
from selfsight.run.closing import Closing
from selfsight.run.lock import RunLock

_LOCK: Final = ".lock"


class RunDirectory(Closing):
    """The folder of one run. `create` and `resume` hold its lock until `close`; `open` only reads."""

    def __init__(self, path: Path, lock: RunLock | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, path: Path, config: Mapping[str, object]) -> Self:
        """A new run with its resolved configuration. An existing run or other files are never touched."""
        path = Path(path).absolute()
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        check_free(path)
        lock = RunLock(path / _LOCK)
        lock.acquire()
        try:
            check_free(path)  # again: another process may have been quicker
            run = cls(path, lock)
            with disk_errors(path):
                run.rounds.mkdir(exist_ok=True)
                run.checkpoints.mkdir(exist_ok=True)
            # Last, since it is what makes the folder a run.
            run.write_config(config)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def resume(cls, path: Path) -> Self:
        """An existing run, to be continued by this process alone."""
        run = cls.open(path)
        run._lock = RunLock(run.lock_path)
        run._lock.acquire()
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run, to be read."""
        path = Path(path).absolute()
        if not (path / "config.yaml").is_file():
            raise SelfsightError(
                f"{path}: holds no run (no config.yaml)",
                hint="give the folder that `selfsight evolve` wrote, usually runs/NAME",
            )
        return cls(path, None)

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def alarms_path(self) -> Path:
        return self.path / "alarms.jsonl"

    @property
    def summary_path(self) -> Path:
        return self.path / "summary.json"

    @property
    def failure_path(self) -> Path:
        return self.path / "failure.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def lock_path(self) -> Path:
        return self.path / _LOCK

    @property
    def quarantine_path(self) -> Path:
        return self.path / "quarantine.jsonl"

    @property
    def rounds(self) -> Path:
        return self.path / "rounds"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def images(self) -> Path:
        return self.path / "images"

    def round(self, number: int) -> Path:
        """The folder of a round (counted from 1), made if it is not there."""
        folder = self.rounds / str(number)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def read_config(self) -> dict[str, object]:
        """The configuration as written; the typed model in `selfsight.config` checks it."""
        try:
            config = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise SelfsightError(
                f"{self.config_path}: is damaged ({error})", hint="restore it, or start a new run"
            ) from error
        if not isinstance(config, dict):
            raise SelfsightError(f"{self.config_path}: holds no settings", hint="restore it, or start a new run")
        return config

    def write_config(self, config: Mapping[str, object]) -> None:
        """Replace the resolved configuration: a run was resumed with changed settings."""
        settings = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False).encode()
        self.check_lock()
        write_atomic(self.config_path, settings)

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Replace summary.json, the contract for scripts."""
        self.check_lock()
        write_atomic(self.summary_path, pretty_json(dict(summary)))

    def read_summary(self) -> dict[str, object]:
        """summary.json; an error says when the run has not got that far."""
        summary = read_json(self.summary_path)
        if not isinstance(summary, dict):
            raise SelfsightError(f"{self.summary_path}: holds no object", hint="`selfsight resume` writes it again")
        return summary

    def check_lock(self) -> None:
        """Raises when the lock's file was removed or replaced, so that another process may be writing this run."""
        if self._lock is not None:
            self._lock.check()

    def close(self) -> None:
        """Let other processes write this run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class _Dumper(yaml.SafeDumper):
    """Quotes every text that begins like a number: `1e5` is a text by YAML 1.1, which PyYAML writes, and a number by
    YAML 1.2, by which settings are read.
    """

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "'" if text[:1] in tuple("0123456789+-.") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def check_free(path: Path) -> None:
    """Refuses a path that holds a run or other files; a folder that is empty or not there may become a run."""
    if not path.is_dir():
        return
    if (path / "config.yaml").exists():
        raise SelfsightError(
            f"{path}: holds a run already",
            hint=f"`selfsight resume {path}` continues it; a new run needs another run_name or output_dir",
        )
    # What `create` itself leaves when it is stopped half-way.
    own = {_LOCK, "rounds", "checkpoints", ".config.yaml.tmp"}
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in own)
    if others:
        raise SelfsightError(
            f"{path}: is not empty ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})",
            hint="choose a new or empty output_dir",
        )
