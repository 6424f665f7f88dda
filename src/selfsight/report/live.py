"""A run as data of a page that follows it: read when somebody asks, if files have changed, and seldom enough.

A run pays nothing for being looked at: no lock is taken, nothing is written, and what a run writes is appended or put
in place whole, so it can be read at any moment. What following it costs is bounded by construction: whatever took some
time of a processor is done again only after a multiple of that time, so that all of it together takes at most 1 % of
one processor: a tenth of that for asking the files for their times and sizes, three tenths for the first page, six for
the tables of questions and games, which grow. Nobody looking, nothing is read.

Pictures are drawn one at a time when a page shows them, and the last ones are kept.

Left out: reading only what was appended to a file. Most time goes into what is made of the lines and tables, not into
reading them, and the pace bounds all of it. A reader of a very large run sees its questions some minutes late instead.
"""

import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.report.gallery import Album
from selfsight.report.overview import overview
from selfsight.report.page import (
    MOST_GAMES,
    MOST_QUESTIONS,
    album_block,
    overview_block,
    picture_root,
    render,
    table_blocks,
)
from selfsight.report.pictures import Pictures
from selfsight.report.questions import TruthOf
from selfsight.report.reading import Trouble, read_run, round_numbers
from selfsight.run import RunDirectory, being_written

Status = Literal["running", "elsewhere", "finished", "stopped", "unreadable"]

_LOOK_SECONDS: Final = 1.0
_SHORTEST_REST: Final = 2.0
# Times what it took: the inverse of the share of one processor.
_LOOK_REST, _FIRST_REST, _TABLES_REST = 1 / 0.001, 1 / 0.003, 1 / 0.006
_TRIES: Final = 3
_PICTURES: Final = 512
_OWN: Final = "report.html"  # which says nothing about a run that its other files do not

Files = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Piece:
    """What a page asks for: bytes and their hash, which is also what they are called."""

    name: str
    body: bytes


@dataclass(frozen=True)
class Look:
    """The files of a run by name, inode, time and size, and when the last of them was written (seconds, epoch)."""

    first: Files
    tables: Files
    written: float


@dataclass
class _Reading:
    """A part of the data: the files that it was made of, and when it may be made again.

    `rest` is how long, in times of what making it took.
    """

    rest: float
    files: Files | None = None
    rests_until: float = float("-inf")

    def is_due(self, files: Files, now: float) -> bool:
        return files != self.files and now >= self.rests_until


class LiveRun:
    """The run at `path` for any number of pages at once; SelfsightError where there is none.

    `truth` is as for a report. `clock` gives seconds of the day, `cost` seconds of the processor.
    """

    def __init__(
        self,
        path: Path,
        *,
        truth: TruthOf | None = None,
        most_questions: int = MOST_QUESTIONS,
        most_games: int = MOST_GAMES,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.process_time,
    ) -> None:
        directory = RunDirectory.open(path)
        self.path = directory.path
        self._lock_path = directory.lock_path
        self._truth, self._most = truth, (most_questions, most_games)
        self._clock, self._cost = clock, cost
        self._reading, self._drawing = threading.Lock(), threading.Lock()
        self._first, self._tables = _Reading(_FIRST_REST), _Reading(_TABLES_REST)
        self._table_pieces: dict[str, Piece] = {}
        self._table_troubles: list[Trouble] = []
        self._names: dict[str, str] = {}  # of the blocks' contents, by the blocks' names
        self._pieces: dict[str, bytes] = {}
        self._refs: dict[str, ImageRef] = {}
        self._drawn: OrderedDict[str, bytes] = OrderedDict()
        self._read_first()  # whatever keeps a run from being read is said here
        self._look()
        headline = "This page follows a run; `selfsight report` writes one that needs neither a server nor scripts."
        title = f"{self.path.name}: {self._run.config.method}"
        self.page = _piece(render(title, self.path.name, headline, [], live=True))

    def state(self) -> Piece:
        """How the run is, when it wrote last, and which data there are (JSON). Reads the run anew where that is due.

        While one caller reads, the others get what was there before.
        """
        if self._reading.acquire(blocking=False):
            try:
                if self._clock() >= self._looks_again:
                    self._look()
            finally:
                self._reading.release()
        return self._state

    def block(self, name: str) -> bytes | None:
        """Data that the last state names."""
        return self._pieces.get(name)

    def picture(self, name: str) -> bytes | None:
        """A picture of the album as WebP; empty when it cannot be opened, None when the album has none of that name."""
        ref = self._refs.get(name)
        if ref is None:
            return None
        with self._drawing:
            if name not in self._drawn:
                found = self._images.make(ref)
                self._drawn[name] = b"" if found is None else found.data
                if len(self._drawn) > _PICTURES:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(name)
            return self._drawn[name]

    def _look(self) -> None:
        began = self._cost()
        found, held = look(self.path), being_written(self._lock_path)
        self._looks_again = self._clock() + max(_LOOK_SECONDS, _LOOK_REST * (self._cost() - began))
        self._state = self._stated(found, held, read=self._catch_up(found))

    def _catch_up(self, found: Look) -> bool:
        """Reads what is due; False when the run cannot be read any more, and what was read before stays."""
        changed = False
        try:
            for reading, files, read in (
                (self._first, found.first, self._read_first),
                (self._tables, found.tables, self._read_tables),
            ):
                if reading.is_due(files, self._clock()):
                    began = self._cost()
                    try:
                        read()
                    finally:  # what failed has cost something, too
                        rest = max(_SHORTEST_REST, reading.rest * (self._cost() - began))
                        reading.rests_until = self._clock() + rest
                    reading.files = files
                    changed = True
        except (SelfsightError, OSError):
            return False
        if changed:
            pieces = {"overview": self._first_piece, **self._table_pieces}
            self._pieces = {piece.name: piece.body for piece in pieces.values()}
            self._names = {name: piece.name for name, piece in pieces.items()}
        return True

    def _read_first(self) -> None:
        run = read_run(self.path)
        troubles = list(run.troubles)
        self._overview = overview(run, troubles)
        self._run, self._troubles = run, troubles
        self._show_first()

    def _show_first(self) -> None:
        troubles = [*self._troubles, *self._table_troubles]
        self._first_piece = _piece(overview_block(self._run, self._overview, troubles).json)

    def _read_tables(self) -> None:
        for _ in range(_TRIES):
            before = look(self.path).tables
            album, troubles = Album(), list[Trouble]()
            _, _, blocks = table_blocks(self._run, album, self._truth, troubles, *self._most)
            # Parts that became a table while they were read are no trouble: their rows are read from there.
            if not troubles or look(self.path).tables == before:
                break
        names = [_name(f"{ref.id}\n{ref.origin}".encode(errors="backslashreplace")) for ref in album.refs]
        with self._drawing:
            self._images = Pictures(self._run.config, picture_root(self._run), 0)
            self._refs = dict(zip(names, album.refs, strict=True))
        self._table_pieces = {block.name: _piece(block.json) for block in (*blocks, album_block(album, names))}
        if troubles != self._table_troubles:
            self._table_troubles = troubles
            self._show_first()

    def _stated(self, found: Look, held: bool | None, *, read: bool) -> Piece:
        whole = self._run.summary is not None and len(self._run.rounds) >= self._run.rounds_planned
        status: Status = (
            "unreadable" if not read
            else "running" if held
            else "finished" if whole
            else "elsewhere" if held is None
            else "stopped"
        )  # fmt: skip
        return _piece(json.dumps({"status": status, "written": round(found.written, 1), "blocks": self._names}))


def look(path: Path) -> Look:
    """The files of the run at `path` that a page is made of. What vanishes meanwhile is left out."""
    first = list(_files(path))
    tables = [file for file in first if file[0] in ("config.yaml", "summary.json")]
    for number in round_numbers(path):
        folder = path / "rounds" / str(number)
        for file in _files(folder):
            (first if file[0].endswith(".json") else tables).append(file)
        tables += _files(folder / "parts")
    newest = max((time for _, _, time, _ in (*first, *tables)), default=0)
    return Look(tuple(first), tuple(tables), newest / 1e9)


def newest_run(folder: Path) -> Path:
    """The run in `folder` that was written to last."""
    runs = [file.parent for file in folder.glob("*/config.yaml")]
    if not runs:
        raise SelfsightError(
            f"{folder}: holds no runs", hint="name one: selfsight serve RUN, the folder that `selfsight evolve` wrote"
        )
    return max(runs, key=lambda run: look(run).written)


def _files(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            with suppress(FileNotFoundError):
                if entry.is_file() and not entry.name.startswith(".") and entry.name != _OWN:
                    stat = entry.stat()
                    yield entry.name, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _piece(text: str) -> Piece:
    body = text.encode()
    return Piece(_name(body), body)


def _name(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()
