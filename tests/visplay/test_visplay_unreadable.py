"""A model that cannot be read stops the run at once, says why, and leaves the reason in the run's folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.methods.readings import Unreadable
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.curation import Curated, cannot_be_filled
from selfsight.methods.visplay.gates import GateCount
from selfsight.methods.visplay.records import Asked, Question
from selfsight.methods.visplay.run import evolve, resume
from selfsight.policy import Policy
from selfsight.report.overview import overview
from selfsight.report.page import render_written, write_report
from selfsight.report.reading import read_run
from watching import Watcher

from .runs import config

SETTINGS = ("visplay.rounds=1", "grpo.num_generations=6")


def refused(run: Callable[[], object]) -> SelfsightError:
    with pytest.raises(SelfsightError) as refusal:
        run()
    assert refusal.value.hint
    return refusal.value


def spoiled(monkeypatch: pytest.MonkeyPatch, role: str, text: str, phases: tuple[str, ...], watcher: Watcher) -> None:
    """Makes a role write `text` whenever the current phase ends like one of `phases`."""
    from dataclasses import replace

    original = Policy.sample

    def sample(self: Policy, requests, sampling):  # type: ignore[no-untyped-def]
        found = original(self, requests, sampling)
        if self.name != role or not watcher.phases[-1].endswith(phases):
            return found
        return {id: [replace(one, text=text, finished=True) for one in own] for id, own in found.items()}

    monkeypatch.setattr(Policy, "sample", sample)


@pytest.mark.parametrize(
    ("role", "phase", "stage", "said"),
    [
        ("reasoner", "measurement", "round-0/evaluation", "18 of the base model's first 18 answers cannot be read"),
        ("questioner", "questioner", "round-1/questioner", "18 of the questioner's first 18 questions cannot be read"),
        ("questioner", "curation", "round-1/curation", "of the questioner's first 24 questions cannot be read"),
        ("reasoner", "reasoner", "round-1/reasoner", "18 of the reasoner's first 18 answers cannot be read"),
    ],
)
def test_a_run_stops_at_the_first_unreadable_completions_and_goes_on_when_they_are_mended(
    speaker: Path, tmp_path: Path, role: str, phase: str, stage: str, said: str
) -> None:
    # 18 completions in a step: enough to judge by, so that nothing is learned from them.
    settings = config(speaker, tmp_path, *SETTINGS)
    run, watcher = tmp_path / "run", Watcher()
    with pytest.MonkeyPatch.context() as patch:
        spoiled(patch, role, "I cannot \x1b[2Jsay", (phase,), watcher)
        error = refused(lambda: evolve(settings, progress=watcher))
    assert isinstance(error, Unreadable) and said in error.message
    assert watcher.notes[-1] == "cannot be read: I cannot say"
    left = json.loads((run / "failure.json").read_text())
    assert (left["message"], left["hint"], left["stage"]) == (error.message, error.hint, stage)
    assert left["completions"] == ["I cannot say"] and left["time"] and left["kind"] == "Unreadable"
    # The report has it at the top.
    sentences = overview(read_run(run), []).headline.sentences
    assert said in sentences[0] and sentences[1].startswith("What to do: ")
    assert str(tmp_path) not in " ".join(sentences)
    assert "I cannot say" in write_report(run).path.read_text()
    # Resumed, it goes on from the very place, and ends as if nothing had been. What curation was told lies in the run
    # and is asked for again only with other settings.
    other = ["visplay.max_question_length=13"] if phase == "curation" else []
    resumed = resume(run, overrides=other, progress=Watcher())
    assert not (run / "failure.json").exists()
    if other:
        return
    straight = evolve(config(speaker, tmp_path, *SETTINGS, run_name="straight"), progress=Watcher())
    assert resumed["final_weights"] == straight["final_weights"]


def test_a_run_that_is_told_to_goes_on_with_what_cannot_be_read(speaker: Path, tmp_path: Path) -> None:
    settings = config(speaker, tmp_path, "visplay.rounds=1", "max_unreadable=null")
    watcher = Watcher()
    with pytest.MonkeyPatch.context() as patch:
        spoiled(patch, "reasoner", "no box", ("measurement",), watcher)
        assert evolve(settings, progress=watcher)["base"]["format_failures"] == 1.0


def asked(count: int) -> tuple[Asked, ...]:
    image = ImageRef("i", "o")
    return tuple(Asked(Question(f"q{i}", image, "", False, "no", "text"), None, ()) for i in range(count))


def test_an_empty_pool_is_given_up_when_the_images_left_cannot_fill_it(speaker: Path, tmp_path: Path) -> None:
    large = config(speaker, tmp_path, "visplay.min_pool=500", "visplay.questions_per_image=8")
    empty = Curated(asked(400), {}, (GateCount("agreement", 400, 400),), ())
    assert cannot_be_filled(empty, 1_000, large)
    assert not cannot_be_filled(empty, 10_000, large)
    small = config(speaker, tmp_path, "visplay.min_pool=3")
    assert not cannot_be_filled(empty, 1_000, small)
    assert not cannot_be_filled(Curated((), {}, (), ()), 1_000, large)


def test_a_gate_that_rejects_everything_is_named_with_its_reason_and_one_question(
    speaker: Path, tmp_path: Path
) -> None:
    never = "visplay.gates={preset: robust, agreement_floor: 1.0, agreement_ceiling: 1.0, plausibility_floor: 0.0}"
    error = refused(lambda: evolve(config(speaker, tmp_path, never), progress=Watcher()))
    assert "the gate 'plausibility' rejected" in error.message and "most often because: " in error.message
    assert "one of them: " in str(error.hint)
    assert "lower visplay.gates.plausibility_floor (now 0.0) or set it to null" in str(error.hint)
    assert "pool_images" not in str(error.hint)
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["message"] == error.message


def test_the_terminal_says_first_why_a_run_failed(speaker: Path, tmp_path: Path) -> None:
    import io

    assert loop.evolve is evolve
    watcher = Watcher()
    with pytest.MonkeyPatch.context() as patch:
        spoiled(patch, "reasoner", "no box", ("measurement",), watcher)
        refused(lambda: evolve(config(speaker, tmp_path), progress=watcher))
    stream = io.StringIO()
    render_written(write_report(tmp_path / "run"), stream)
    assert stream.getvalue().startswith("This run stopped at round-0/evaluation, step 0 (")
