"""Made runs that can be exported: with the model folders of their rounds in the journal, and measured answers."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from made_runs import Say, plain, visplay_run
from selfsight.run import Journal


def exportable(
    folder: Path,
    *,
    images: int = 3,
    rounds: int = 2,
    say: Say = plain,
    finished: bool = True,
    photographs: bool = False,
    overrides: Iterable[str] = (),
) -> Path:
    """A made run of VisPlay whose rounds have answers and a model folder each."""
    path = visplay_run(
        folder, images=images, rounds=rounds, say=say, finished=finished, photographs=photographs, overrides=overrides
    )
    with Journal(path / "journal.jsonl") as journal:
        for round in range(rounds + 1):
            measured = pa.Table.from_pylist(answers(round))
            pq.write_table(measured, path / "rounds" / str(round) / "evaluation.parquet")
            if round:
                model = path / "rounds" / str(round) / "reasoner"
                write_model(model, round)
                journal.record(f"round-{round}/reasoner", inputs={}, outputs=[model], seconds=1.0)
    return path


def write_model(folder: Path, round: int) -> None:
    """A folder with the files of a model, and no model in them."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "made", "selfsight_prompt_pack": "full"}))
    (folder / "model.safetensors").write_bytes(bytes([round]) * 64)
    (folder / "tokenizer.json").write_text("{}")


def answers(round: int) -> list[dict[str, object]]:
    """Ten answers of each of two kinds: counting gets better by three a round, relation never does."""
    return [
        {
            "id": f"{family}-{place}", "family": family, "image_id": f"w-{place}", "question": "How many?",
            "key": "num:3", "greedy": float(place < (3 + 3 * round if family == "counting" else 5)), "sampled": 0.5,
            "majority": 0.5, "greedy_format_failure": 0.0, "sampled_format_failure": 0.0, "greedy_text": "",
            "sampled_keys": ["num:3"],
        }
        for family in ("counting", "relation") for place in range(10)
    ]  # fmt: skip


def front_matter_and_text(card: Path) -> tuple[str, str]:
    """The two parts of a card."""
    _, metadata, text = card.read_text(encoding="utf-8").split("---\n", 2)
    return metadata, text
