"""Parquet and Arrow tables with images inside: which cells are images, how they are named, and what reading costs."""

import io
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.images import (
    Choice,
    FolderSource,
    ImageError,
    ImageRef,
    Limits,
    ManifestSource,
    files_below,
    image_source,
)
from selfsight.images.safe import content_id

HUB = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, size: tuple[int, int] = (16, 12)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [picture(seed) for seed in range(12)]
IDS = {content_id(data) for data in PICTURES}


def hub_cells(pictures: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(pictures)], HUB)


def shard(path: Path, image: pa.Array, column: str = "image", rows_per_group: int = 5, **others: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"answer": ["x"] * len(image), column: image, **others}), path, row_group_size=rows_per_group
    )
    return path


def ids_of(source: FolderSource | ManifestSource) -> set[str]:
    return {ref.id for ref in source.take(0, 99)}


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (hub_cells(PICTURES), "image"),
        (hub_cells(PICTURES), "my_pictures"),  # found by its type
        (pa.array(PICTURES, pa.binary()), "img"),
        (pa.array(PICTURES, pa.large_binary()), "picture"),
        (pa.array([[{"bytes": data, "path": None}] for data in PICTURES], pa.list_(HUB)), "images"),
        (pa.array([[data] for data in PICTURES], pa.list_(pa.binary())), "images"),
        (pa.array([{"bytes": data} for data in PICTURES], pa.struct([("bytes", pa.binary())])), "image"),
    ],
)
def test_every_usual_form_of_an_image_in_parquet_is_read(tmp_path: Path, cells: pa.Array, column: str) -> None:
    path = shard(tmp_path / "train.parquet", cells, column)
    source = ManifestSource(path, seed=3)
    refs = source.take(0, 99)
    assert {ref.id for ref in refs} == IDS
    assert all(source.usable(ref) and source.open(ref).size == (16, 12) for ref in refs)
    row = int(refs[0].origin.removeprefix(f"{path}#{column}[").removesuffix("]"))
    assert content_id(PICTURES[row]) == refs[0].id
    assert np.array_equal(np.asarray(source.open(refs[0])), np.asarray(Image.open(io.BytesIO(PICTURES[row]))))
    assert [ref.id for ref in ManifestSource(path, seed=3).take(0, 99)] == [ref.id for ref in refs]


def test_several_images_of_a_row_are_images_each(tmp_path: Path) -> None:
    cells = pa.array([[PICTURES[0], PICTURES[1]], [PICTURES[2]], [], None], pa.list_(pa.binary()))
    source = ManifestSource(shard(tmp_path / "a.parquet", cells, "images"), seed=0)
    assert {Path(ref.origin).name for ref in source.take(0, 9)} == {
        "a.parquet#images[0][0]", "a.parquet#images[0][1]", "a.parquet#images[1]",
    }  # fmt: skip
    assert source.describe()["rows_without_image"] == 2
    assert {source.open(ref).size for ref in source.take(0, 9)} == {(16, 12)}


def test_cells_that_hold_a_path_mean_a_file_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in (0, 1):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(PICTURES[number])
    cells = pa.array(
        [{"bytes": None, "path": "pictures/0.png"}, {"bytes": PICTURES[1], "path": "../never/read.png"}], HUB
    )
    assert ids_of(ManifestSource(shard(tmp_path / "a.parquet", cells), seed=0)) == {content_id(p) for p in PICTURES[:2]}
    listed = shard(tmp_path / "b.parquet", pa.array(["pictures/0.png", "pictures/1.png"]), "file_name")
    assert ids_of(ManifestSource(listed, seed=0)) == {content_id(data) for data in PICTURES[:2]}
    outside = shard(tmp_path / "c.parquet", pa.array([{"bytes": None, "path": "../x.png"}], HUB))
    with pytest.raises(ImageError, match=r"row 1: '\.\./x\.png' leaves"):
        ManifestSource(outside, seed=0)


def test_a_bad_row_is_in_quarantine_and_an_empty_one_is_counted(tmp_path: Path) -> None:
    cells = [{"bytes": data, "path": None} for data in PICTURES]
    cells[3] = {"bytes": PICTURES[3][:-20], "path": None}
    cells[5] = {"bytes": b"<html>gone</html>", "path": None}
    cells[7] = {"bytes": None, "path": None}
    path = shard(tmp_path / "a.parquet", pa.array([*cells, None, cells[0]], HUB))
    source = ManifestSource(path, seed=0)
    assert {Path(bad.path).name for bad in source.quarantined} == {"a.parquet#image[3]", "a.parquet#image[5]"}
    assert "a.parquet#image[3]: is cut short" in " ".join(bad.reason for bad in source.quarantined)
    assert source.size() == 9
    assert source.duplicates == 1
    assert source.describe()["rows_without_image"] == 2
    with pytest.raises(ImageError, match="2 of 12 images cannot be used, 0 are allowed"):
        ManifestSource(path, seed=0, max_bad_fraction=0.0)


def test_a_column_that_could_be_another_is_an_error_that_names_both(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", hub_cells(PICTURES), "before", after=hub_cells(PICTURES[::-1]))
    with pytest.raises(ImageError, match="any of the columns before, after") as refusal:
        ManifestSource(path, seed=0)
    assert "image_column=before" in str(refusal.value.hint)
    assert ids_of(ManifestSource(path, seed=0, column="after")) == IDS
    with pytest.raises(ImageError, match='no column "nowhere", only answer, before, after'):
        ManifestSource(path, seed=0, column="nowhere")
    with pytest.raises(ImageError, match='column "image" holds int64, which can be no image'):
        ManifestSource(shard(tmp_path / "b.parquet", pa.array([1, 2]), "image"), seed=0)


def test_a_folder_of_shards_is_one_source_of_its_train_split(tmp_path: Path) -> None:
    for number in range(3):
        part = hub_cells(PICTURES[4 * number : 4 * number + 4])
        shard(tmp_path / "data" / f"train-{number:05}-of-00003.parquet", part)
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", hub_cells([picture(99)]))
    (tmp_path / "README.md").write_text("about")
    source = FolderSource(tmp_path, seed=0)
    assert ids_of(source) == IDS
    assert source.describe()["not_read"] == {"MD": 1, "test split": 1}
    assert ids_of(FolderSource(tmp_path, seed=0, choice=Choice(split="test"))) == {content_id(picture(99))}
    with pytest.raises(ImageError, match="has no split 'validation'") as refusal:
        FolderSource(tmp_path, seed=0, choice=Choice(split="validation"))
    assert "image_split=test" in str(refusal.value.hint)
    pattern = image_source(str(tmp_path / "data" / "t*-0000[02]-*.parquet"), seed=0)
    assert pattern.size() == 8


def test_splits_in_folders_and_no_train_split(tmp_path: Path) -> None:
    shard(tmp_path / "default" / "test" / "0000.parquet", hub_cells(PICTURES[:4]))
    assert FolderSource(tmp_path, seed=0).size() == 4
    shard(tmp_path / "default" / "validation" / "0000.parquet", hub_cells(PICTURES[4:]))
    with pytest.raises(ImageError, match="has the splits test, validation and no train"):
        FolderSource(tmp_path, seed=0)
    assert FolderSource(tmp_path, seed=0, choice=Choice(split="validation")).size() == 8


def save_to_disk(folder: Path, pictures: list[bytes], files: int = 2) -> None:
    """What `datasets` 4 writes: Arrow streams, and state.json that names them."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        table = pa.table({"image": hub_cells(pictures[number::files]), "text": ["x"] * len(pictures[number::files])})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_what_datasets_saved_to_disk_is_read_with_its_splits(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "one", PICTURES)
    shard_left = tmp_path / "one" / "cache-0123456789.arrow"
    shard_left.write_bytes((tmp_path / "one" / "data-00000-of-00002.arrow").read_bytes()[:100])
    source = FolderSource(tmp_path / "one", seed=0)
    assert ids_of(source) == IDS
    assert all(source.open(ref).size == (16, 12) for ref in source.take(0, 99))
    save_to_disk(tmp_path / "dict" / "seen", PICTURES[:8], files=1)
    save_to_disk(tmp_path / "dict" / "unseen", PICTURES[8:], files=1)
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["seen", "unseen"]}')
    with pytest.raises(ImageError, match="has the splits seen, unseen and no train"):
        FolderSource(tmp_path / "dict", seed=0)
    assert FolderSource(tmp_path / "dict", seed=0, choice=Choice(split="unseen")).size() == 4


def test_arrow_files_of_both_formats_and_damaged_ones(tmp_path: Path) -> None:
    table = pa.table({"image": hub_cells(PICTURES)})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    assert ids_of(ManifestSource(tmp_path / "a.arrow", seed=0)) == IDS
    whole = (tmp_path / "a.arrow").read_bytes()
    for damaged in (b"no table at all", whole[: len(whole) // 2], b"PAR1"):
        for name in ("b.arrow", "b.parquet"):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(ImageError, match="is not a readable"):
                ManifestSource(tmp_path / name, seed=0)


def test_arrow_offsets_that_lead_outside_their_buffer_are_refused(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(PICTURES[:2], pa.binary())], ["image"])
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    whole, first = (tmp_path / "a.arrow").read_bytes(), len(PICTURES[0])
    offsets = np.array([0, first, first + len(PICTURES[1])], dtype=np.int32).tobytes()
    assert whole.count(offsets) == 1
    hostile = np.array([0, first, 1 << 30], dtype=np.int32).tobytes()
    (tmp_path / "a.arrow").write_bytes(whole.replace(offsets, hostile))
    with pytest.raises(ImageError, match="is not a readable Arrow file"):
        ManifestSource(tmp_path / "a.arrow", seed=0)


def test_a_run_that_goes_on_and_a_report_open_what_was_shown(tmp_path: Path) -> None:
    path = shard(tmp_path / "data" / "train.parquet", hub_cells(PICTURES))
    first = FolderSource(tmp_path, seed=0)
    refs = first.take(0, 12)
    again = FolderSource(tmp_path, seed=0)
    again.go_on(first.listing(), [])
    assert again.take(0, 12) == refs
    opener = files_below(str(tmp_path), None, Limits())
    assert all(np.array_equal(np.asarray(opener.open(ref)), np.asarray(first.open(ref))) for ref in refs)
    for origin in (f"{tmp_path.parent}/other.parquet#image[0]", f"{path}#image[99]", f"{path}#answer[0]"):
        with pytest.raises(ImageError):
            opener.open(ImageRef(refs[0].id, origin))
    shard(path, hub_cells(PICTURES[::-1]))
    changed = files_below(str(tmp_path), None, Limits())
    with pytest.raises(ImageError, match="has changed since it was taken"):
        changed.open(refs[0])


READ_AND_MEASURE = """
import json, re, sys
from selfsight.images import ManifestSource
import pyarrow.parquet
before = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
source = ManifestSource(sys.argv[1], seed=0)
sizes = [source.open(ref).size for ref in source.take(0, 8)]
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps({"images": source.size(), "opened": len(sizes), "mb": (peak - before) / 1024}))
"""


def test_a_large_table_is_never_held_as_a_whole(tmp_path: Path) -> None:
    """120 MB of images in row groups of 6 MB."""
    pictures = [picture(seed, (580, 580)) for seed in range(6)]
    schema = pa.schema([("image", HUB)])
    with pq.ParquetWriter(tmp_path / "large.parquet", schema, compression="none", use_dictionary=False) as writer:
        for group in range(20):
            rows = [data + bytes([group, number]) for number, data in enumerate(pictures)]
            writer.write_table(pa.table({"image": hub_cells(rows)}, schema=schema))
    assert (tmp_path / "large.parquet").stat().st_size > 110_000_000
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, str(tmp_path / "large.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["images"] == 120 and found["opened"] == 8
    assert found["mb"] < 80, found


def test_a_path_of_a_quarter_gigabyte_is_refused_by_its_size(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", pa.array(["a" * 257_000_000]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="more than the limit of 256,000,000") as refusal:
        ManifestSource(path, seed=0)
    assert len(refusal.value.message) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    long = shard(tmp_path / "b.parquet", pa.array([*["x" * 100_000] * 300, "y.png"]))
    with pytest.raises(ImageError, match="301 of 301 images cannot be used") as refusal:
        ManifestSource(long, seed=0)
    assert "row 1: holds 100,000 bytes" in refusal.value.message
    assert len(refusal.value.message) < 4000


def test_a_path_that_is_repeated_costs_no_more_than_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES[0])
    source = ManifestSource(shard(tmp_path / "a.parquet", pa.array(["a.png"] * 50_000), rows_per_group=50_000), seed=0)
    assert source.size() == 1
    assert source.duplicates == 49_999
