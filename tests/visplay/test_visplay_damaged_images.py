"""Image files whose header is fine and whose pixels are not: a run goes on without them, exactly resumable."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from interrupting import DiesAt, DiesSoon, Killed, until_done
from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.images import FolderSource, ImageRef
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import evolve, resume
from selfsight.run import derive
from selfsight.run.hashing import hash_path
from watching import Watcher, lines, same, table

from .conftest import witness
from .runs import config

# By `runs.BUDGET`: steps of 3 images at 0 and 3, curation from 6; round 2 begins at 24.
SLICES = {1: ((0, 3), (3, 6)), 2: ((24, 27), (27, 30))}
CURATION = {1: (6, 24), 2: (30, 48)}
MOST = "max_bad_fraction=0.8"


def damage(path: Path) -> bytes:
    """Spoils the pixels of a PNG behind a good header; its former content."""
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4
    path.write_bytes(data[:start] + b"\0\0" + data[start + 2 :])
    return data


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Sixty pictures: more than two rounds ask for."""
    folder = tmp_path / "album"
    folder.mkdir()
    for index in range(60):
        pixels = np.random.default_rng(index).integers(0, 256, (28, 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((56, 56), Image.Resampling.NEAREST).save(folder / f"{index:02}.png")
    return folder


def places(album: Path) -> list[ImageRef]:
    """The stream of a run with seed 0, place by place."""
    return FolderSource(album, seed=derive(0, "images")).take(0, 60)


def spoil(album: Path, *at: int) -> list[Path]:
    refs = places(album)
    for place in at:
        damage(Path(refs[place].origin))
    return [Path(refs[place].origin) for place in at]


def settings(speaker: Path, output: Path, album: Path, *overrides: str, run_name: str = "run") -> EvolveConfig:
    return config(speaker, output, f"images={album}", "visplay.min_pool=1", *overrides, run_name=run_name)


def quarantined(run: Path) -> list[str]:
    return [Path(line["path"]).name for line in lines(run / "quarantine.jsonl")]


def used(run: Path, name: str, round: int, step: int | None = None) -> list[str]:
    rows = table(run / "rounds" / str(round) / f"{name}.parquet")
    return list(dict.fromkeys(row["image_id"] for row in rows if step is None or row["step"] == step))


def same_with_quarantine(run: Path, reference: Path) -> None:
    same(run, reference)
    for name in ("quarantine.jsonl", "images.parquet"):
        assert (run / name).read_bytes() == (reference / name).read_bytes()


BAD = (1, 3, 4, 5, 8, 29)  # one of a step, a whole step, one of curation, one of round 2


def test_damaged_files_are_left_out_named_and_counted_and_the_run_goes_on(
    speaker: Path, album: Path, tmp_path: Path
) -> None:
    refs, bad = places(album), spoil(album, *BAD)
    watcher = Watcher()
    summary = evolve(settings(speaker, tmp_path, album, MOST), progress=watcher)
    run = tmp_path / "run"
    names = [path.name for path in bad]
    assert quarantined(run) == names
    assert [Path(image["path"]).name for image in summary["images"]["quarantined"]] == names
    assert all("cannot be decoded" in image["reason"] for image in summary["images"]["quarantined"])
    notes = [note for note in watcher.notes if note.startswith("image left out: ")]
    assert [Path(note.split(": ")[1]).name for note in notes] == names
    last = lines(run / "journal.jsonl")[-1]
    assert last["inputs"]["quarantine"] == hash_path(run / "quarantine.jsonl")
    # Every step and piece has the images of its own places, without the bad ones, and none has another's.
    seen: list[str] = []
    for round in (1, 2):
        for step, (start, end) in enumerate(SLICES[round]):
            expected = [refs[place].id for place in range(start, end) if place not in BAD]
            assert used(run, "asked", round, step) == expected
            seen += expected
        start, end = CURATION[round]
        asked = used(run, "questions", round)
        expected = [refs[place].id for place in range(start, end) if place not in BAD]
        assert asked == expected[: len(asked)]
        assert len(asked) >= 5
        seen += asked
    assert len(seen) == len(set(seen))
    assert not summary["images_repeat"]
    metrics = lines(run / "metrics.jsonl")
    first = [line for line in metrics if line["stage"] == "round-1/questioner"]
    assert [line["images"] for line in first] == [2, 0]
    assert "loss" in first[0]
    assert "loss" not in first[1]
    assert [line["images"] for line in metrics if line["stage"] == "round-2/questioner"] == [3, 2]


@pytest.mark.parametrize("control", ["own", "shuffled"])
def test_a_run_without_its_damaged_files_is_the_same_however_often_it_is_killed(
    speaker: Path, album: Path, tmp_path: Path, control: str
) -> None:
    spoil(album, *BAD)
    overrides = (MOST, f"visplay.controls.images={control}", "visplay.rounds=1")
    evolve(settings(speaker, tmp_path, album, *overrides, run_name="straight"), progress=Watcher())
    own = settings(speaker, tmp_path, album, *overrides)
    kills = until_done(loop, own, lambda: DiesSoon([]), expect=Killed, at_most=200)
    assert len(kills) >= 4
    assert len(quarantined(tmp_path / "run")) >= 5
    same_with_quarantine(tmp_path / "run", tmp_path / "straight")


def test_the_shuffled_control_shows_no_damaged_image_and_no_image_to_itself(
    speaker: Path, album: Path, tmp_path: Path
) -> None:
    bad = {ref.id for ref in (places(album)[place] for place in (1, 7, 9, 50))}
    spoil(album, 1, 7, 9, 50)
    seen = witness(settings(speaker, tmp_path, album, MOST, "visplay.controls.images=shuffled", "visplay.rounds=1"))
    partners: dict[str, str] = {}
    for at, role, request, _ in seen.sampled:
        assert request.prompt.image is not None
        assert request.prompt.image.id not in bad
        if role == "reasoner" and "measurement" not in at:
            own = request.id.split("/")[3]
            assert partners.setdefault(own, request.prompt.image.id) == request.prompt.image.id != own
    assert len(partners) >= 8
    assert len(set(partners.values())) == len(partners)


def test_too_many_damaged_files_stop_the_run_with_everything_saved_and_a_larger_share_goes_on(
    speaker: Path, album: Path, tmp_path: Path
) -> None:
    bad = spoil(album, 0, 3, 4, 5)
    own = settings(speaker, tmp_path, album, "save_steps=1000", "visplay.rounds=1")
    for begin in (
        lambda: evolve(own, progress=Watcher()),
        lambda: resume(tmp_path / "run", progress=Watcher()),  # the same error, and nothing worse
    ):
        with pytest.raises(SelfsightError, match="4 of 6 images cannot be used, 3 are allowed") as refusal:
            begin()
        assert all(path.name in refusal.value.message for path in bad)
        assert "max_bad_fraction (now 0.01)" in str(refusal.value.hint)
        assert f"selfsight resume {tmp_path / 'run'}" in str(refusal.value.hint)
        assert quarantined(tmp_path / "run") == [path.name for path in bad]
    watcher = Watcher()
    resume(tmp_path / "run", overrides=[MOST], progress=watcher)
    assert "resuming at round-1/questioner, step 1" in watcher.notes
    evolve(settings(speaker, tmp_path, album, MOST, "visplay.rounds=1", run_name="straight"), progress=Watcher())
    same_with_quarantine(tmp_path / "run", tmp_path / "straight")


def test_mended_files_are_used_again_once_the_quarantine_is_deleted(speaker: Path, album: Path, tmp_path: Path) -> None:
    refs = places(album)
    whole = {Path(refs[place].origin): damage(Path(refs[place].origin)) for place in (0, 3, 4, 5)}
    with pytest.raises(SelfsightError, match="4 of 6 images cannot be used"):
        evolve(settings(speaker, tmp_path, album, "visplay.rounds=1"), progress=Watcher())
    for path, content in whole.items():
        path.write_bytes(content)
    (tmp_path / "run" / "quarantine.jsonl").unlink()
    summary = resume(tmp_path / "run", progress=Watcher())
    assert summary["images"]["quarantined"] == []
    assert quarantined(tmp_path / "run") == []
    assert used(tmp_path / "run", "asked", 1, 0) == [refs[1].id, refs[2].id]  # that step was done
    assert used(tmp_path / "run", "asked", 1, 1) == [refs[place].id for place in (3, 4, 5)]


def test_files_that_come_and_go_while_a_run_is_stopped_move_no_other_image(
    speaker: Path, album: Path, tmp_path: Path
) -> None:
    refs = places(album)
    with pytest.raises(Killed):
        evolve(settings(speaker, tmp_path, album), progress=DiesAt("round 2: questioner"))
    gone = Path(refs[25].origin)
    gone.unlink()
    for number in range(20):
        Image.new("RGB", (56, 56), (number, 0, 0)).save(album / f"new{number}.png")
    summary = resume(tmp_path / "run", progress=Watcher())
    run = tmp_path / "run"
    assert used(run, "asked", 2, 0) == [refs[24].id, refs[26].id]
    assert used(run, "asked", 2, 1) == [refs[place].id for place in (27, 28, 29)]
    asked = used(run, "questions", 2)
    assert asked == [refs[place].id for place in range(30, 30 + len(asked))]
    assert quarantined(run) == [gone.name]
    assert summary["images"]["images"] == 60


def test_a_file_damaged_after_curation_costs_its_own_questions_only(speaker: Path, album: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        evolve(settings(speaker, tmp_path, album, "visplay.rounds=1"), progress=DiesAt("round 1: reasoner"))
    run = tmp_path / "run"
    pool = table(run / "rounds" / "1" / "pool.parquet")
    order = sorted(pool, key=lambda item: derive(0, "pool", 1, item["question_id"]))[:9]
    victim = order[0]["origin"]
    damage(Path(victim))
    resume(run, progress=Watcher())
    learned = [line for line in lines(run / "metrics.jsonl") if line["stage"] == "round-1/reasoner"]
    steps = [order[start : start + 3] for start in range(0, len(order) // 3 * 3, 3)]
    assert [line["questions"] for line in learned] == [sum(item["origin"] != victim for item in step) for step in steps]
    assert quarantined(run) == [Path(victim).name]


def test_worlds_leave_no_list_of_files(straight: Any) -> None:
    assert not (straight.path / "quarantine.jsonl").exists()
    assert not (straight.path / "images.parquet").exists()
    assert all("quarantine" not in line["inputs"] for line in lines(straight.path / "journal.jsonl"))
