"""What can go wrong around a run: each a clear error that names its cause, with nothing lost."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from PIL import Image
from safetensors import SafetensorError

from interrupting import failing_calls, until_done
from selfsight.errors import SelfsightError
from selfsight.methods.visplay import curation
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import evolve, resume
from selfsight.run import DiskError, RunDirectory
from watching import Watcher, same, table

from .conftest import Witnessed
from .runs import config


def refused(run: Callable[[], object]) -> SelfsightError:
    with pytest.raises(SelfsightError) as refusal:
        run()
    assert refusal.value.hint
    return refusal.value


def test_an_empty_folder_is_refused_before_a_run_is_made(speaker: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    settings = config(speaker, tmp_path, f"images={tmp_path / 'none'}")
    error = refused(lambda: evolve(settings, progress=Watcher()))
    assert f"{tmp_path / 'none'}: holds no .png" in error.message
    assert not (tmp_path / "run").exists()


def test_a_model_that_brings_code_is_refused_before_a_run_is_made(speaker: Path, tmp_path: Path) -> None:
    shutil.copytree(speaker, tmp_path / "model")
    written = json.loads((speaker / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(written | {"auto_map": {"AutoModel": "evil.Model"}}))
    error = refused(lambda: evolve(config(tmp_path / "model", tmp_path), progress=Watcher()))
    assert "config.json" in error.message
    assert "'auto_map'" in error.message
    assert not (tmp_path / "run").exists()


def test_bad_images_among_good_ones_are_left_out_named_and_counted(
    speaker: Path, photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photographs, folder)
    whole = next(folder.glob("*.png")).read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (9000, 9000)).save(folder / "bomb.png")
    watcher = Watcher()
    summary = evolve(config(speaker, tmp_path, f"images={folder}", "visplay.rounds=1"), progress=watcher)
    named = {Path(image["path"]).name for image in summary["images"]["quarantined"]}
    assert named == {"torn.png", "bomb.png"}
    assert summary["images"]["images"] == 12
    (note,) = [note for note in watcher.notes if note.startswith("images left out: 2 ")]
    assert "torn.png" in note
    assert "bomb.png" in note
    used = {row["origin"] for row in table(tmp_path / "run" / "rounds" / "1" / "questions.parquet")}
    assert used
    assert not any(Path(origin).name in named for origin in used)


def test_a_folder_of_bad_images_ends_the_run_before_it_starts(speaker: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(4):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"not a picture")
    error = refused(lambda: evolve(config(speaker, tmp_path, f"images={tmp_path / 'images'}"), progress=Watcher()))
    assert "4 of 4 images cannot be used" in error.message
    assert "0.png" in error.message
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_is_refused_on_resuming_too(straight: Witnessed) -> None:
    before = (straight.path / "config.yaml").read_bytes()
    error = refused(lambda: resume(straight.path, overrides=["visplay.roundz=3"], progress=Watcher()))
    assert "visplay.roundz" in error.message
    assert "visplay.rounds" in str(error.hint)
    assert (straight.path / "config.yaml").read_bytes() == before


def test_a_run_is_not_written_over_another(speaker: Path, straight: Witnessed) -> None:
    before = (straight.path / "summary.json").read_bytes()
    error = refused(lambda: evolve(straight.config, progress=Watcher()))
    assert str(straight.path) in error.message
    assert "selfsight resume" in str(error.hint)
    assert (straight.path / "summary.json").read_bytes() == before


def test_a_second_process_on_the_same_run_is_refused(straight: Witnessed) -> None:
    with RunDirectory.resume(straight.path):
        error = refused(lambda: resume(straight.path, progress=Watcher()))
    assert f"pid {os.getpid()}" in error.message


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    assert "holds no run" in refused(lambda: resume(tmp_path, progress=Watcher())).message


# --- a pool that is too small ------------------------------------------------------------------------------


def test_a_pool_too_small_for_a_batch_stops_the_run_and_smaller_batches_go_on_with_what_is_there(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(speaker, tmp_path, "visplay.questions_per_step=60", "visplay.max_pool_attempts=3")
    error = refused(lambda: evolve(settings, progress=Watcher()))
    assert error.message.startswith("round 1: the pool holds ")
    assert "at least 60 are needed; the gate 'agreement' rejected" in error.message
    rows = table(tmp_path / "run" / "rounds" / "1" / "questions.parquet")
    # All attempts were used: three times six images, four questions each.
    assert len(rows) == 72
    assert len({row["image_id"] for row in rows}) == 18

    asked = []
    ask = loop.ask_candidates
    monkeypatch.setattr(loop, "ask_candidates", lambda *arguments: asked.append(arguments[3]) or ask(*arguments))
    smaller = ["visplay.min_pool=1", "visplay.questions_per_step=2", "evaluation.batch_size=4"]
    summary = resume(tmp_path / "run", overrides=smaller, progress=Watcher())
    assert [place.round for place in asked] == [2]  # round 1's candidates were on disk
    assert [entry["round"] for entry in summary["rounds"]] == [1, 2]
    assert table(tmp_path / "run" / "rounds" / "1" / "questions.parquet") == rows[:24]


def test_candidates_asked_under_other_settings_are_not_used_again(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curation, "PIECE", 2)
    ask, asked = loop.ask_candidates, []

    def stop_after_two(*arguments: object) -> object:
        if len(asked) == 2:
            raise KeyError("a crash")
        asked.append(arguments[2])
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "ask_candidates", stop_after_two)
    with pytest.raises(KeyError):
        evolve(config(speaker, tmp_path, "visplay.rounds=1", "visplay.max_pool_attempts=1"), progress=Watcher())
    assert len(list((tmp_path / "run" / "rounds" / "1" / "parts").glob("votes-*"))) == 2
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    again: list[object] = []
    monkeypatch.setattr(loop, "ask_candidates", lambda *args: again.append(args[2]) or ask(*args))
    resume(tmp_path / "run", overrides=["visplay.num_votes=5"], progress=Watcher())
    assert len(again) == 3
    votes = table(tmp_path / "run" / "rounds" / "1" / "votes.parquet")
    assert {row["sample"] for row in votes} == set(range(5))
    # With the same settings only the third piece is missing.
    again.clear()
    resume(tmp_path / "again", progress=Watcher())
    assert len(again) == 1


# --- the disk ----------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_at_any_write_costs_nothing_but_time(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    watcher = failing_calls(monkeypatch, os, "fsync", full, seed=7, between=(1, 60))
    errors = until_done(loop, config(speaker, tmp_path), watcher, expect=DiskError, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(errors) >= 8
    for error in errors:
        assert str(tmp_path / "run") in error.message
        assert "No space left" in error.message
        assert "nothing written before is lost" in str(error.hint)


@pytest.mark.parametrize("victim", ["tensors.safetensors", "model.safetensors"])
def test_a_disk_that_fills_up_inside_safetensors_is_told_in_our_words(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """Of checkpoints and of model folders alike: safetensors knows no OSError."""
    save, hits = safetensors.torch.save_file, []

    def full(tensors: object, filename: str | os.PathLike[str], *args: object, **options: object) -> None:
        if Path(filename).name == victim and not hits:
            hits.append(filename)
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(tensors, filename, *args, **options)  # type: ignore[arg-type]

    import transformers.modeling_utils

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    monkeypatch.setattr(transformers.modeling_utils, "safe_save_file", full)
    with pytest.raises(DiskError, match="No space left") as failure:
        evolve(config(speaker, tmp_path), progress=Watcher())
    assert "nothing written before is lost" in str(failure.value.hint)
    assert hits
    run = tmp_path / "run"
    assert not list(run.rglob("*.tmp"))
    resume(run, progress=Watcher())
    same(run, straight.path)


def test_a_model_that_changed_since_the_run_began_is_refused(speaker: Path, tmp_path: Path) -> None:
    """Anchor and baseline are read from its folder again: another model would silently become both."""
    shutil.copytree(speaker, tmp_path / "model")
    settings = config(tmp_path / "model", tmp_path, "visplay.rounds=1", "visplay.questions_per_step=60")
    assert "the pool holds" in refused(lambda: evolve(settings, progress=Watcher())).message
    tensors = safetensors.torch.load_file(tmp_path / "model" / "model.safetensors")
    next(iter(tensors.values())).flatten()[0] += 1
    safetensors.torch.save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    error = refused(lambda: resume(tmp_path / "run", progress=Watcher()))
    assert f"{tmp_path / 'model'} is not the one that this run began with" in error.message
