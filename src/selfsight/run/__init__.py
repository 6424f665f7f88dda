"""A run on disk: its folder, journal, metrics, lock, seeds, and how it is stopped and watched.

`selfsight.run.tables` (pyarrow) and `selfsight.run.checkpoint` (torch, when it is used) are imported by
name, so that this door stays quick.
"""

from selfsight.run.atomic import (
    DiskError,
    JsonlWriter,
    canonical_json,
    pretty_json,
    read_json,
    read_jsonl,
    write_atomic,
)
from selfsight.run.directory import RunDirectory, check_free
from selfsight.run.hashing import hash_bytes, hash_path
from selfsight.run.journal import Damage, Journal, read_journal
from selfsight.run.lock import RunLock, being_written
from selfsight.run.progress import Progress, plain_text, progress_on
from selfsight.run.seeds import derive
from selfsight.run.signals import StopRequested

__all__ = [
    "Damage",
    "DiskError",
    "Journal",
    "JsonlWriter",
    "Progress",
    "RunDirectory",
    "RunLock",
    "StopRequested",
    "being_written",
    "canonical_json",
    "check_free",
    "derive",
    "hash_bytes",
    "hash_path",
    "plain_text",
    "pretty_json",
    "progress_on",
    "read_journal",
    "read_json",
    "read_jsonl",
    "write_atomic",
]
