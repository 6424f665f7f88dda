"""What cards say of a run's alarms for collapse, and of a run that they ended.

An export passes on what a run made to people who have not seen the run. That it collapsed, or was rolled back, is the
first thing they need to know and the easiest to lose.
"""

from selfsight.export.inert import code
from selfsight.report.alarms import alarm_board
from selfsight.report.reading import RunReading, Trouble, number


def of_alarms(run: RunReading) -> list[str]:
    """A line for each alarm that went off, its latest words; or one that none did, or that nobody watched."""
    troubles: list[Trouble] = []
    board = alarm_board(run, troubles)
    if board is None or not board["watched"]:
        return ["The run was not watched for collapse."]
    latest: dict[str, tuple[int, str, str]] = {}
    for place, name, says, _, _ in board["fired"]:
        times = latest[name][0] + 1 if name in latest else 1
        latest[name] = (times, place, says)
    lines = [
        f"Alarm {code(name)} went off {times} time{'s' if times > 1 else ''}, the latest in {code(place)}: {code(says)}"
        for name, (times, place, says) in sorted(latest.items())
    ]
    if not lines:
        lines.append(f"None of the {len(board['quiet'])} alarms for collapse that could be measured went off.")
    if troubles:
        lines.append(f"{len(troubles)} lines of the run's alarms could not be read.")
    return lines


def rolled_back_to(run: RunReading) -> int | None:
    """The round that is the result of a run that alarms rolled back, 0 for the base; None if they did not."""
    summary = run.summary or {}
    final = number(summary.get("final_round"))
    return None if summary.get("rollback") is None or final is None else int(final)


def of_rollback(run: RunReading) -> str:
    """A sentence about a rollback, or nothing."""
    to = rolled_back_to(run)
    if to is None:
        return ""
    result = "the base model" if to == 0 else f"round {to}"
    return f" Alarms for collapse ended the run and rolled it back: its result is {result}."
