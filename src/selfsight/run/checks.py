"""checks.json: what the files of a run must hold that no stage of the journal has written.

The journal has the fingerprints of what stages write. The rest is covered here: the lines that metrics.jsonl,
alarms.jsonl, journal.jsonl and quarantine.jsonl had when this file was written (they only grow, so these stay their
first lines), and whole files: config.yaml, images.parquet and, at the end, summary.json. It is replaced at every
checkpoint.

A run of an earlier version has no checks.json: nothing is known of these files then, and nothing is said about them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from selfsight.errors import SelfsightError
from selfsight.run.atomic import Written, canonical_json, fingerprint_lines, pretty_json, read_json, write_atomic
from selfsight.run.hashing import hash_bytes, hash_path
from selfsight.run.journal import Damage, damages_of, read_journal

CHECKS: Final = "checks.json"
QUARANTINE: Final = "quarantine.jsonl"


@dataclass(frozen=True)
class Checks:
    """`lines`: file to its first lines; `files`: file to the fingerprint (blake2b) of all of it. Names are relative to
    the run's folder.
    """

    lines: Mapping[str, Written] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """The checks of a run, None if it has none. SelfsightError when checks.json itself is damaged."""
        path = run / CHECKS
        if not path.exists():
            return None
        found = read_json(path)
        try:
            content = _whole(found)
            lines = {name: Written(one["lines"], one["blake2b"]) for name, one in content["lines"].items()}
            return cls(lines, dict(content["files"]))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise SelfsightError(
                f"{path}: is damaged: it is not what the run wrote",
                hint="restore it from a copy; without it (delete it) the run's lines and summary are not checked",
            ) from error

    def write(self, run: Path) -> None:
        """Replaces checks.json."""
        lines = {name: {"lines": one.lines, "blake2b": one.blake2b} for name, one in self.lines.items()}
        content = {"lines": lines, "files": dict(self.files)}
        write_atomic(run / CHECKS, pretty_json({**content, "check": hash_bytes(canonical_json(content))}))

    def damages(self, run: Path) -> Iterator[Damage]:
        """Every file of these checks that is missing or changed."""
        for name, expected in self.lines.items():
            if expected.lines == 0 or (name == QUARANTINE and not (run / name).exists()):
                continue  # whoever has mended images deletes the quarantine
            found = fingerprint_lines(run / name, expected.lines)
            if found is None:
                yield Damage("", name, "changed" if (run / name).exists() else "missing")
            elif found != expected:
                yield Damage("", name, "changed")
        for name, blake2b in self.files.items():
            if not (run / name).exists():
                yield Damage("", name, "missing")
            elif hash_path(run / name) != blake2b:
                yield Damage("", name, "changed")


def _whole(found: object) -> dict[str, Any]:
    """The content of checks.json; ValueError if it does not match its own check value."""
    if not isinstance(found, dict):
        raise ValueError("not an object")
    content = {name: value for name, value in found.items() if name != "check"}
    if hash_bytes(canonical_json(content)) != found["check"]:
        raise ValueError("the check value differs")
    return content


def damages_in(run: Path, *, folders: bool = True) -> list[Damage]:
    """Everything in a run's folder that is not what the run wrote, by journal.jsonl and checks.json.

    Args:
        run: The run's folder.
        folders: Whether model folders are looked at as well; they are large.

    Returns:
        Each missing or changed file, oldest stage first. Files that nothing covers (those of a stage under way, of
        earlier versions, and report.html) are not in it.

    Raises:
        SelfsightError: If the journal or checks.json cannot be read; the message names the line.

    Example:
        >>> [str(damage) for damage in damages_in(Path("runs/first"))]
        ['rounds/1/pool.parquet (from round-1/curation) is changed']
    """
    latest = {entry.stage: entry for entry in read_journal(run / "journal.jsonl")}
    damages = [damage for entry in latest.values() for damage in damages_of(run, entry, folders=folders)]
    checks = Checks.read(run)
    return damages if checks is None else [*damages, *checks.damages(run)]


def refuse_damaged(run: Path, concerns: Callable[[str], bool], *, hint: str, folders: bool = False) -> None:
    """Raises when a file of a run that something is made of is not what the run wrote.

    A model folder that is missing as a whole was removed to save space, and is not damage here.

    Args:
        run: The run's folder.
        concerns: Whether a path inside the run is one of those files.
        hint: What to do, for the error.
        folders: Whether model folders are looked at as well.
    """
    found = [one for one in damages_in(run, folders=folders) if concerns(one.path) and not is_pruned(one)]
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise SelfsightError(f"{run / found[0].path}: is not what the run wrote: {found[0].what}{more}", hint=hint)


def is_pruned(damage: Damage) -> bool:
    """Whether a model folder is gone as a whole: somebody has saved space."""
    return damage.what == "missing" and not damage.file and "." not in damage.artefact.rpartition("/")[2]


_whole_models: dict[Path, tuple[tuple[str, int, int], ...]] = {}


def refuse_damaged_model(folder: Path) -> None:
    """Raises when `folder` is a model of a run (RUN/rounds/K/NAME) and not what the run wrote; the file is named.

    A bit that has flipped in safetensors gives another model, and nothing else would notice. Other folders pass, and so
    does a model whose stage is not finished. What was looked at once is not hashed again while its files are the same.
    """
    folder = folder.absolute()
    if len(folder.parents) < 3 or folder.parents[1].name != "rounds":
        return
    run = folder.parents[2]
    artefact = folder.relative_to(run).as_posix()
    entry = {entry.stage: entry for entry in read_journal(run / "journal.jsonl") if artefact in entry.outputs}
    seen = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    )
    if not entry or not seen or _whole_models.get(folder) == seen:
        return
    (last,) = list(entry.values())[-1:]
    damages = damages_of(run, replace(last, outputs={artefact: last.outputs[artefact]}))
    if damages:
        raise SelfsightError(
            f"{run / damages[0].path}: is not what the run wrote there, by its journal ({damages[0].what})",
            hint="restore it from a copy, or use the model of another round",
        )
    _whole_models[folder] = seen
