"""`rnndrop report`."""

from __future__ import annotations

import sys
import warnings

from rnndrop.report.frames import compare, load_runs
from rnndrop.report.tables import render


def report(path: str, style: str) -> None:
    """Print the comparison of the runs in `path`; damaged records and unfinished runs are named on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = load_runs(path)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    for _, run in runs[runs["status"] != "finished"].iterrows():
        print(f"{run['status']}: {run['dropout']} seed {run['seed']}   {run['folder']}", file=sys.stderr)
    print(render(compare(runs), style))
