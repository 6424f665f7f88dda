"""Which image files a run draws from and which it has left out, on its disk, so that it agrees with itself later.

    images.parquet     the files of the run in the order of its stream, written once
    quarantine.jsonl   the files that it has left out, and why: a line each, on the disk before anything is computed
                       without the file

A place in the stream belongs to one file. So a resumed run takes the list from here and not from the folder, in which
files may have come and gone; a file that went is one more bad file. What is in quarantine stays there for the rest
of the run, so that a step that is done again does without the very images it did without before. Whoever has mended
files deletes quarantine.jsonl: then every file that is still to come is looked at anew.

Worlds have no files and leave neither.
"""

from collections.abc import Callable

import pyarrow as pa

from selfsight.images import BadImage, ImageSource
from selfsight.images.views import files_behind
from selfsight.run import JsonlWriter, RunDirectory
from selfsight.run.atomic import Written, canonical_json, read_jsonl, write_atomic
from selfsight.run.closing import Closing
from selfsight.run.hashing import hash_path
from selfsight.run.tables import read_table, write_table

IMAGES = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("id", pa.string())])


class Quarantine(Closing):
    """The quarantine of a run over its directory. Files found bad from now on are written down and told to `note`."""

    def __init__(self, directory: RunDirectory, source: ImageSource, note: Callable[[str], None]) -> None:
        self.path = directory.quarantine_path
        self._note = note
        self._writer: JsonlWriter | None = None
        files = files_behind(source)
        if files is None:
            return
        listing = directory.path / "images.parquet"
        begun, recorded = listing.exists(), None
        if begun:
            if self.path.exists():
                recorded = [BadImage(str(line["path"]), str(line["reason"])) for line in read_jsonl(self.path)]
            rows = read_table(listing, IMAGES)
            files.go_on([(str(row["name"]), None if row["id"] is None else str(row["id"])) for row in rows], recorded)
        if recorded is None:
            write_atomic(self.path, b"".join(canonical_json(_line(bad)) + b"\n" for bad in files.quarantined))
        if not begun:  # after the quarantine: a list without one would mean that the user has deleted it
            write_table(listing, [{"name": name, "id": id} for name, id in files.listing()], IMAGES)
        self._writer = JsonlWriter(self.path)
        files.on_bad = self._found
        for line in files.passed_over.notes():
            note(f"images {line}")
        bad = files.quarantined
        if bad:
            more = f"; and {len(bad) - 3} more, see {self.path.name}" if len(bad) > 3 else ""
            note(f"images left out: {len(bad)} ({'; '.join(image.reason for image in bad[:3])}{more})")

    def written(self) -> Written | None:
        """Lines and fingerprint of quarantine.jsonl, for a run on files."""
        return None if self._writer is None else self._writer.written()

    def inputs(self) -> dict[str, str]:
        """What the journal keeps of it: the hash of quarantine.jsonl, for a run on files."""
        return {} if self._writer is None else {"quarantine": hash_path(self.path)}

    def _found(self, bad: BadImage) -> None:
        if self._writer is not None:
            self._writer.append(_line(bad))
        self._note(f"image left out: {bad.reason}")

    def close(self) -> None:
        """Closes quarantine.jsonl."""
        if self._writer is not None:
            self._writer.close()


def _line(bad: BadImage) -> dict[str, object]:
    return {"path": bad.path, "reason": bad.reason}
