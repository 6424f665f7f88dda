"""The games of a Vision-Zero run as text for a person, and what they do not show.

In its own games a model plays against itself. A higher share of votes for the spy may be better voters or a worse spy,
so no verdict is drawn from it here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from selfsight.report.figures import share, table
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
    """A row per round: held-out accuracy, and its games."""
    headers = ("round", "greedy", "unreadable", "games", "spy found", "n/a", "invalid votes", "refused clues")
    rows = table(*headers, "clue : decision")
    for entry in rounds:
        heldout, games = entry["heldout"], entry["games"]
        phases = games["phases"]
        both = phases.get("both", 0)
        rows.add_row(
            str(entry["round"]),
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


def about_games(summary: Summary) -> str:
    """What the games say, and what they cannot."""
    games = summary["rounds"][-1]["games"]
    sentences = [
        f"In the last round's games voters found the spy in {share(games['accuracy'])} of the ballots; a guess finds "
        f"it in {share(summary['chance'])}. The model plays against itself, so this alone is no gain in skill."
    ]
    if games["invalid_clues"] is not None and games["invalid_clues"] > 0.2:
        sentences.append(f"{share(games['invalid_clues'])} of the clues were refused.")
    if games["invalid_votes"] is not None and games["invalid_votes"] > 0.2:
        sentences.append(f"{share(games['invalid_votes'])} of the votes could not be read.")
    trained = {phase for entry in summary["rounds"] for phase in entry["games"]["phases"]}
    if len(trained) == 1 and summary["mode"] not in ("clue_only", "decision_only", "both"):
        sentences.append(f"The schedule never switched: only the {trained.pop()} stage was trained.")
    return " ".join(sentences)
