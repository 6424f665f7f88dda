"""The watch over a run: at the end of every stage it reads what the stage has left, writes alarms.jsonl, and tells.

All of it is computed from files of the run that are there by then, from rounds up to this one, so a stage that is done
again after a kill gives the same lines. Round 0, the base, is only what later rounds are compared with.
"""

from collections.abc import Callable, Sequence
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.evaluate.answers import Answered, read_evaluation
from selfsight.methods.alarms.questions import question_readings
from selfsight.methods.alarms.rounds import round_readings
from selfsight.methods.alarms.rules import Reading, Record, announcement, check, from_json, watched
from selfsight.methods.alarms.steps import step_readings
from selfsight.methods.visplay.records import QUESTIONS, VOTES, asked_from_rows
from selfsight.run import JsonlWriter, RunDirectory, read_jsonl
from selfsight.run.atomic import read_json
from selfsight.run.tables import read_table

LEARNING = ("questioner", "reasoner", "games")


class Watch:
    """Looks at a stage when it is done. `file` is the run's alarms.jsonl; `note` tells the person who waits."""

    def __init__(
        self, config: EvolveConfig, directory: RunDirectory, file: JsonlWriter, note: Callable[[str], None]
    ) -> None:
        self.config, self.directory, self.file, self.note = config, directory, file, note

    def look(self, stage: str, round: int, phase: str) -> list[Record]:
        """The alarms that go off at the end of a stage, told and, with those that do not, written down."""
        if round == 0:
            return []
        steps, readings = self._readings(stage, round, phase)
        fired = []
        for reading in readings:
            record = check(reading, self.config, stage=stage, round=round, phase=phase, steps=steps)
            if record is None:
                continue
            self.file.append(record.as_json())
            if record.state == "fired":
                fired.append(record)
                self.note(announcement(record))
        return fired

    def _readings(self, stage: str, round: int, phase: str) -> tuple[int | None, Sequence[Reading]]:
        if phase == "curation":
            return None, self._of_questions(round)
        if phase in LEARNING:
            run = [line for line in read_jsonl(self.directory.metrics_path) if _phase(line) == phase]
            lines = [line for line in run if line["stage"] == stage]
            return len(lines), step_readings(phase, lines, run, self.config)
        return None, self._of_round(round)

    def _of_questions(self, round: int) -> Sequence[Reading]:
        folder = self.directory.rounds / str(round)
        asked = asked_from_rows(
            read_table(folder / "questions.parquet", QUESTIONS), read_table(folder / "votes.parquet", VOTES)
        )
        tables = (self.directory.rounds / str(earlier) / "questions.parquet" for earlier in range(1, round))
        earlier = [
            [str(row["question"]) for row in read_table(path, QUESTIONS) if row["valid"]]
            for path in tables
            if path.exists()  # in a mixed run, not every round asks
        ]
        return question_readings(asked, earlier, blind_gate=self.config.visplay.gates.blind)

    def _of_round(self, round: int) -> Sequence[Reading]:
        entries: list[Any] = [
            read_json(self.directory.rounds / str(number) / "round.json") for number in range(round + 1)
        ]

        def answered(number: int) -> list[Answered]:
            return read_evaluation(self.directory.rounds / str(number))

        keys = [key or None for one in answered(round) for key in one.sampled_keys]
        return round_readings(entries, keys, answered, questions="kept" in entries[-1], games="games" in entries[-1])


def account(directory: RunDirectory, config: EvolveConfig) -> dict[str, object]:
    """For summary.json: what went off, what was never measured and why, and what was switched off.

    No stage is watched in a run of an earlier version, and its silence means nothing.
    """
    records = [from_json(line) for line in read_jsonl(directory.alarms_path)]
    measured = {record.alarm for record in records if record.state != "not measured"}
    keys = ("stage", "round", "phase", "steps", "alarm", "who", "value", "limit", "says", "suggestion")
    return {
        "policy": config.alarms.policy,
        "stages_watched": len({record.stage for record in records}),
        "fired": [{key: getattr(record, key) for key in keys} for record in records if record.state == "fired"],
        "not_measured": {record.alarm: record.why for record in records if record.alarm not in measured},
        "off": [rule.name for rule in watched(config) if rule.limit(config.alarms) is None],
    }


def _phase(line: dict[str, object]) -> str:
    return str(line["stage"]).rpartition("/")[2]
