"""What may stand after `images=`, and that nothing which is passed over goes unsaid."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import typer
from huggingface_hub.errors import LocalEntryNotFoundError
from test_image_tables import PICTURES, hub_cells, shard

from selfsight.cli_shared import errors
from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.images import (
    Choice,
    FolderSource,
    ImageError,
    Limits,
    ManifestSource,
    files_below,
    image_source,
    telling,
)
from selfsight.images.heartbeat import Heartbeat
from selfsight.images.safe import content_id
from selfsight.settings.public import without_folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number, data in enumerate(PICTURES[:6]):
        path = root / ("a" if number < 3 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def names(source: object) -> set[str]:
    assert isinstance(source, FolderSource | ManifestSource) or hasattr(source, "take")
    return {Path(ref.origin).name for ref in source.take(0, 99)}  # type: ignore[union-attr]


def test_one_image_a_pattern_and_several_sources(photos: Path) -> None:
    assert names(image_source(f"{photos}/a/0.png", seed=0)) == {"0.png"}
    assert names(image_source(f"{photos}/*/[1-4].png", seed=0)) == {"1.png", "2.png", "3.png", "4.png"}
    assert names(image_source(f"{photos}/**/*.png", seed=0)) == {f"{n}.png" for n in range(6)}
    table = shard(photos / "t" / "x.parquet", hub_cells(PICTURES[4:8]))
    both = image_source(f"{photos}/a, {table},{photos}/a/0.png", seed=0)
    assert names(both) == {"0.png", "1.png", "2.png", *(f"x.parquet#image[{n}]" for n in range(4))}
    described = both.describe()
    assert described["root"] == str(photos)
    refs = both.take(0, 99)
    opener = files_below(f"{photos}/a,{table}", None, Limits())
    assert all(opener.open(ref).size == both.open(ref).size for ref in refs)
    assert [r.id for r in image_source(f"{table},{photos}/a", seed=0).take(0, 99)] == [r.id for r in refs]


def test_a_run_of_several_sources_goes_on_with_its_list(photos: Path) -> None:
    spec = f"{photos}/a,{photos}/b"
    first, again = image_source(spec, seed=0), image_source(spec, seed=0)
    refs = first.take(0, 9)
    again.go_on(first.listing(), [])  # type: ignore[attr-defined]
    assert again.take(0, 9) == refs
    assert len(refs) == 6


def test_a_name_with_a_comma_or_a_wildcard_that_exists_is_one_path(photos: Path) -> None:
    odd = photos / "b,[c]*"
    odd.mkdir()
    (odd / "z.png").write_bytes(PICTURES[9])
    assert names(image_source(str(odd), seed=0)) == {"z.png"}


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("photos/*.webp", "matches no file", "quote the pattern"),
        ("worlds,photos", "worlds stand alone", "a folder"),
        ("photos.zip", "is an archive", "unpack it"),
        ("list.json", "is a JSON file", "jq -c '.[]' list.json > list.jsonl"),
        ("list.txt", "is a text file", "list.csv"),
        ("HuggingFaceM4/ChartQA", "does not exist", "images=hub:HuggingFaceM4/ChartQA"),
        ("hub:../..", "names no data set of the hub", "hub:OWNER/NAME@REVISION"),
        ("x" * 5000, "does not exist", "a folder"),
        ("page.jpg", "is a web page", "raise max_bad_fraction"),
    ],
)
def test_what_is_none_of_these_is_an_error_with_the_way_out(
    photos: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str, hint: str
) -> None:
    monkeypatch.chdir(photos.parent)
    for name in ("photos.zip", "list.json", "list.txt", "page.jpg"):
        Path(name).write_text("<html>")
    with pytest.raises(ImageError, match=message) as refusal:
        image_source(spec, seed=0)
    assert hint in str(refusal.value.hint)


def test_lists_as_imagefolder_and_others_write_them(photos: Path) -> None:
    (photos / "metadata.csv").write_text('\ufefffile_name,text\r\na/0.png,"x, y"\r\na/1.png,\r\n,none\r\n', "utf-8")
    (photos / "metadata.tsv").write_text("label\timage_path\n1\ta/0.png\n0\ta/1.png\n")
    rows = [{"file_name": "a/0.png", "text": "x"}, {"file_name": "a/1.png"}, {"file_name": "a/0.png"}]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (photos / "list.ndjson").write_text('{"images": ["a/0.png", "a/1.png"]}\n{"images": ["a/0.png"]}\n')
    (photos / "url.jsonl").write_text(f'{{"image": "file://{photos}/a/0.png"}}\n{{"image": "a/1.png", "id": 1.0}}\n')
    for name in ("metadata.csv", "metadata.tsv", "metadata.jsonl", "list.ndjson", "url.jsonl"):
        source = image_source(str(photos / name), seed=0)
        assert names(source) == {"0.png", "1.png"}, name
        assert all(source.usable(ref) for ref in source.take(0, 9)), name
    ids = {ref.id for ref in image_source(str(photos / "url.jsonl"), seed=0).take(0, 9)}
    assert ids == {content_id(PICTURES[0]), "m-1"}
    with pytest.raises(ImageError, match=r"metadata\.csv: has no column \"image\", only a, b"):
        (photos / "metadata.csv").write_text("a,b\n1,2\n")
        image_source(str(photos / "metadata.csv"), seed=0)
    with pytest.raises(ImageError, match="any of the columns file_name, path"):
        (photos / "metadata.csv").write_text("file_name,path\n1,2\n")
        image_source(str(photos / "metadata.csv"), seed=0)
    with pytest.raises(ImageError, match=r"row 1: .* leads outside"):
        (photos / "url.jsonl").write_text('{"image": "file:///etc/passwd"}\n')
        image_source(str(photos / "url.jsonl"), seed=0)


def test_everything_that_is_not_read_is_counted_by_kind_and_said(photos: Path, tmp_path: Path) -> None:
    for name in ("1.PSD", "2.psd", "film.mp4", "photo.jpg~", "photo.jpg.crdownload", "plain", ".DS_Store", "Thumbs.db"):
        (photos / "a" / name).write_bytes(b"x")
    for folder in ("@eaDir", "__MACOSX", ".thumbnails"):
        (photos / folder).mkdir()
        (photos / folder / "small.jpg").write_bytes(b"no image")
    (tmp_path / "elsewhere").mkdir()
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    source = FolderSource(photos, seed=0)
    assert source.size() == 6 and source.quarantined == []
    described = source.describe()
    assert described["not_read"] == {"CRDOWNLOAD": 1, "JPG~": 1, "MP4": 1, "PSD": 2, "without extension": 1}
    assert described["links_not_followed"] == 1
    first, second = source.passed_over.notes()
    assert first.startswith("not read: 2 PSD, 1 ") and second.startswith("not followed: 1 links to folders")


def test_heic_without_its_package_is_named_with_the_way_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.images.folder.EXTENSIONS", (".png", ".jpg"))
    (photos / "a" / "IMG_1.HEIC").write_bytes(b"x")
    (photos / "a" / "2.avif").write_bytes(b"x")
    assert FolderSource(photos, seed=0).passed_over.notes() == [
        "not read: 1 AVIF, 1 HEIC files -> pip install pillow-heif; pip install --upgrade pillow"
    ]
    only = tmp_path / "phone"
    only.mkdir()
    (only / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"holds no \.png") as refusal:
        FolderSource(only, seed=0)
    assert "1 HEIC" in str(refusal.value.hint) and "pip install pillow-heif" in str(refusal.value.hint)


def hub_cache(folder: Path) -> Path:
    """A data set as the hub's cache keeps it: files are links to another folder."""
    repository = folder / "datasets--owner--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    (snapshot / "data").mkdir(parents=True)
    shard(folder / "whole.parquet", hub_cells(PICTURES)).rename(blobs / "f00d")
    (snapshot / "data" / "train-00000-of-00001.parquet").symlink_to("../../../blobs/f00d")
    return snapshot


def test_a_data_set_of_the_hub_is_downloaded_only_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, asked = hub_cache(tmp_path), list[tuple[object, ...]]()

    def download(repo_id: str, **options: object) -> str:
        asked.append((repo_id, options["repo_type"], options["revision"], options["local_files_only"]))
        if repo_id == "owner/none":
            raise LocalEntryNotFoundError("no network")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = image_source("hub:owner/name@0123abc", seed=0)
    assert source.size() == 12
    refs = source.take(0, 12)
    assert all(source.usable(ref) for ref in refs)
    assert asked == [("owner/name", "dataset", "0123abc", False)] * len(asked)
    asked.clear()
    opener = files_below("hub:owner/name@0123abc", None, Limits())
    assert opener.open(refs[0]).size == (16, 12)
    assert [one[3] for one in asked] == [True]
    with pytest.raises(ImageError, match="hub:owner/none could not be downloaded"):
        image_source("hub:owner/none", seed=0)
    asked.clear()
    assert image_source(str(snapshot), seed=0).size() == 12
    assert image_source(str(snapshot / "data" / "train-00000-of-00001.parquet"), seed=0).size() == 12
    with pytest.raises(ImageError, match="does not exist"):
        image_source("owner/name", seed=0)
    assert asked == []


def test_the_settings_reach_the_source(photos: Path) -> None:
    config = load_config("visplay-smoke", [f"images=[{photos}/a, {photos}/b]", "max_image_pixels=100"])
    assert config.images == f"{photos}/a,{photos}/b"
    from selfsight.methods.stream import image_options

    options = image_options(config)
    assert (options["limits"].max_pixels, options["choice"]) == (100, Choice())
    with pytest.raises(ImageError, match="6 of 6 images cannot be used"):
        image_source(config.images, seed=0, **options)
    for value, message in (("[]", "is a list of folders"), ("[a, [b]]", "is a list of folders"), ("['a,b']", "comma")):
        with pytest.raises(SelfsightError, match=message):
            load_config("visplay-smoke", [f"images={value}"])


def test_the_reasons_of_an_error_stand_in_lines_of_their_own(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1.png", "2.png", "3.png", "4\n  -> rm -rf.png"):
        (photos / name).write_text("hello")
    with pytest.raises(typer.Exit), errors():
        image_source(str(photos), seed=0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("4 of 10 images cannot be used, 3 are allowed:")
    assert len(lines) == 6 and all(line.startswith("    /") for line in lines[1:5])
    assert lines[5].startswith("  -> mend or remove them")


def test_looking_through_many_images_is_told_to_whoever_asked(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr("selfsight.images.heartbeat.time.monotonic", lambda: now.__setitem__(0, now[0] + 1.0) or now[0])
    with telling(told.append):
        FolderSource(photos, seed=0)
    assert told == ["folder:photos: 5 of 6 images checked"]
    Heartbeat("x").step()
    with telling(told.append):
        beat = Heartbeat("t.parquet")
    for _ in range(12):
        beat.step()
    assert told[1:] == ["t.parquet: 5 images checked", "t.parquet: 10 images checked"]


def test_a_file_and_an_image_of_a_table_of_the_same_content_are_one_image(photos: Path) -> None:
    table = shard(photos / "t.parquet", hub_cells([PICTURES[0], PICTURES[9]]))
    source = image_source(f"{photos}/a,{table}", seed=0)
    assert [ref.id for ref in source.take(0, 9)].count(content_id(PICTURES[0])) == 1
    described = source.describe()
    assert (described["images"], described["duplicates"]) == (4, 1)


def test_several_sources_are_shown_to_others_without_their_folders() -> None:
    assert without_folders("/data/photos, ./more/list.jsonl,hub:owner/name@1") == "photos,list.jsonl,hub:owner/name@1"
    assert without_folders("/data/photos/*.jpg") == "*.jpg"
