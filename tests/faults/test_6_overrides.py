"""Overrides: whatever is typed after `rnndrop run` and `sweep` works, or is one readable message and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnndrop.config.compose import LIMIT, MOST_THREADS, choices, compose, expand, sweeps
from rnndrop.config.schema import Config
from rnndrop.errors import RequestError
from rnndrop.sweeps.cluster import Cluster
from rnndrop.sweeps.launchers import executor, split_launcher
from rnndrop.sweeps.scheduler import plan_jobs

WRONG = [
    ("label=${nope}", "label", "nope"),
    ("label=${oc.env:RNNDROP_NO_SUCH_VARIABLE}", "label", "RNNDROP_NO_SUCH_VARIABLE"),
    ("label=${label}", "label", "Recursive"),
    ("label='${a'", "label", "cannot resolve"),
    ("label=${", "label=${", "quote"),
    ("model={hidden:3}", "model={hidden:3}", "gru"),
    ("+dropout={1:2}", "dropout", "variational"),
    ("+task=false", "False", "sentiment"),
    ("dropout=[none,awd]", "dropout=[none,awd]", "dropout=a,b"),
    ("dropout@model=none", "@model", "out"),
    ("~seed", "~seed", "seed=…"),
    ("hydra.run.dir=x", "hydra.run.dir", "hydra/launcher"),
    ("seed=range(0,3,0)", "range(0,3,0)", "step"),
    ("seed=range(1e999)", "range(1e999)", "range(stop)"),
    ("seed=range(3),5", "range(3),5", "Write the values out"),
    ("seed=10,range(3)", "10,range(3)", "Write the values out"),
    ("seed=choice(1,choice(2,3))", "choice(2,3)", "Write the values out"),
    ("dropout=none,glob(z*)", "glob(z*)", "Write the values out"),
    ("model=[glob(*)]", "glob(*)", "Write the values out"),
    ("seed=glob(*)", "seed=glob(*)", "dropout=glob(*)"),
    ("dropout=glob(q*)", "glob(q*)", "zoneout"),
    ("seed=range(0)", "range(0)", "nothing would run"),
    ("seed=range(3,1)", "range(3,1)", "nothing would run"),
    ("seed=range(1e9)", "range(1e9)", "100,000"),
    (f"seed=range(0,{'9' * 4000})", "seed=range(", "100,000"),
    ("seed=interval(0,1)", "interval(0,1)", "rnndrop tune"),
    ("model.hidden=9999999999999999999999", "model.hidden", "1000000"),
    ("trainer.finetune_epochs=9999999999999999999999", "trainer.finetune_epochs", "1000000000"),
    ("trainer.init=1e308", "trainer.init=1e+308", "1e+30"),
    (f"data.root={'x' * 300}", "data.root=", "too long"),
    ("data.file=~no-such-user/a.txt", "data.file=~no-such-user/a.txt", "home"),
    ("trainer.decay=1e308", "trainer.decay=1e+308", "1000"),
    ("trainer.threads=100000", "trainer.threads=100000", f"at most {MOST_THREADS}"),
    (f"output={'x' * 300}", "output=", "too long"),
    (f"output={'x/' * 2500}", "output=", "too long"),
    ("label=\udcff", "label", "UTF-8"),
    ("label=a\0b", "label", "NUL"),
    (f"data.split={'[' * 2000}{']' * 2000}", "data.split", "nested"),
    (f"seed={'9' * 5000}", "seed", "digits"),
    ("dropout.recurrent={1:2}", "dropout.recurrent", "strings"),
    ("data.file=jörg,b.txt", "jörg", "\"data.file='jörg,b.txt'\""),
    ("data.file=[a.txt", "[a.txt", "\"data.file='[a.txt'\""),
    ("data.file=x(1),2.txt", "x(1),2.txt", "\"data.file='x(1),2.txt'\""),
]


@pytest.mark.parametrize(("override", "named", "advised"), WRONG, ids=lambda part: part[:30].encode("unicode_escape"))
def test_6_one_message_says_what_is_wrong(override: str, named: str, advised: str) -> None:
    with pytest.raises(RequestError) as refused:
        plan_jobs([override, *of_text(override)])
    message = str(refused.value)
    assert named in message and advised in message
    assert len(message) < 4500 and "Exception" not in message and "\nNone" not in message
    with pytest.raises(RequestError):
        compose([override, *of_text(override)])


def of_text(override: str) -> list[str]:
    """The corpus that a file is for."""
    return ["data=text"] * override.startswith("data.file")


def test_6_a_value_within_another_value() -> None:
    with pytest.raises(RequestError, match="recurrent has been set to 3"):
        compose(["dropout.recurrent=3", "dropout.recurrent.p=.2"])


def test_8_15_a_grid_has_a_bound() -> None:
    with pytest.raises(RequestError, match="more than 100,000 runs"):
        expand(["seed=range(1000)", "trainer.epochs=range(1,1000)"])
    assert len(expand([f"seed=range({LIMIT})"])) == LIMIT


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("2", "2"),
        ("true", "true"),
        ("1e3", "1e3"),
        ("-1.50", "-1.50"),
        ("1_000", "1_000"),
        ("null", None),
        ("", ""),
        ("jörg.txt", "jörg.txt"),
        ("a=b.txt", "a=b.txt"),
        ("x(1).txt", "x(1).txt"),
        ("it's", "it's"),
        ("~/größe (2).txt", "~/größe (2).txt"),
        ("'x(1),2.txt'", "x(1),2.txt"),
        ("${seed}", "0"),
        ("seed-${seed}", "seed-0"),
    ],
)
def test_6_a_text_is_what_was_typed(typed: str, text: str | None) -> None:
    assert compose([f"label={typed}"]).label == text
    assert compose([f"data.file={typed}", "data=text"]).data.file == text
    assert [compose(job).label for job in expand([f"label={typed}"])] == [text]


def test_6_texts_of_a_grid_are_what_was_typed() -> None:
    jobs = expand(["data=text", "data.file=1e3,2,null,a.txt"])
    assert [compose(job).data.file for job in jobs] == ["1e3", "2", None, "a.txt"]


def test_6_glob_takes_the_options_of_a_group() -> None:
    plans = [job.config.dropout.name for job in plan_jobs(["dropout=glob(*)", "trainer.epochs=2"])]
    assert plans == list(choices("dropout"))
    assert [job.name for job in plan_jobs(["dropout=glob(z*)"])] == [
        f"dropout={name}" for name in ("zaremba", "zoneout", "zoneout_words")
    ]
    assert sweeps(["dropout=glob(*,exclude=[z*,v*])"])[1]["dropout"] == [name for name in plans if name[0] not in "zv"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("range(0.1,0.5,0.1)", ["0.1", "0.2", "0.3", "0.4"]),
        ("range(0.5,0.1,-0.1)", ["0.5", "0.4", "0.3", "0.2"]),
        ("range(0,0.35,0.05)", ["0.0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]),
        ("range(0.7,0.95,step=0.05)", ["0.7", "0.75", "0.8", "0.85", "0.9"]),
        ("range(.1,.4,1e-1)", ["0.1", "0.2", "0.3"]),
    ],
)
def test_1_3_a_range_takes_the_decimals_that_were_meant(text: str, expected: list[str]) -> None:
    jobs = plan_jobs(["dropout.recurrent.kind=locked", f"dropout.recurrent.p={text}"])
    assert [job.name for job in jobs] == [f"dropout.recurrent.p={p}" for p in expected]
    assert [job.config.dropout.recurrent.p for job in jobs] == [float(p) for p in expected]
    assert sweeps([f"dropout.recurrent.p={text}"])[1] == {"dropout.recurrent.p": expected}


def test_1_3_a_range_of_whole_numbers() -> None:
    assert expand(["seed=range(1,6,2)"]) == [["seed=1"], ["seed=3"], ["seed=5"]]
    assert expand(["seed=range(3,0,-1)", "seed=7"]) == [["seed=7"]]


@pytest.mark.parametrize(
    ("settings", "advised"),
    [
        (["hydra/launcher=submitit_local", "hydra.launcher.lost_after_s=abc"], "seconds"),
        (["hydra/launcher=submitit_local", "hydra.launcher.lost_after_s=nan"], "seconds"),
        (["hydra/launcher=submitit_local", "hydra.launcher.lost_after_s=-1"], "seconds"),
        (["hydra/launcher=submitit_local", "hydra.launcher.lost_after_s="], "seconds"),
        (["hydra/launcher=submitit_local", "hydra.launcher.setup=[a"], "quote"),
        (["hydra/launcher=submitit_local", "hydra.launcher.nodes=2"], "one process of one machine"),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.additional_parameters=abc"], "names and values"),
        (["hydra/launcher=ray", "hydra.launcher.lost_after_s=0"], "seconds"),
        (["hydra/launcher=ray", "hydra.launcher.num_cpus=0"], "above 0"),
        (["hydra/launcher=ray", "hydra.launcher.num_gpus=1.5"], "a part of one GPU"),
        (["hydra/launcher=ray", "hydra.launcher.mem_gb=4GB"], "above 0"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=²"], "number of processes"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=100000"], "at most"),
        (["hydra/launcher=joblib", f"hydra.launcher.n_jobs={'9' * 5000}"], "number of processes"),
    ],
)
def test_8_15_settings_of_a_launcher(settings: list[str], advised: str) -> None:
    pytest.importorskip("submitit")
    launcher, rest = split_launcher(settings)
    assert not rest
    with pytest.raises(RequestError, match=advised) as refused:
        executor(launcher, 1)
    assert settings[1].partition("=")[0] in str(refused.value)


def test_8_15_no_more_processes_than_a_machine_bears() -> None:
    with pytest.raises(RequestError, match="--jobs 100000"):
        executor({}, 100000)
    pytest.importorskip("submitit")
    launcher, _ = split_launcher(["hydra/launcher=submitit_local", "hydra.launcher.lost_after_s=2.5"])
    assert isinstance(given := executor(launcher, 2), Cluster) and given.lost == 2.5


def test_8_15_a_rate_that_decays_for_thousands_of_epochs() -> None:
    from rnndrop.training.optimizer import learning_rate

    trainer = compose(["trainer.decay=1000", "trainer.decay_after=1", "trainer.epochs=5000"]).trainer
    assert learning_rate(trainer, 2) == trainer.learning_rate / 1000
    assert learning_rate(trainer, 5000) == 0


def test_6_a_composed_configuration_shares_nothing_with_the_next(tmp_path: Path) -> None:
    def asked() -> Config:
        return compose(["dropout.recurrent={kind: locked, p: .25}", "dropout.recurrent.p=.5"])

    first = asked()
    assert compose(["dropout.recurrent={kind: locked, p: .25}"]).dropout.recurrent.p == 0.25
    assert asked() == first and compose([]).dropout.recurrent.p == 0
