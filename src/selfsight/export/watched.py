"""What cards say of a run's alarms for collapse, and of a run that they ended.

An export passes on what a run made to people who have not seen the run. That it collapsed, or was rolled back, is the
first thing they need to know and the easiest to lose.
"""

from collections import Counter

from selfsight.export.inert import code
from selfsight.report.alarms import alarm_board
from selfsight.report.reading import RunReading, Trouble, number


def of_alarms(run: RunReading) -> list[str]:
    """A line for each alarm that went off, with its latest words; or one that none did, or that nobody watched. Beside
    it, what of the record could not be read: an alarm may have stood there.
    """
    troubles: list[Trouble] = []
    board = alarm_board(run, troubles)
    lost = (
        [f"Of the run's record of alarms {len(troubles)} could not be read: {code(troubles[0].what)}"]
        if troubles
        else []
    )
    if board is None or not (board["watched"] or troubles):
        return ["The run was not watched for collapse."]
    times: Counter[str] = Counter(name for _, name, *_ in board["fired"])
    latest = {name: (place, says) for place, name, says, *_ in board["fired"]}
    lines = [
        f"Alarm {code(name)} went off {count} time{'s' if count > 1 else ''}, the latest in {code(latest[name][0])}: "
        f"{code(latest[name][1])}"
        for name, count in sorted(times.items())
    ]
    if not lines and board["quiet"]:
        lines.append(f"None of the {len(board['quiet'])} alarms for collapse that could be measured went off.")
    elif not lines and not lost:
        lines.append("The run was watched for collapse, but no alarm could be measured.")
    return lines + lost


def rolled_back_to(run: RunReading) -> int | None:
    """The round that is the result of a run that alarms rolled back, 0 for the base; None if they did not."""
    summary = run.summary or {}
    back = summary.get("rollback")
    if back is None:
        return None
    for found in (summary.get("final_round"), back.get("to") if isinstance(back, dict) else None):
        to = number(found)
        if to is not None:
            return int(to)
    return None


def of_rollback(run: RunReading) -> str:
    """A sentence about a rollback, or nothing."""
    to = rolled_back_to(run)
    if to is None:
        return ""
    result = "the base model" if to == 0 else f"round {to}"
    return f" Alarms for collapse ended the run and rolled it back: its result is {result}."
