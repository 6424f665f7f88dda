"""One question of a VisPlay run in the terminal: its votes, the arithmetic of its reward, and every gate's verdict.

The lines are those of the page (`arithmetic`). Model text is made one harmless line before it is shown.
"""

from pathlib import Path
from typing import TextIO

from rich.text import Text

from selfsight.config import VisplaySettings
from selfsight.errors import SelfsightError
from selfsight.report.arithmetic import answer_text, gate_steps, lesson, reward_lines
from selfsight.report.figures import console, share
from selfsight.report.questions import QuestionRecord, TruthOf, find_question
from selfsight.report.reading import read_run
from selfsight.run.progress import plain_text

_MARKS = {"passed": "\N{CHECK MARK}", "rejected": "\N{BALLOT X}", "not reached": "\N{MIDDLE DOT}"}


def explain(run_path: Path, question_id: str, stream: TextIO, *, truth: TruthOf | None = None) -> None:
    """Prints why a question earned what it earned, and what became of it."""
    lines = explained(run_path, question_id, truth=truth)
    out = console(stream)
    for line in lines:
        out.print(Text(line), soft_wrap=True)


def explained(run_path: Path, question_id: str, *, truth: TruthOf | None = None) -> list[str]:
    """The lines that `explain` prints."""
    run = read_run(run_path)
    if not run.asks:
        raise SelfsightError(
            f"{run.path}: is a run of {run.config.method}, which asks no questions",
            hint=f"`selfsight report {run_path}` replays its games, with every reward",
        )
    return explanation(find_question(run.path, question_id, truth), run.config.visplay)


def explanation(question: QuestionRecord, settings: VisplaySettings) -> list[str]:
    """Everything a run knows of a question, as lines that are safe to print."""
    read = question.asked.question
    lines = [
        plain_text(read.text if read.valid else read.completion),
        f"  round {question.round}, {question.phase}, image {plain_text(read.image.id)}",
        f"  {plain_text(question.id)}",
    ]
    if not read.valid:
        lines.append(f"  not read as a question: {plain_text(read.reason)}")
    lines += ["", *_votes(question)]
    if rewards := reward_lines(question, settings):
        lines += ["", "Reward", *(f"  {plain_text(line)}" for line in rewards)]
    if steps := gate_steps(question, settings):
        lines += ["", "Gates"]
        for step in steps:
            named = f"{plain_text(step.gate):<13}{step.outcome:<12}"
            lines.append(f"  {_MARKS[step.outcome]} {named}{plain_text(step.detail)}".rstrip())
    if learned := lesson(question, settings):
        lines += ["", plain_text(learned)]
    return lines


def _votes(question: QuestionRecord) -> list[str]:
    lines = []
    votes = question.votes
    if votes is not None:
        lines.append(f"Votes: {votes.winner_count} of {votes.m} agree ({share(votes.confidence)})")
        for key, count in votes.counts.items():
            lines.append(f"  {count} {'#' * count:<{votes.m}}  {plain_text(answer_text(key))}")
        if votes.abstentions:
            lines.append(f"  {votes.abstentions} {'-' * votes.abstentions:<{votes.m}}  unreadable")
    elif question.confidence is not None:
        lines.append(f"Votes: {share(question.confidence)} agree; this run did not keep the answers")
    else:
        lines.append("Votes: nobody was asked")
    lines.append(f"Label: {'none' if question.label is None else plain_text(answer_text(question.label))}")
    if question.truth is not None:
        found = question.truth
        lines.append(f"Truth: {plain_text(found.reason if found.key is None else answer_text(found.key))}")
    return lines
