"""Atomic writes, JSON lines, seeds, hashes, tables."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.errors import SelfsightError
from selfsight.run import DiskError, JsonlWriter, canonical_json, derive, hash_path, read_jsonl, write_atomic
from selfsight.run.atomic import read_json
from selfsight.run.tables import read_table, write_table


class FullDisk:
    """From call number `at` on, the patched function reports a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, at: int = 1) -> None:
        self.calls, self.at, self._real = 0, at, getattr(os, name)
        monkeypatch.setattr(os, name, self._call)

    def _call(self, *args: object, **options: object) -> object:
        self.calls += 1
        if self.calls >= self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real(*args, **options)


# --- atomic writes -----------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_leaves_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    with monkeypatch.context() as patch:
        FullDisk(patch, step)
        with pytest.raises(DiskError, match=r"a\.json: cannot be written \(No space left") as refusal:
            write_atomic(path, b"new")
    assert "free some space" in str(refusal.value.hint)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_writing_to_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"no/a\.json"):
        write_atomic(tmp_path / "no" / "a.json", b"x")


def test_canonical_json_has_one_spelling_and_no_live_control_characters() -> None:
    assert canonical_json({"b": 1, "a": [np.float32(0.5), np.int64(2), True]}) == b'{"a":[0.5,2,true],"b":1}'
    assert canonical_json("\x1b[31m\u202e\ud800") == b'"\\u001b[31m\\u202e\\ud800"'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})
    with pytest.raises(TypeError, match="Path"):
        canonical_json({"path": Path("x")})


def test_floats_come_back_from_json_bit_for_bit() -> None:
    draws = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-500, 500, 1).clip(-300, 300)
    assert json.loads(canonical_json(draws.tolist())) == draws.tolist()


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(SelfsightError, match=r"s\.json: is damaged"):
        read_json(tmp_path / "s.json")
    with pytest.raises(SelfsightError, match=r"t\.json: cannot be read"):
        read_json(tmp_path / "t.json")


# --- JSON lines --------------------------------------------------------------------------------------------


def written(path: Path, count: int) -> bytes:
    with JsonlWriter(path) as writer:
        for index in range(writer.lines, count):
            writer.append({"step": index, "text": "é" * index})
    return path.read_bytes()


def test_lines_appended_over_several_openings_are_those_of_one(tmp_path: Path) -> None:
    written(tmp_path / "a", 3)
    assert written(tmp_path / "a", 7) == written(tmp_path / "b", 7)
    assert [record["step"] for record in read_jsonl(tmp_path / "a")] == list(range(7))


@pytest.mark.parametrize("tail", [b'{"step":7', b'{"step":7}', b"\0\0\0\0", b"\0\0\0\n", b'{"step":\n', b"\n"])
def test_a_torn_last_line_is_dropped_on_reopening(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a"
    whole = written(path, 5)
    path.write_bytes(whole + tail)
    assert len(read_jsonl(path)) == 5
    with JsonlWriter(path) as writer:
        assert writer.lines == 5
        assert path.read_bytes() == whole
    assert written(path, 9) == written(tmp_path / "b", 9)


def test_cutting_a_file_at_every_byte_never_yields_a_broken_record(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = written(path, 4)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with JsonlWriter(path) as writer:
            assert writer.lines == whole[:cut].count(b"\n")
        assert written(path, 4) == whole


def test_a_resumed_file_is_cut_to_the_checkpoint_and_ends_as_that_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    whole = written(tmp_path / "a", 9)
    with JsonlWriter(tmp_path / "a") as writer:
        writer.truncate(4)
        assert writer.lines == 4
        assert (tmp_path / "a").read_bytes() == whole[: len((tmp_path / "a").read_bytes())]
    assert written(tmp_path / "a", 9) == whole
    with (
        JsonlWriter(tmp_path / "a") as writer,
        pytest.raises(SelfsightError, match=r"9 whole lines.*expects 10"),
    ):
        writer.truncate(10)


def test_a_full_disk_while_appending_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    written(path, 2)
    with JsonlWriter(path) as writer:
        with monkeypatch.context() as patch:
            FullDisk(patch, "fsync")
            with pytest.raises(DiskError, match="No space left"):
                writer.append({"step": 99})
        assert len(read_jsonl(path)) == 2
        writer.append({"step": 2, "text": "éé"})
    assert written(path, 4) == written(tmp_path / "b", 4)


def test_damage_before_the_last_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"step":0}\nbroken\n{"step":2}\n')
    with pytest.raises(SelfsightError, match="line 2 is damaged"):
        read_jsonl(tmp_path / "a")
    (tmp_path / "a").write_text('{"step":0}\n[1]\n')
    with pytest.raises(SelfsightError, match="line 2 is not an object"):
        read_jsonl(tmp_path / "a")


# --- seeds -------------------------------------------------------------------------------------------------


def test_a_seed_is_the_same_number_for_ever() -> None:
    """These values are part of what makes an old run repeatable."""
    assert derive(0) == 6_361_947_427_666_120_033
    assert derive(7, "round", 2, "questioner", "f-0123", 3) == 1_444_822_929_625_669_664


@settings(deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(), st.text()), max_size=4), unique_by=repr, max_size=30))
def test_different_streams_have_different_seeds_of_63_bits(paths: list[list[int | str]]) -> None:
    seeds = [derive(1, *path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("1",), (1,)), (("a",), ("a", "")), ((1, 2), (12,))]
)
def test_parts_of_a_stream_do_not_run_into_each_other(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> None:
    assert derive(0, *one) != derive(0, *other)


def test_seeds_are_equal_in_another_process() -> None:
    code = "from selfsight.run import derive; print(derive(3, 'votes', 5))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive(3, "votes", 5)


# --- hashes and tables -------------------------------------------------------------------------------------


def test_a_folder_has_another_hash_when_a_name_or_a_byte_changes(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, bytes]) -> str:
        for file, data in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return hash_path(tmp_path / name)

    first = folder("a", {"x": b"1", "deep/y": b"2"})
    assert folder("b", {"deep/y": b"2", "x": b"1"}) == first
    assert folder("c", {"x": b"1", "deep/z": b"2"}) != first
    assert folder("d", {"x": b"1", "deep/y": b"3"}) != first
    assert folder("e", {"x": b"12", "deep/y": b""}) != first


SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("votes", pa.list_(pa.string())),
        pa.field("reward", pa.float64()),
    ]
)
RECORDS = [{"id": f"q-{i}", "votes": ["yes", None], "reward": None if i == 3 else i / 7} for i in range(50)]


def test_a_table_comes_back_as_it_was_and_equal_records_are_equal_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", RECORDS, SCHEMA)
    write_table(tmp_path / "b.parquet", [dict(reversed(record.items())) for record in RECORDS], SCHEMA)
    assert read_table(tmp_path / "a.parquet", SCHEMA) == RECORDS
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_table(tmp_path / "none.parquet", [], SCHEMA)
    assert read_table(tmp_path / "none.parquet", SCHEMA) == []


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "x", "votes": []}, r"row 1: columns missing \['reward'\]"),
        ({"id": "x", "votes": [], "reward": 1.0, "lable": 1}, r"row 1: .*unknown \['lable'\]"),
        ({"id": None, "votes": [], "reward": 1.0}, "row 1: column 'id' must not be empty"),
        ({"id": "x", "votes": [], "reward": "high"}, "column 'reward'"),
        ({"id": "\ud800", "votes": [], "reward": 1.0}, "column 'id'"),
    ],
)
def test_a_record_that_does_not_fit_is_an_error_that_names_row_and_column(
    tmp_path: Path, record: dict[str, object], message: str
) -> None:
    with pytest.raises(SelfsightError, match=message):
        write_table(tmp_path / "a.parquet", [RECORDS[0], record], SCHEMA)
    assert not (tmp_path / "a.parquet").exists()


def test_a_table_that_is_damaged_missing_or_of_another_schema_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(SelfsightError, match="does not exist"):
        read_table(path, SCHEMA)
    write_table(path, RECORDS, SCHEMA)
    with pytest.raises(SelfsightError, match="another version"):
        read_table(path, pa.schema([pa.field("id", pa.string())]))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SelfsightError, match="is damaged"):
        read_table(path, SCHEMA)
