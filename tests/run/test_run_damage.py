"""Flipped bits through the package's own readers: each is named or harmless, none gives other content silently."""

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfsight.errors import SelfsightError
from selfsight.methods.alarms.rules import from_json
from selfsight.recipes import parse_yaml
from selfsight.run import Journal, JsonlWriter, RunDirectory, pretty_json, read_jsonl, write_atomic
from selfsight.run.checks import CHECKS, Checks, damages_in, refuse_damaged_model
from selfsight.run.hashing import hash_path
from selfsight.run.history import Change, History, Loss, read_history
from selfsight.run.progress import PlainProgress, plain_text
from selfsight.run.tables import read_table, write_table

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("votes", pa.list_(pa.string())),
        pa.field("reward", pa.float64()),
    ]
)
RECORDS = [{"id": f"q-{i}", "votes": ["yes", None], "reward": None if i == 3 else i / 7} for i in range(50)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a file of every kind, written by the functions of a real one."""
    folder = tmp_path_factory.mktemp("damage") / "run"
    settings = {"method": "visplay", "seed": 3, "optim": {"learning_rate": 1e-3}}
    with RunDirectory.create(folder, settings) as directory:
        with (
            Journal(directory.journal_path) as journal,
            JsonlWriter(directory.metrics_path) as metrics,
            JsonlWriter(directory.alarms_path) as alarms,
        ):
            table, entry, model = (directory.round(1) / name for name in ("pool.parquet", "round.json", "model"))
            write_table(table, RECORDS, SCHEMA)
            write_atomic(entry, pretty_json({"round": 1, "heldout": {"accuracy": 0.5}}))
            model.mkdir()
            write_atomic(model / "model.safetensors", bytes(range(256)) * 4)
            for step in range(20):
                metrics.append({"stage": "round-1/reasoner", "step": step, "loss": step / 7})
                alarms.append({"stage": "round-1/reasoner", "value": step / 3})
            journal.record("round-1/reasoner", inputs={"weights": "aa"}, outputs=[table, entry, model], seconds=1.0)
            directory.write_summary({"rounds": [], "final": 0.25})
            lines = {file.path.name: file.written() for file in (metrics, alarms)} | {
                "journal.jsonl": journal.written()
            }
        whole = {name: hash_path(folder / name) for name in ("config.yaml", "summary.json")}
        Checks(lines, whole).write(folder)
    return folder


def test_a_whole_run_has_no_damage(run: Path) -> None:
    assert damages_in(run) == []


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml", "summary.json", "metrics.jsonl", "alarms.jsonl", "journal.jsonl", CHECKS,
        "rounds/1/pool.parquet", "rounds/1/round.json", "rounds/1/model/model.safetensors",
    ],
)  # fmt: skip
def test_no_flipped_bit_of_a_covered_file_goes_unnoticed(run: Path, name: str) -> None:
    path, draw = run / name, random.Random(name)
    whole = path.read_bytes()
    try:
        for _ in range(100):
            flipped = bytearray(whole)
            flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            try:
                found = [damage.path for damage in damages_in(run)]
            except SelfsightError as error:
                assert name in error.message
            else:
                assert name in found
    finally:
        path.write_bytes(whole)


def test_no_flipped_bit_of_a_table_is_read_as_other_rows(tmp_path: Path) -> None:
    """By the checksum of its pages alone, before any journal is looked at. What the footer holds besides (statistics,
    names of the writer) changes no row.
    """
    path, draw = tmp_path / "a.parquet", random.Random(7)
    write_table(path, RECORDS, SCHEMA)
    whole = path.read_bytes()
    named = 0
    for _ in range(600):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert read_table(path, SCHEMA) == RECORDS
        except SelfsightError as error:
            assert "a.parquet" in error.message
            named += 1
    assert named > 100


def test_a_table_of_an_earlier_version_is_read_as_it_is(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", RECORDS, SCHEMA)
    pq.write_table(pq.read_table(tmp_path / "a.parquet"), tmp_path / "old.parquet", write_page_checksum=False)
    assert read_table(tmp_path / "old.parquet", SCHEMA) == RECORDS


def test_a_run_without_check_values_gives_no_alarm(run: Path, tmp_path: Path) -> None:
    journal = [{k: v for k, v in line.items() if k != "files"} for line in read_jsonl(run / "journal.jsonl")]
    for file in run.rglob("*"):
        if file.is_file() and file.name != CHECKS:
            target = tmp_path / file.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    assert damages_in(tmp_path) == []
    (tmp_path / "rounds/1/model/model.safetensors").write_bytes(b"other")
    assert [str(one) for one in damages_in(tmp_path)] == ["rounds/1/model (from round-1/reasoner) is changed"]


def test_a_model_of_a_run_is_refused_by_the_name_of_its_file(run: Path) -> None:
    weights = run / "rounds/1/model/model.safetensors"
    whole = weights.read_bytes()
    refuse_damaged_model(weights.parent)
    try:
        weights.write_bytes(whole[:-1] + b"x")
        with pytest.raises(SelfsightError, match=r"rounds/1/model/model\.safetensors: is not what the run wrote"):
            refuse_damaged_model(weights.parent)
    finally:
        weights.write_bytes(whole)
    refuse_damaged_model(weights.parent)
    refuse_damaged_model(run)  # no model of a run


# ------------------------------------------------------------------------------------------ named errors


@pytest.mark.parametrize("text", ["a\x1b", "\x00", "a: \x07", "[" * 5000, "\ud800"])
def test_control_characters_and_nesting_in_settings_are_refused_by_name(text: str) -> None:
    with pytest.raises(SelfsightError, match="the override x is not valid YAML"):
        parse_yaml(text, where="the override x")


def test_a_renamed_key_of_an_alarm_is_refused_by_name() -> None:
    with pytest.raises(SelfsightError, match=r"alarms\.jsonl is damaged: .*'stbge'"):
        from_json({"stbge": "round-1/reasoner"})


def test_a_line_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "\n{}\n")
    with pytest.raises(SelfsightError, match="line 1 is damaged"):
        read_jsonl(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "hidden", ["\U000e0041", "\U000e007f", "\U000e0001", "\U000e0100", "\u00ad", "\u3164", "\u034f", "\u180e", "\ufff9"]
)
def test_characters_that_nobody_sees_are_taken_out(hidden: str) -> None:
    assert plain_text(f"one{hidden}two") == "one two"


# ---------------------------------------------------------------------------------------------- history


def changed(history: History, before: Mapping[str, Any], now: Mapping[str, Any], stage: str, step: int) -> History:
    return history.resumed(before, now, stage=stage, step=step, order={"a": 0, "b": 1, "c": 2})


def test_the_history_of_settings_follows_where_the_run_goes_on(tmp_path: Path) -> None:
    old, new, newest = ({"optim": {"learning_rate": rate}, "seed": 0} for rate in (1.0, 2.0, 3.0))
    first = changed(History(), old, new, "b", 4)
    assert first.settings == (Change("b", 4, "optim.learning_rate", 1.0, 2.0),)
    assert changed(first, new, new, "c", 0) == first  # nothing new
    assert changed(first, new, new, "b", 1).settings[0].step == 1  # an older checkpoint: it holds from there
    assert changed(first, new, newest, "b", 4).settings == (Change("b", 4, "optim.learning_rate", 1.0, 3.0),)
    assert changed(first, new, old, "b", 4).settings == ()
    assert changed(first, old, old, "b", 4).settings == ()  # killed before config.yaml was replaced
    loss = Loss("b", 4, "metrics.jsonl", "2 of 7 lines are lost")
    told = first.with_loss(loss).with_loss(Loss("c", 0, loss.file, loss.what))
    assert told.losses == (loss,)
    assert read_history(tmp_path) == History()
    told.write(tmp_path)
    assert read_history(tmp_path) == told
    damaged = (tmp_path / "history.json").read_text().replace("2.0", "2.5")
    (tmp_path / "history.json").write_text(damaged)
    with pytest.raises(SelfsightError, match=r"history\.json: is damaged"):
        read_history(tmp_path)


# ---------------------------------------------------------------------------------------------- display


class Full(io.StringIO):
    """A log whose disk is full after its first line."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def flush(self) -> None:
        self.tries += 1
        if self.tries > 1:
            raise OSError(28, "No space left on device")


def test_a_log_on_a_full_disk_is_given_up_and_the_run_goes_on() -> None:
    stream = Full()
    with PlainProgress(stream) as progress:
        progress.note("one")
        assert progress.lost is None
        progress.note("two")
        progress.phase("round 1: reasoner", 3)
        progress.step({"loss": 1.0})
        assert progress.lost == "No space left on device"
    assert stream.tries == 2


def test_a_closed_stream_is_given_up_too() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    stream.close()
    progress.note("one")
    assert progress.lost
