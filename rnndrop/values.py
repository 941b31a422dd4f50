"""What takes one of a few values, as types: one home for the command line and the library. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Group = Literal["task", "data", "model", "dropout", "trainer", "twin", "evaluation", "experiment"]
"""Of configuration: `rnndrop run GROUP=NAME`."""

Listed = Literal[Group, "reproduce"]
"""What `rnndrop ls` lists."""

Mode = Literal["drop", "add"]
"""Of an ablation: a plan without one of its locations, or no dropout but at one of them."""

Scale = Literal["full", "small"]
"""Of a reproduction: as published, or a stated reduction."""

Masks = Literal["pass", "window"]
"""What Monte-Carlo evaluation draws masks for."""

Style = Literal["rich", "md", "latex", "html", "csv", "json"]
"""Of a report."""

Interval = Literal["seeds", "text", "both"]
"""What a difference is uncertain by: the seeds, the text that is tested on, or both."""

Drawing = Literal["curves", "forest", "rates", "heatmap", "calibration", "decisions", "variance", "trials"]
"""What `rnndrop plot` draws."""
