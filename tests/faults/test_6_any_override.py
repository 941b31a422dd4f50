"""Overrides put together at random, of real keys, odd values and pieces of grammar: they work or are refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnndrop.config.compose import GROUPS, choices, compose, expand, sweeps
from rnndrop.errors import RequestError
from rnndrop.sweeps.scheduler import plan_jobs
from scripts.command_lines import KEYS, NO_KEYS, ODD
from tests.conftest import Command

OPTIONS = [f"{group}={name}" for group in GROUPS for name in choices(group)]

_values = st.one_of(
    st.sampled_from(ODD),
    st.lists(st.sampled_from(ODD), min_size=2, max_size=3).map("".join),
    st.lists(st.sampled_from(ODD), min_size=2, max_size=3).map(",".join),
    st.tuples(st.sampled_from(["[", "{a:", "range(", "choice(", "str(", "'"]), st.sampled_from(ODD)).map("".join),
    st.text(max_size=6),
)
_keys = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(NO_KEYS),
)
_overrides = st.one_of(
    st.tuples(st.sampled_from(["", "", "", "", "+", "++", "~"]), _keys, st.just("="), _values).map("".join),
    st.sampled_from(OPTIONS),
    _keys,
    st.sampled_from(ODD),
)


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_overrides, min_size=1, max_size=4))
def test_6_whatever_is_typed_works_or_is_refused(overrides: list[str]) -> None:
    for ask in (compose, expand, sweeps):
        try:
            ask(overrides)
        except RequestError as refused:
            assert str(refused).strip()
    try:
        few = expand(overrides)[:4]
    except RequestError:
        return
    for job in few:
        try:
            config = compose(job)
        except RequestError as refused:
            assert str(refused).strip()
        else:
            config.model_dump_json()
            plan_jobs(job)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--cfg", "label=${oc.env:RNNDROP_NO_SUCH_VARIABLE}"],
        ["run", "--cfg", "data=text", "data.file=jörg (1).txt", "label=1e3"],
        ["run", "--cfg", "model={hidden:3}", "seed=range(3)"],
        ["run", "--cfg", "dropout.recurrent={kind: locked, p: .2}", "model.hidden=9999999999999999999999"],
        ["sweep", "--dry-run", "dropout=glob(*)", "label=\udcff"],
        ["sweep", "--dry-run", "dropout.recurrent.kind=locked", "dropout.recurrent.p=range(0.1,0.5,0.1)"],
        ["sweep", "--dry-run", "seed=1,2", "hydra/launcher=submitit_local", "hydra.launcher.lost_after_s=abc"],
        ["sweep", "--dry-run", "data=text", "data.file=[a.txt", "seed=10,range(3)"],
    ],
    ids=" ".join,
)
def test_6_the_command_has_no_traceback(rnndrop: Command, arguments: list[str]) -> None:
    done = rnndrop(*arguments)
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr
    assert done.stdout if done.returncode == 0 else done.stderr.strip() and not done.stdout
