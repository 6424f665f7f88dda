"""What a person reads of a run when it has ended, of an arena, and of a game while it is played."""

from selfsight.report.playing import TerminalTable
from selfsight.report.terminal import render_arena, render_evaluation, render_summary, verdict

__all__ = ["TerminalTable", "render_arena", "render_evaluation", "render_summary", "verdict"]
