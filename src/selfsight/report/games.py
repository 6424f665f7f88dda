"""The games of a Vision-Zero run as text for a person, and what they do not show.

In its own games a model plays against itself. A higher share of votes for the spy may be better voters or a worse spy,
so no verdict is drawn from it here. One is drawn from held-out games whose clues are the starting model's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from selfsight.report.alarms import result_entry
from selfsight.report.figures import change, share, table
from selfsight.settings.vision_zero import VisionZeroSettings

Summary = Mapping[str, Any]


def ablations(summary: Summary) -> list[str]:
    """In which of its two inventions a run was not the method."""
    normal = VisionZeroSettings()
    found = []
    if summary["mode"] != normal.switching.mode:
        found.append(f"mode={summary['mode']}")
    if summary["baseline"] == "off":
        found.append("baseline=off")
    return found


def game_rounds(rounds: Sequence[Summary]) -> Table:
    """A row per round: the spy found in held-out games, held-out answers, and its own games."""
    headers = ("round", "spy, held-out", "answers", "unreadable", "games", "spy", "n/a", "invalid", "refused clues")
    rows = table(*headers, "clue : decision")
    for entry in rounds:
        heldout, games = entry["heldout"], entry["games"]
        phases = games["phases"]
        both = phases.get("both", 0)
        rows.add_row(
            str(entry["round"]),
            share((entry["decisions"] or {}).get("accuracy")),
            share(heldout["accuracy"]),
            share(heldout["format_failures"]),
            str(games["n"]),
            share(games["accuracy"]),
            share(games["abstention"]),
            share(games["invalid_votes"]),
            share(games["invalid_clues"]),
            f"{phases.get('clue', 0) + both} : {phases.get('decision', 0) + both}",
        )
    return rows


def skill(summary: Summary) -> str | None:
    """Did its votes get better? On the same clues, those of the starting model; None if that was not measured."""
    before, result = summary["base_decisions"], result_entry(summary)
    after = None if result is None else result["decisions"]
    if before is None or after is None:
        return None
    moved = after["change"]
    difference, (low, high) = moved["accuracy"], moved["ci95"]
    found = f"{share(after['accuracy'])} of {after['n']} held-out votes on the starting model's clues name the spy"
    was = f"{share(before['accuracy'])} before, {share(after['chance'])} by a guess"
    changed = f"{change(difference, (low, high))} points"
    if low > 0:
        return f"It finds the spy more often: {found} ({was}; {changed})."
    if high < 0:
        return f"It finds the spy less often: {found} ({was}; {changed})."
    return f"It cannot be said to find the spy more often: {found} ({was}; {changed})."


def about_games(summary: Summary) -> str:
    """What the games say, and what they cannot."""
    played = [entry["games"] for entry in summary["rounds"] if "games" in entry]
    if not played:
        return "The run ended before a round of games was measured."
    games = played[-1]
    sentences = [
        f"In the last round's games voters found the spy in {share(games['accuracy'])} of the ballots; a guess finds "
        f"it in {share(summary['chance'])}. The model plays against itself, so this alone is no gain in skill."
    ]
    if games["invalid_clues"] is not None and games["invalid_clues"] > 0.2:
        sentences.append(f"{share(games['invalid_clues'])} of the clues were refused.")
    if games["invalid_votes"] is not None and games["invalid_votes"] > 0.2:
        sentences.append(f"{share(games['invalid_votes'])} of the votes could not be read.")
    trained = {phase for games in played for phase in games["phases"]}
    if len(trained) == 1 and summary["mode"] not in ("clue_only", "decision_only", "both"):
        sentences.append(f"The schedule never switched: only the {trained.pop()} stage was trained.")
    return " ".join(sentences)
