"""Worlds: procedural pictures with exact truth. Truth and grammar are imported from their own modules, by
evaluation and by the starter's builder only."""

from selfsight.images.worlds.source import WorldSource

__all__ = ["WorldSource"]
