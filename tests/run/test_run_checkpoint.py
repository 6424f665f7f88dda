"""Checkpoints: no crash, full disk or flipped byte ever costs more than the step under way."""

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.run import DiskError
from selfsight.run.checkpoint import MARKER, STATE, TENSORS, Checkpoints


def tensors(step: int) -> dict[str, torch.Tensor]:
    weight = torch.arange(12, dtype=torch.float32).reshape(3, 4) + step
    return {
        "weight": weight,
        "tied": weight,
        "turned": weight.T,
        "half": weight.bfloat16(),
        "n": torch.tensor(step),
    }


def state(step: int) -> dict[str, object]:
    return {"step": step, "rng": [1, 2, 2**63], "mean": 0.1 + step, "note": "é"}


def save(checkpoints: Checkpoints, step: int) -> Path:
    return checkpoints.save(step, tensors(step), state(step))


def is_whole(checkpoints: Checkpoints, step: int) -> bool:
    found = checkpoints.latest_valid()
    if found is None or found.step != step or found.state() != state(step):
        return False
    loaded = found.tensors()
    return loaded.keys() == tensors(step).keys() and all(
        torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
        for name, tensor in tensors(step).items()
    )


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest_valid() is None
    path = save(checkpoints, 3)
    assert sorted(file.name for file in path.iterdir()) == sorted([MARKER, STATE, TENSORS])
    assert is_whole(checkpoints, 3)
    assert checkpoints.skipped == []


def test_the_newest_by_number_is_found_and_old_ones_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, save_total_limit=2)
    for step in (1, 2, 9, 10, 11):
        save(checkpoints, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-11"]
    assert is_whole(checkpoints, 11)
    with pytest.raises(SelfsightError, match="save_total_limit is 0"):
        Checkpoints(tmp_path, save_total_limit=0)


def test_fifty_saves_take_the_room_of_two(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, save_total_limit=2)
    for step in range(50):
        save(checkpoints, step)
        assert len(list(tmp_path.iterdir())) <= 2


def test_every_flipped_byte_is_found_and_the_previous_checkpoint_is_used(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    newest = save(checkpoints, 2)
    draw = random.Random(0)
    corruptions = 0
    for name in (MARKER, STATE, TENSORS):
        whole = (newest / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= draw.choice((1, 0x20, 0x80, draw.randrange(1, 256)))
            (newest / name).write_bytes(damaged)
            assert is_whole(checkpoints, 1)
            assert [skip.path.name for skip in checkpoints.skipped] == ["step-2"]
            assert name in checkpoints.skipped[0].reason
            corruptions += 1
        for cut in sorted({0, 1, len(whole) // 2, len(whole) - 1}):
            (newest / name).write_bytes(whole[:cut])
            assert is_whole(checkpoints, 1)
            assert name in str(checkpoints.skipped[0])
            corruptions += 1
        (newest / name).unlink()
        assert is_whole(checkpoints, 1)
        assert name in str(checkpoints.skipped[0])
        (newest / name).write_bytes(whole)
        assert is_whole(checkpoints, 2)
    assert corruptions >= 100


def test_a_marker_of_another_step_is_not_believed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = save(checkpoints, 1)
    shutil.copytree(path, tmp_path / "step-5")
    assert is_whole(checkpoints, 1)
    assert str(checkpoints.skipped[0]) == f"step-5: {MARKER} is damaged"


def test_planted_pickles_are_not_touched(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = save(checkpoints, 1)
    canary = tmp_path / "canary"
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "state.pkl"):
        # What a pickle that runs `touch canary` looks like.
        (path / name).write_bytes(f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode())
    assert is_whole(checkpoints, 1)
    assert not canary.exists()


class Killed(BaseException):
    """The process is gone: from here on no call reaches the disk, not even those that clean up."""


class Disk:
    """Counts the calls that change the disk, and fails from call number `at` on with what `fault` makes."""

    CHANGES = ("fsync", "replace", "rename", "mkdir")
    REMOVALS = ("unlink", "rmdir")

    def __init__(self, patch: pytest.MonkeyPatch, names: tuple[str, ...], at: int, fault: Callable[[], BaseException]):
        self.calls, self._at, self._fault = 0, at, fault
        for name in names:
            patch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.calls += 1
            if self.calls >= self._at:
                raise self._fault()
            return real(*args, **options)

        return call


def fresh(folder: Path) -> tuple[Checkpoints, int, int]:
    """Nothing there yet."""
    return Checkpoints(folder), 1, 0


def second(folder: Path) -> tuple[Checkpoints, int, int]:
    checkpoints = Checkpoints(folder)
    save(checkpoints, 1)
    return checkpoints, 2, 1


def pruning(folder: Path) -> tuple[Checkpoints, int, int]:
    """The new one will push an old one out, and there is debris of an earlier crash."""
    checkpoints = Checkpoints(folder, save_total_limit=1)
    save(checkpoints, 1)
    shutil.copytree(folder / "step-1", folder / "step-2")
    shutil.copytree(folder / "step-1", folder / ".step-2.tmp")
    (folder / "step-2" / MARKER).unlink()
    return checkpoints, 2, 1


def repeated(folder: Path) -> tuple[Checkpoints, int, int]:
    """The same step again, the only checkpoint there is (equal content, so either one will do)."""
    checkpoints = Checkpoints(folder, save_total_limit=1)
    save(checkpoints, 2)
    return checkpoints, 2, 2


def after_damage(folder: Path) -> tuple[Checkpoints, int, int]:
    """Step 3 is damaged, so the run went back to 1 and now saves 2."""
    checkpoints = Checkpoints(folder)
    save(checkpoints, 1)
    (save(checkpoints, 3) / STATE).write_text("{}")
    return checkpoints, 2, 1


SITUATIONS = (fresh, second, pruning, repeated, after_damage)


def faulty_saves(
    tmp_path: Path, names: tuple[str, ...], fault: Callable[[], BaseException], expected: type[BaseException]
) -> int:
    """Fail each situation at each of its calls; the number of faults injected."""
    faults = 0
    for situation in SITUATIONS:
        at, finished = 1, False
        while not finished:
            folder = tmp_path / f"{situation.__name__}-{at}"
            checkpoints, step, before = situation(folder)
            with pytest.MonkeyPatch.context() as patch:
                disk = Disk(patch, names, at, fault)
                try:
                    save(checkpoints, step)
                except expected:
                    faults += 1
            finished = disk.calls < at
            again = Checkpoints(folder, save_total_limit=checkpoints.save_total_limit)
            if finished:
                assert is_whole(again, step)
            elif before == 0:
                assert again.latest_valid() is None or is_whole(again, step)
            else:
                assert is_whole(again, before) or is_whole(again, step), (situation.__name__, at)
            # The next save works without any manual step, and clears what the fault left.
            save(again, step)
            assert is_whole(again, step)
            save(again, step + 1)
            assert is_whole(again, step + 1)
            assert len(list(folder.iterdir())) <= again.save_total_limit
            at += 1
    return faults


def test_a_kill_at_any_call_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    assert faulty_saves(tmp_path, Disk.CHANGES + Disk.REMOVALS, Killed, Killed) >= 50


def test_a_full_disk_at_any_call_leaves_a_whole_checkpoint_and_is_a_clear_error(tmp_path: Path) -> None:
    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert faulty_saves(tmp_path, Disk.CHANGES, full, DiskError) >= 30


def test_a_full_disk_while_the_tensors_are_written_is_the_same_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    def full(*_: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(DiskError, match=r"tensors\.safetensors") as refusal:
            save(checkpoints, 2)
    assert "free some space" in str(refusal.value.hint)
    assert is_whole(checkpoints, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_steps_only_grow(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5)
    with pytest.raises(ValueError, match="step 4 lies before the checkpoint step-5"):
        save(checkpoints, 4)
    assert is_whole(checkpoints, 5)


def test_state_that_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TypeError, match="Tensor"):
        checkpoints.save(1, tensors(1), {"weight": torch.zeros(2)})
    assert list(tmp_path.iterdir()) == []
