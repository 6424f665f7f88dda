"""The model folder that an export writes, and what its card says."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfsight.errors import SelfsightError
from selfsight.export import export_run
from selfsight.recipes import parse_yaml
from selfsight.run import Journal, hash_path, pretty_json

from .exportable import exportable, front_matter_and_text, write_model


def card_of(run: Path, out: Path, **options: Any) -> str:
    """The text of the card of an exported model."""
    export_run(run, out, what="model", **options)
    return front_matter_and_text(out / "model" / "README.md")[1]


def remeasured(run: Path, round: int, **changes: Any) -> None:
    """Changes a round's entry in its round.json."""
    path = run / "rounds" / str(round) / "round.json"
    path.write_bytes(pretty_json(json.loads(path.read_bytes()) | changes))


def test_the_last_rounds_model_is_copied_as_it_is(run: Path, tmp_path: Path) -> None:
    done = export_run(run, tmp_path, what="model")
    assert done.model is not None
    assert done.model.round == 2
    source = run / "rounds" / "2" / "reasoner"
    for file in source.iterdir():
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes()
    record = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert (record["run"], record["round"], record["model_hash"]) == ("made", 2, hash_path(source))


def test_the_card_says_first_whether_it_got_better(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path)
    assert "This is round 2 of 2, the last one." in text
    # Ten questions that were always answered alike, and ten of which six more are right.
    assert "It got better: held-out accuracy rose by 30.0 points (95 % interval +4.8 to +49.7)." in text
    assert "| answers, greedy | 50.0 % [45.0, 55.0] | 70.0 % [65.0, 75.0] | +30.0 [+4.8, +49.7] |" in text
    assert "They do not cover what another seed would have given." in text


def test_what_was_not_shown_to_be_better_stands_among_the_failures(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path)
    assert "Not shown to be better: answers, majority (0.0 [\N{MINUS SIGN}12.6, +12.6] points)." in text
    of_kinds = "Not shown to be better: kinds of question, greedy:"
    assert f"{of_kinds} ` relation ` 0.0 [\N{MINUS SIGN}23.1, +23.1] points." in text
    assert "counting ` +60.0" not in text.partition("## Known failures")[2].partition("##")[0]
    assert "labels of its own that were wrong: round 1 40.0 %, round 2 40.0 %." in text


def test_another_round_is_compared_with_the_base_by_its_own_answers(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path, which="1")
    assert "This is round 1 of 2." in text
    assert "held-out accuracy (+15.0 points, 95 % interval" in text


def test_the_best_round_is_called_chosen_by_the_questions_that_flatter_it(tmp_path: Path) -> None:
    run = exportable(tmp_path)
    entry = json.loads((run / "rounds" / "1" / "round.json").read_bytes())
    remeasured(run, 1, heldout=entry["heldout"] | {"accuracy": 0.95})
    assert "round 1 of 2, the one with the highest held-out accuracy" in card_of(run, tmp_path / "out", which="best")


def test_a_round_that_is_not_there_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="there is no finished round '7'") as refused:
        export_run(run, tmp_path, what="model", which="7")
    assert "final, best, or one of 1, 2" in (refused.value.hint or "")


def test_a_model_that_is_not_what_the_run_wrote_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = exportable(tmp_path)
    (run / "rounds" / "2" / "reasoner" / "model.safetensors").write_bytes(b"another one")
    with pytest.raises(SelfsightError, match="is not what the run wrote there"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_the_hub_is_named_as_base_and_a_folder_is_not(tmp_path: Path) -> None:
    run = exportable(tmp_path / "a", overrides=["model=owner/name", "visplay.prompt_pack=full"])
    export_run(run, tmp_path / "hub", what="model")
    fields = parse_yaml(front_matter_and_text(tmp_path / "hub" / "model" / "README.md")[0], where="the card")
    assert (fields["base_model"], fields["base_model_relation"]) == ("owner/name", "finetune")
    run = exportable(tmp_path / "b", overrides=[f"model={tmp_path}/secret/vlm", "visplay.prompt_pack=full"])
    export_run(run, tmp_path / "own", what="model")
    metadata, text = front_matter_and_text(tmp_path / "own" / "model" / "README.md")
    assert "base_model" not in metadata
    assert "base model: ` vlm `" in text
    assert "secret" not in text


@pytest.mark.parametrize("adapters", [False, True])
def test_a_lora_run_says_whether_its_adapters_are_merged(tmp_path: Path, adapters: bool) -> None:
    run = exportable(tmp_path, rounds=1, overrides=["lora.r=8"])
    if adapters:
        folder = run / "rounds" / "1" / "model"
        (run / "rounds" / "1" / "reasoner").rename(run / "old")
        write_model(folder, 1)
        (folder / "adapter_config.json").write_text("{}")
        with Journal(run / "journal.jsonl") as journal:
            journal.record("round-1/reasoner", inputs={}, outputs=[folder], seconds=1.0)
    text = card_of(run, tmp_path / "out")
    assert ("adapters (LoRA, rank 8), which are merged" in text) != adapters
    assert ("the folder holds adapters (LoRA)" in text) == adapters
    assert (tmp_path / "out" / "model" / "adapter_config.json").exists() == adapters


def test_an_unfinished_run_has_the_model_of_its_last_finished_round(tmp_path: Path) -> None:
    run = exportable(tmp_path, finished=False, overrides=["visplay.rounds=5"])
    text = card_of(run, tmp_path / "out")
    assert "**the run was not finished** when this was exported" in text
    assert "It got better" in text


def test_a_run_without_a_finished_round_has_no_model(tmp_path: Path) -> None:
    run = exportable(tmp_path, rounds=1, finished=False)
    (run / "rounds" / "1" / "round.json").unlink()
    with pytest.raises(SelfsightError, match="no round of it is finished"):
        export_run(run, tmp_path / "out", what="model")


def test_a_link_in_a_model_folder_is_not_followed(tmp_path: Path) -> None:
    run = exportable(tmp_path, rounds=1)
    folder = run / "rounds" / "1" / "reasoner"
    (tmp_path / "secret").write_text("secret")
    (folder / "extra.json").symlink_to(tmp_path / "secret")
    with Journal(run / "journal.jsonl") as journal:
        journal.record("round-1/reasoner", inputs={}, outputs=[folder], seconds=1.0)
    with pytest.raises(SelfsightError, match=r"extra\.json: is a link"):
        export_run(run, tmp_path / "out", what="model")
    assert not (tmp_path / "out" / "model").exists()


# ---- alarms ------------------------------------------------------------------------------------------------


def test_alarms_that_went_off_stand_among_the_failures_of_both_cards(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path)
    for card in ("model", "questions"):
        text = front_matter_and_text(tmp_path / card / "README.md")[1].partition("## Known failures")[2]
        assert "Alarm ` question_cluster ` went off 2 times, the latest in ` round 2, curation `" in text
        assert "novelty" not in text.partition("##")[0]


def test_silence_and_a_run_that_nobody_watched_are_told_apart(tmp_path: Path) -> None:
    folder = exportable(tmp_path)
    lines = (folder / "alarms.jsonl").read_text().splitlines(keepends=True)
    (folder / "alarms.jsonl").write_text("".join(line for line in lines if '"fired"' not in line))
    assert "None of the 1 alarms for collapse that could be measured went off." in card_of(folder, tmp_path / "quiet")
    (folder / "alarms.jsonl").unlink()
    assert "The run was not watched for collapse." in card_of(folder, tmp_path / "unwatched")


@pytest.mark.parametrize("kept", [True, False])
def test_alarms_that_cannot_be_read_are_no_silence(tmp_path: Path, kept: bool) -> None:
    folder = exportable(tmp_path)
    lines = (folder / "alarms.jsonl").read_text() if kept else ""
    (folder / "alarms.jsonl").write_text(lines + '{"alarm": "novelty", "state": "fired", "says": null}\n')
    text = card_of(folder, tmp_path / "out")
    assert "Of the run's record of alarms 1 could not be read: ` is no alarm `" in text
    assert "not watched" not in text and "None of the" not in text
    assert ("Alarm ` question_cluster `" in text) is kept


def test_alarms_of_which_none_could_be_measured_are_not_called_quiet(tmp_path: Path) -> None:
    folder = exportable(tmp_path)
    lines = (folder / "alarms.jsonl").read_text().splitlines(keepends=True)
    (folder / "alarms.jsonl").write_text("".join(line for line in lines if '"not measured"' in line))
    assert "watched for collapse, but no alarm could be measured" in card_of(folder, tmp_path / "out")


def test_a_round_that_alarms_chose_and_that_is_gone_is_not_replaced_by_another(tmp_path: Path) -> None:
    folder = exportable(tmp_path, rounds=3)
    summary = json.loads((folder / "summary.json").read_bytes())
    (folder / "summary.json").write_bytes(pretty_json(summary | {"rollback": {"to": 2}}))
    (folder / "rounds" / "2" / "round.json").unlink()
    with pytest.raises(SelfsightError, match="rolled it back to round 2, which cannot be read"):
        export_run(folder, tmp_path / "out", what="model")
    assert "This is round 1 of 3." in card_of(folder, tmp_path / "out", which="1")


@pytest.mark.parametrize("to", [0, 1])
def test_the_final_model_of_a_run_that_was_rolled_back_is_its_result(tmp_path: Path, to: int) -> None:
    folder = exportable(tmp_path)
    summary = json.loads((folder / "summary.json").read_bytes())
    back = {"stage": "round-2/curation", "alarms": ["novelty"], "to": to, "measured": 2, "by": "held-out accuracy"}
    (folder / "summary.json").write_bytes(pretty_json(summary | {"final_round": to, "rollback": back}))
    if to == 0:
        with pytest.raises(SelfsightError, match="rolled it back to the base model") as refused:
            export_run(folder, tmp_path / "out")
        assert "--round N" in (refused.value.hint or "") and not (tmp_path / "out").exists()
        export_run(folder, tmp_path / "out", what="questions")
        card = tmp_path / "out" / "questions" / "README.md"
        assert "its result is the base model." in front_matter_and_text(card)[1]
    else:
        text = card_of(folder, tmp_path / "out")
        said = "Alarms for collapse ended the run and rolled it back: its result is round 1."
        assert f"This is round 1 of 2. {said}" in text
