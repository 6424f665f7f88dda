"""A run on disk as a frozen record, whatever state it is in: running, stopped, finished, or damaged in places.

A report must not be stopped by what it reports about. A line or file that cannot be read becomes a `Trouble` with its
name and reason, is left out, and stands in the report; nothing is guessed in its place. Only a folder that holds no
run, or whose settings cannot be read, is an error. A last line of a JSONL file without its line break is one that is
being written at this moment, and no trouble.

Every file is read as JSON or Parquet; nothing in it is believed to be of a certain type before it was looked at.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfsight.config import EvolveConfig, load_config
from selfsight.errors import SelfsightError
from selfsight.run import RunDirectory
from selfsight.run.checks import damages_in, is_pruned
from selfsight.run.history import History, read_history
from selfsight.run.progress import plain_text
from selfsight.settings.public import without_folders

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Trouble:
    """Something of a run that could not be read; `where` is a path inside the run, and a line if there is one."""

    where: str
    what: str


@dataclass(frozen=True)
class StageTime:
    """A finished stage of the journal ("round-1/curation") and what it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why a run ended before its time (failure.json), and what to do; `completions` are some that could not be read."""

    message: str
    hint: str
    where: str
    completions: tuple[str, ...]


@dataclass(frozen=True)
class RunReading:
    """What a run says about itself. `base` and `rounds` are the measurements there are, also without a summary."""

    path: Path
    config: EvolveConfig
    summary: Entry | None
    base: Entry | None
    rounds: tuple[Entry, ...]
    stages: tuple[StageTime, ...]
    metrics: tuple[Entry, ...]
    troubles: tuple[Trouble, ...]
    failure: Failure | None = None
    changes: tuple[str, ...] = ()  # settings that were changed on the way, each in a sentence

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def rounds_planned(self) -> int:
        """Rounds that the settings ask for."""
        own = self.config.vision_zero
        return (self.config.visplay.rounds if self.asks else 0) + (
            math.ceil(own.iterations / own.eval_steps) if self.plays else 0
        )

    @property
    def asks(self) -> bool:
        """Whether questions are asked in it: VisPlay, alone or in turn with games."""
        return self.config.method != "vision-zero"

    @property
    def plays(self) -> bool:
        """Whether games are played in it: Vision-Zero, alone or in turn with questions."""
        return self.config.method != "visplay"


def read_run(path: Path) -> RunReading:
    """Reads a run's small files; its tables of questions and games are read when they are asked for."""
    directory = RunDirectory.open(path)
    config = load_config(directory.config_path)
    troubles: list[Trouble] = []
    summary = _object(directory.path, Path("summary.json"), troubles)
    entries: list[Entry] = []
    for number in round_numbers(directory.path):
        entry = _object(directory.path, Path("rounds", str(number), "round.json"), troubles)
        if entry is not None and isinstance(entry.get("heldout"), dict):
            entries.append({**entry, "round": number})
        elif entry is not None:
            troubles.append(Trouble(f"rounds/{number}/round.json", "holds no measurement"))
    journal = _lines(directory.path, Path("journal.jsonl"), troubles)
    stages = [_stage(line, number, troubles) for number, line in journal]
    try:
        history = read_history(directory.path)
    except SelfsightError as error:
        history = History()
        troubles.append(trouble_of(directory.path, error))
    troubles += [Trouble(loss.file, f"{loss.what}, found when the run went on at {loss.stage}, step {loss.step}")
                 for loss in history.losses]  # fmt: skip
    metrics = [line for _, line in _lines(directory.path, Path("metrics.jsonl"), troubles)]
    return RunReading(
        path=directory.path,
        config=config,
        summary=summary,
        base=next((entry for entry in entries if entry["round"] == 0), None),
        rounds=tuple(entry for entry in entries if entry["round"] > 0),
        stages=tuple(stage for stage in stages if stage is not None),
        metrics=tuple(metrics),
        failure=_failure(_object(directory.path, Path("failure.json"), troubles), directory.path, config),
        troubles=tuple(troubles),
        changes=tuple(str(change) for change in history.settings),
    )


def _failure(found: Entry | None, path: Path, config: EvolveConfig) -> Failure | None:
    """Without the machine's folders: a report is given to others."""
    if found is None:
        return None

    named = [config.images, config.model, str(Path(config.output_dir).absolute()), config.output_dir]

    def shown_text(value: object) -> str:
        text = str(value or "")
        for whole, name in ((str(path), path.name), *((part, without_folders(part)) for part in named)):
            text = text.replace(whole, name)
        return plain_text(text)

    step, time = number(found.get("step")), found.get("time")
    where = f"{found.get('stage') or 'the start'}, step {0 if step is None else int(step)}"
    shown = found.get("completions")
    return Failure(
        message=shown_text(found.get("message") or found.get("kind")),
        hint=shown_text(found.get("hint")),
        where=plain_text(f"{where} ({time})" if isinstance(time, str) else where),
        completions=tuple(plain_text(str(text)) for text in shown) if isinstance(shown, list) else (),
    )


def damage_in(path: Path) -> list[Trouble]:
    """What is not what the run wrote, by its journal and checks; it is shown as it is now.

    A report reads no model folders, and they are not looked at here.
    """
    try:
        found = damages_in(path, folders=False)
    except SelfsightError as error:
        return [trouble_of(path, error)]
    what = "is not what the run wrote; what is shown of it may be wrong"
    return [Trouble(one.path, "is missing" if one.what == "missing" else what) for one in found if not is_pruned(one)]


def round_numbers(path: Path) -> list[int]:
    """The rounds that have a folder, 0 included."""
    rounds = path / "rounds"
    if not rounds.is_dir():
        return []
    return sorted(int(folder.name) for folder in rounds.iterdir() if folder.name.isdecimal() and folder.is_dir())


def read_jsonl_lines(path: Path, file: Path) -> tuple[list[tuple[int, Entry]], list[Trouble]]:
    """The objects in a JSONL file of the run at `path`, each with its line's number, and the lines that hold none."""
    troubles: list[Trouble] = []
    return _lines(path, file, troubles), troubles


def number(value: object) -> float | None:
    """`value` if it is a finite number, else None: what stands in a file need not be what was meant to."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(value: object) -> tuple[float, float] | None:
    """A pair [low, high], or None."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def _object(path: Path, file: Path, troubles: list[Trouble]) -> dict[str, Any] | None:
    """The object in a JSON file; None when there is no such file yet or it is damaged."""
    try:
        value = json.loads((path / file).read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        troubles.append(Trouble(file.as_posix(), f"cannot be read ({error})"))
        return None
    if not isinstance(value, dict):
        troubles.append(Trouble(file.as_posix(), "holds no object"))
        return None
    return value


def _lines(path: Path, file: Path, troubles: list[Trouble]) -> list[tuple[int, Entry]]:
    try:
        data = (path / file).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        troubles.append(Trouble(file.as_posix(), f"cannot be read ({error.strerror})"))
        return []
    found: list[tuple[int, Entry]] = []
    for place, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1], start=1):
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            troubles.append(Trouble(f"{file.as_posix()}, line {place}", f"is damaged ({error})"))
            continue
        if isinstance(value, dict):
            found.append((place, value))
        else:
            troubles.append(Trouble(f"{file.as_posix()}, line {place}", "is not an object"))
    return found


def _stage(line: Entry, place: int, troubles: list[Trouble]) -> StageTime | None:
    name, seconds = line.get("stage"), number(line.get("seconds"))
    if isinstance(name, str) and seconds is not None and seconds >= 0:
        return StageTime(name, seconds)
    troubles.append(Trouble(f"journal.jsonl, line {place}", "names no stage with its seconds"))
    return None


def _refuse_constant(name: str) -> Literal[0]:
    """NaN and infinities are no JSON; this package never writes them."""
    raise ValueError(f"{name} is not JSON")


def trouble_of(path: Path, error: SelfsightError) -> Trouble:
    """A file that another reader refused, named as a part of the run at `path`, wherever that lies."""
    message = error.message.replace(f"{path}/", "")
    where, _, what = message.partition(": ")
    return Trouble(where, what) if what else Trouble("", message)
