"""Trackers: TensorBoard, Weights & Biases and trackio, which get what a run writes into its own files anyway.

metrics.jsonl stays the source of truth. A tracker is a process of its own beside the run, which reads the run's files
and sends their figures on (`sender`); the run only starts it, hears what it has to say, and ends it (`Trackers`). So
neither an exception nor a network that hangs can stop a run or hold up a step.

Left out: images, questions and answers (nothing is uploaded but figures and settings), the machine's own load, names of
folders, and figures whose names a model wrote.
"""

from selfsight.trackers.beside import Trackers
from selfsight.trackers.known import TRACKERS, missing_trackers, require_trackers, tracker_names

__all__ = ["TRACKERS", "Trackers", "missing_trackers", "require_trackers", "tracker_names"]
