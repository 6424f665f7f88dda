"""Collapse alarms: what a run has measured, held against thresholds, and what follows."""
