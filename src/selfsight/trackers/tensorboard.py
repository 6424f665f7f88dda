"""TensorBoard: an event file in the run's folder, for `tensorboard --logdir runs`.

Written with TensorBoard's own writer, without torch. Steps that a resumed run makes anew are taken back by a session
that starts at the first of them, as TensorBoard means it. Its scalars are float32.
"""

import time
from collections.abc import Mapping
from typing import Final

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from selfsight.recipes import dump_yaml
from selfsight.trackers.protocol import TrackedRun

TAKES_BACK: Final = True
FOLDER: Final = "tensorboard"


class TensorBoard:
    """An event file of its own for every time that a run is started or resumed."""

    def __init__(self, run: TrackedRun, first: int) -> None:
        folder = run.folder / FOLDER
        self.where = f"tensorboard --logdir {folder}"
        self._writer = EventFileWriter(str(folder))
        self._add(first, session_log=SessionLog(status=SessionLog.START))
        if first == 0:
            self._add(0, summary=Summary(value=[_text("settings", dump_yaml(dict(run.settings)))]))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars by name."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add(step, summary=Summary(value=values))

    def summarise(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars, too: TensorBoard has no other place for them."""
        self.log(step, figures)

    def flush(self) -> None:
        """Onto the disk."""
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, step: int, **what: object) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, **what))


def open_tracker(run: TrackedRun, first: int) -> TensorBoard:
    """Opens a new event file in the run's folder."""
    return TensorBoard(run, first)


def _text(tag: str, text: str) -> Summary.Value:
    """A text for TensorBoard's text page, as a block of code: it reads Markdown."""
    block = "\n".join(f"    {line}" for line in text.splitlines())
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    tensor = TensorProto(dtype=DT_STRING, string_val=[block.encode()], tensor_shape=TensorShapeProto())
    return Summary.Value(tag=f"{tag}/text_summary", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)
