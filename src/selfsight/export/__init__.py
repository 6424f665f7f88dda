"""What a run leaves to others: its self-made questions as a data set, its model as a model folder, each with a card.

Nothing is uploaded. Every figure in a card is one of the run's own files, and every text of a model or a stranger is
inert in it.

Left out: games as a data set (no trainer reads one), and the questioner's weights (they lie in the run's rounds).
"""

from selfsight.export.command import export_run, render_exported

__all__ = ["export_run", "render_exported"]
