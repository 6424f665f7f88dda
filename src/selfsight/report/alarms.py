"""What was watched for collapse, as a person reads it: in the terminal from summary.json, on the page from
alarms.jsonl, which is there while a run goes on.

Everything in that file may be damaged, and some of it was written by a model (the example of a cluster, the most
frequent answer), which is why only figures and the package's own sentences are taken from it here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsight.report.reading import RunReading, Trouble, number, read_jsonl_lines

Summary = Mapping[str, Any]
Line = Mapping[str, Any]

_FILE = Path("alarms.jsonl")


def alarm_board(run: RunReading, troubles: list[Trouble]) -> dict[str, Any] | None:
    """The alarms of a run for its page: `fired` as rows, the names of the `quiet`, reasons of the `not_measured`, and
    what is `off`; None for a run that was not watched.
    """
    if not (run.path / _FILE).exists():
        return None
    found, damaged = read_jsonl_lines(run.path, _FILE)
    troubles += damaged
    lines = []
    for place, line in found:
        if all(isinstance(line.get(key), str) for key in ("stage", "alarm", "state", "says", "why")):
            lines.append(line)
        else:
            troubles.append(Trouble(f"{_FILE}, line {place}", "is no alarm"))
    measured = {line["alarm"] for line in lines if line["state"] != "not measured"}
    fired = [line for line in lines if line["state"] == "fired"]
    loud = {line["alarm"] for line in fired}
    return {
        "policy": run.config.alarms.policy,
        "fired": [[_place(line), line["alarm"], line["says"], _limit(line), _suggested(line)] for line in fired],
        "quiet": sorted(measured - loud),
        "not_measured": sorted({line["alarm"]: line["why"] for line in lines if line["alarm"] not in measured}.items()),
        "off": [name for name, value in run.config.alarms if value is None],
        "watched": bool(lines),
    }


def alarm_lines(summary: Summary) -> list[str]:
    """The end of a run in the terminal: which alarms went off (the latest of each), and what could not be measured."""
    alarms = summary.get("alarms")
    if alarms is None or not alarms["stages_watched"]:
        return []
    fired = alarms["fired"]
    latest = {(line["alarm"], line["who"]): line for line in fired}
    head = f"{len(fired)} alarms went off; the latest of each:" if len(fired) != 1 else "1 alarm went off:"
    lines = [head if fired else "No alarm went off."]
    lines += [
        f"  {line['alarm']}, {_place(line)}: {line['says']}. Worth trying: {line['suggestion']}"
        for line in latest.values()
    ]
    if alarms["not_measured"]:
        lines.append(f"Not measured in this run: {', '.join(alarms['not_measured'])}.")
    return lines


def rollback_sentence(summary: Summary) -> str | None:
    """That the result of a run is not its last round; None where it is."""
    back = summary.get("rollback")
    if back is None:
        return None
    result = "the base model" if back["to"] == 0 else f"round {back['to']}"
    head = f"Rolled back: alarms ended this run ({', '.join(back['alarms'])}), and its result is {result}"
    if not back["measured"]:
        return f"{head}, the only one that was measured."
    several = f"the best of {len(back['scores'])} measurements by {back['by']}"
    return f"{head}, {several}. The best of several flatters a little."


def result_entry(summary: Summary) -> Line | None:
    """The entry of the round that is the run's result; None when that is the base."""
    rounds: Sequence[Line] = summary["rounds"]
    final = summary.get("final_round", rounds[-1]["round"] if rounds else 0)
    return next((entry for entry in rounds if entry["round"] == final), None)


def _place(line: Line) -> str:
    """ "round-2/curation" in words."""
    return str(line["stage"]).replace("round-", "round ").replace("/", ", ").replace("evaluation", "measurement")


def _limit(line: Line) -> float | None:
    return number(line.get("limit"))


def _suggested(line: Line) -> str:
    suggestion = line.get("suggestion")
    return suggestion if isinstance(suggestion, str) else ""
