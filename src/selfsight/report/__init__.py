"""What a person reads of a run when it has ended."""

from selfsight.report.terminal import render_evaluation, render_summary, verdict

__all__ = ["render_evaluation", "render_summary", "verdict"]
