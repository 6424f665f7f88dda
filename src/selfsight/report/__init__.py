"""What a person sees of a run, of an arena, of a comparison, and of a game while it is played.

`selfsight.report.page` and `selfsight.report.explain` (pyarrow) are imported by name, so that this door stays quick.
"""

from selfsight.report.comparison import render_comparison, with_verdict
from selfsight.report.playing import TerminalTable
from selfsight.report.terminal import render_arena, render_evaluation, render_summary, verdict

__all__ = [
    "TerminalTable",
    "render_arena",
    "render_comparison",
    "render_evaluation",
    "render_summary",
    "verdict",
    "with_verdict",
]
