"""`rnndrop doctor`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rnndrop.config.compose import compose


def doctor(arguments: Sequence[str], as_json: bool) -> int:
    """Check the machine with these settings, or the runs in a folder; return 1 if something was found wrong."""
    if len(arguments) == 1 and ("=" not in arguments[0] or Path(arguments[0]).is_dir()):
        return _runs(arguments[0], as_json)
    return _machine(arguments, as_json)


def _runs(folder: str, as_json: bool) -> int:
    """Print what is wrong with the runs, the decisions and the searches in a folder, and how many are sound."""
    from rnndrop.decisions.audit import audit_decisions
    from rnndrop.store.audit import PRUNED, WITHOUT_WEIGHTS, audit
    from rnndrop.sweeps.search_audit import audit_searches

    verdicts = [*audit(folder), *audit_decisions(folder), *audit_searches(folder)]
    if as_json:
        print(json.dumps([asdict(each) for each in verdicts], indent=1))
    else:
        for each in verdicts:
            if each.state != "sound":
                print(f"{each.state}: {each.folder}: {each.reason}")
        counts = [f"{count} {state}" for state, count in Counter(each.state for each in verdicts).items()]
        for reason, words in ((WITHOUT_WEIGHTS, "without weights"), (PRUNED, PRUNED)):
            if some := sum(each.reason == reason for each in verdicts):
                counts.append(f"{some} of the sound {words}")
        print(" · ".join(counts))
    return int(any(each.state in ("damaged", "unreadable") for each in verdicts))


def _machine(overrides: Sequence[str], as_json: bool) -> int:
    """Print what each check found."""
    config = compose(overrides)
    from rnndrop.runs.doctor import examine

    findings = []
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            print(f"{'✓' if finding.sound else '✗'} {finding.name:<9} {finding.detail}", flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    return 0 if all(finding.sound for finding in findings) else 1
