"""Both methods in turn on one model."""
