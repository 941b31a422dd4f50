"""`rnndrop run debug=…`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rnndrop.config.compose import compose
from rnndrop.config.schema import Config
from rnndrop.display.digits import finite, number
from rnndrop.errors import unknown

from .progress import console


def split_debug(overrides: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `debug=NAME` out of the overrides: the name, the rest. Raises RequestError for one that there is not."""
    names = [each.partition("=")[2] for each in overrides if each.partition("=")[0] == "debug"]
    if names and names[-1] not in PRESETS:
        raise unknown("debug", names[-1], PRESETS)
    return names[-1] if names else None, [each for each in overrides if each.partition("=")[0] != "debug"]


def debug(name: str, overrides: Sequence[str], as_json: bool) -> int:
    """Look at the training of these settings; nothing is recorded. Return the exit code."""
    config = compose(overrides)
    with console.status(f"debug={name}"):
        return PRESETS[name](config, as_json)


def _one_batch(config: Config, as_json: bool) -> int:
    from rnndrop.runs.debug import LEARNED, one_batch

    found = one_batch(config)
    if as_json:
        print(json.dumps({**finite(asdict(found)), "learned": found.learned}))
    else:
        loss = f"loss {number(found.first)} → {number(found.last)} {found.unit} in {found.steps} steps"
        dropout = "without dropout" if config.model.module is None else "with its own dropout"
        print(f"{'✓' if found.learned else '✗'} one batch of {found.targets} targets, {dropout}: {loss}")
        if not found.learned:
            print(
                f"It was not learned by heart, to {LEARNED:.0%} of the first loss. Try another trainer.learning_rate,"
                " trainer.clip or trainer.init, or a larger model."
            )
    return 0 if found.learned else 1


def _profile(config: Config, as_json: bool) -> int:
    from rnndrop.runs.debug import profiled

    found = profiled(config)
    if as_json:
        print(json.dumps(asdict(found)))
        return 0
    from tabulate import tabulate

    total = sum(found.phases.values())
    rows = [(name, f"{ms:.2f}", f"{ms / total:.0%}") for name, ms in found.phases.items()]
    print(f"a step of {found.tokens:.0f} tokens: {total:.1f} ms, {1000 * found.tokens / total:,.0f} tokens/s\n")
    align = ("left", "right", "right")
    print(tabulate(rows, ("phase", "ms", "share"), colalign=align, disable_numparse=True))
    print("\nThe operators that take most, by the time that is their own (torch.profiler, which slows a step down):\n")
    rows = [(name[:60], f"{calls:g}", f"{ms:.2f}") for name, calls, ms in found.operators]
    print(tabulate(rows, ("operator", "calls", "ms"), colalign=align, disable_numparse=True))
    return 0


PRESETS: dict[str, Callable[[Config, bool], int]] = {"one_batch": _one_batch, "profile": _profile}
