"""What a person sees of a run, of an arena, and of a game while it is played.

`selfsight.report.page` and `selfsight.report.explain` (pyarrow) are imported by name, so that this door stays quick.
"""

from selfsight.report.playing import TerminalTable
from selfsight.report.terminal import render_arena, render_evaluation, render_summary, verdict

__all__ = ["TerminalTable", "render_arena", "render_evaluation", "render_summary", "verdict"]
