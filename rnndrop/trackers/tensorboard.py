"""TensorBoard: event files in the run's folder. Written without torch, which takes seconds to import."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rnndrop.extras import need
from rnndrop.store.records import TENSORBOARD
from rnndrop.trackers.base import TrackedRun

_ASKED = ("tensorboard", "tracker=tensorboard")
_events: Any = need("tensorboard.compat.proto.event_pb2", *_ASKED)
_summaries: Any = need("tensorboard.compat.proto.summary_pb2", *_ASKED)
_tensors: Any = need("tensorboard.compat.proto.tensor_pb2", *_ASKED)
_writers: Any = need("tensorboard.summary.writer.event_file_writer", *_ASKED)


class TensorBoard:
    """Writes below the run's folder, in the place of what is there: a run that goes on tells it again.

    A second file beside it would be shown too: TensorBoard leaves out only earlier points of the tags that come again.
    """

    def __init__(self, run: TrackedRun) -> None:
        folder = Path(run.folder) / TENSORBOARD
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink(missing_ok=True)
        self.writer = _writers.EventFileWriter(str(folder))
        self.last = 0
        for name, content in {"settings": run.settings, "tags": run.tags}.items():
            self._write(0, summary=_text(name, content))
        self.writer.flush()

    def epochs(self, rows: list[dict[str, float]]) -> None:
        """Write them."""
        for row in rows:
            self.last = int(row["epoch"])
            self._numbers(row)
        self.writer.flush()

    def ended(self, status: str, metrics: dict[str, float]) -> None:
        """Write the metrics beside the last epoch, and close."""
        self._numbers({f"final/{name}": value for name, value in metrics.items()})
        self._write(self.last, summary=_text("status", {"status": status}))
        self.writer.close()

    def _numbers(self, numbers: dict[str, float]) -> None:
        values = [_summaries.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(self.last, summary=_summaries.Summary(value=values))

    def _write(self, step: int, **content: Any) -> None:
        self.writer.add_event(_events.Event(step=step, wall_time=time.time(), **content))


def _text(name: str, content: dict[str, Any]) -> Any:
    """A table in Markdown, for the plugin that shows texts."""
    rows = [f"| {key} | {value if isinstance(value, str) else json.dumps(value)} |" for key, value in content.items()]
    text = "\n".join(["| | |", "|---|---|", *rows])
    tensor = _tensors.TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    plugin = _summaries.SummaryMetadata.PluginData(plugin_name="text")
    value = _summaries.Summary.Value(
        tag=f"{name}/text_summary", metadata=_summaries.SummaryMetadata(plugin_data=plugin), tensor=tensor
    )
    return _summaries.Summary(value=[value])
