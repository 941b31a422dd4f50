"""`rnndrop doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rnndrop.compose import compose


def doctor(overrides: Sequence[str], as_json: bool) -> int:
    """Print what each check found; return 1 if one of them found something wrong."""
    config = compose(overrides)
    from rnndrop.checkup import examine

    findings = []
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            print(f"{'✓' if finding.sound else '✗'} {finding.name:<9} {finding.detail}", flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    return 0 if all(finding.sound for finding in findings) else 1
