"""Tables and plots that misled."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rnndrop.cli.ablate import _text
from rnndrop.cli.evaluate import _line
from rnndrop.cli.progress import epoch_line
from rnndrop.cli.report import Request, report
from rnndrop.cli.run import run

from rnndrop.config.compose import compose
from rnndrop.data.unk import unk_shares, unk_warning
from rnndrop.display.digits import number, plus_minus
from rnndrop.errors import RequestError
from rnndrop.report import series
from rnndrop.report.compare import compare, settings_columns
from rnndrop.report.frames import load_runs
from rnndrop.report.page import page_data
from rnndrop.report.sheet import failures
from rnndrop.report.tables import render
from rnndrop.reproduction.grid import change
from rnndrop.runs.loading import load_corpus
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.stats import difference
from rnndrop.store.progress import Progress, RunObserver
from rnndrop.store.records import read_record
from rnndrop.sweeps import ablation
from rnndrop.sweeps.ablation import Row, effects
from rnndrop.sweeps.scheduler import failure, jobs_of
from rnndrop.values import Mode
from tests.conftest import ROOT, TINY
from tests.invented import write_run

METRIC = "test_perplexity"
PEOPLE = ("rich", "md", "latex", "html")


def rows(folder: Path, style: str = "md", baseline: str | None = "none", metric: str = METRIC) -> str:
    runs = load_runs(folder)
    return render(compare(runs, metric, baseline), runs, style, metric)


def drawn(kind: str, folder: Path, baseline: str | None = None) -> str:
    """Every text of a figure."""
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    from rnndrop.report.figures import PLOTS

    runs = load_runs(folder)
    figure = PLOTS[kind](compare(runs, METRIC, baseline), runs, METRIC)
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def in_terminal(kind: str, folder: Path, baseline: str | None = None) -> str:
    pytest.importorskip("plotext")
    from rnndrop.report.terminal import DRAWINGS

    runs = load_runs(folder)
    return str(DRAWINGS[kind](compare(runs, METRIC, baseline), runs, METRIC, 100, False))


# which seeds count


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Two seeds of `none`; `naive` has five, is better on those two and worse over all; `variational` has others."""
    for seed, test in enumerate((100.0, 102.0)):
        write_run(tmp_path, ["dropout=none"], seed, test)
    for seed, test in enumerate((90.0, 93.0, 120.0, 121.0, 119.0)):
        write_run(tmp_path, ["dropout=naive"], seed, test)
    for seed in (7, 8):
        write_run(tmp_path, ["dropout=variational"], seed, 80.0 + seed)
    return tmp_path


@pytest.mark.parametrize("style", PEOPLE)
def test_3_all_seeds_count_in_every_table(uneven: Path, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean that a row shows and its difference are of the same runs, in whatever seeds they are."""
    monkeypatch.setenv("COLUMNS", "100")
    lines = rows(uneven, style).splitlines()
    assert any("naive" in line and "+6.6" in line for line in lines)  # of 2 and 5 seeds
    assert any("variational" in line and "13.4" in line for line in lines)  # no seed in common
    assert "df" in "".join(lines)


def test_3_a_difference_is_that_of_the_geometric_means(uneven: Path) -> None:
    table = compare(load_runs(uneven), METRIC, "none").set_index("dropout")
    naive, none = np.log([90.0, 93.0, 120.0, 121.0, 119.0]), np.log([100.0, 102.0])
    assert table.loc["naive", "change"] == pytest.approx(np.expm1(naive.mean() - none.mean()))
    found = difference(np.exp(naive), np.exp(none))
    assert table.loc["naive", "df"] == pytest.approx(found.df) and table.loc["naive", "p"] == pytest.approx(found.p)


def test_3_degrees_of_freedom_are_shown_in_every_forest_plot(uneven: Path) -> None:
    table = compare(load_runs(uneven), METRIC, "none").set_index("dropout")
    freedom = f"{float(str(table.loc['naive', 'df'])):.1f}"
    for text in (drawn("forest", uneven, "none"), in_terminal("forest", uneven, "none")):
        assert freedom in text and "df" in text
    runs = load_runs(uneven)
    forest = page_data(compare(runs, METRIC, "none"), runs, METRIC)["tables"][0]["forest"]
    assert {row["label"]: row["df"] for row in forest["rows"]}["naive"] == freedom


def test_3_ablate_takes_all_seeds(uneven: Path) -> None:
    def row(place: str | None, plan: str, *seeds: int) -> Row:
        jobs = jobs_of([[f"dropout={plan}", f"output={uneven}", f"seed={seed}"] for seed in seeds])
        return Row(place, "", jobs)

    table = [row(None, "none", 0, 1), row("input", "naive", 0, 1, 2, 3, 4), row("output", "variational", 7)]
    measured = effects(table, "add")
    naive, other = (next(each for each in measured if each.variant == f"only {place}") for place in ("input", "output"))
    assert naive.n == 5 and naive.test == pytest.approx(108.6) and naive.percent == pytest.approx(6.598, abs=0.001)
    assert naive.df is not None and naive.low is not None
    assert (other.n, other.df, other.low) == (1, None, None) and other.percent is not None
    text = _text(measured)
    assert f"{naive.df:.1f}" in text and "+6.6 %" in text and "baseline" in text


@pytest.mark.parametrize("mode", ["drop", "add"])
@pytest.mark.parametrize("several", ["model.hidden=8,16", "dropout.input.p=0.1,0.3"])
def test_3_ablate_takes_no_configurations_for_seeds(several: str, mode: Mode, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="only the seed may take several values here"):
        ablation.rows("variational", mode, [*TINY, f"output={tmp_path}", several, "seed=0"])
    asked = ["model.hidden=8", "seed=0,1", "seeds.init=0"]
    assert {len(row.jobs) for row in ablation.rows("variational", mode, [*TINY, f"output={tmp_path}", *asked])} == {2}


def test_3_all_seeds_count_on_the_page_of_results(uneven: Path) -> None:
    shown = {row["dropout"]: change(row) for row in compare(load_runs(uneven), METRIC, "none").to_dict("records")}
    assert shown["naive"].startswith("+6.6 % [") and shown["variational"].startswith("-13") and shown["none"] == "–"


# what is compared with what


@pytest.fixture
def longer(tmp_path: Path) -> Path:
    for seed in range(3):
        for epochs, better in ((1, 0.0), (2, 10.0)):
            for plan, test in (("none", 100.0), ("naive", 90.0)):
                write_run(tmp_path, [f"dropout={plan}", f"trainer.epochs={epochs}"], seed, test - better + seed)
    return tmp_path


@pytest.mark.parametrize("style", PEOPLE)
def test_3_the_note_names_what_each_row_is_compared_with(longer: Path, style: str) -> None:
    text = " ".join(rows(longer, style, "trainer.epochs=1").split())
    assert "against epochs=1, all else equal: change" in text
    assert "against naive" not in text and "against none" not in text
    one = " ".join(rows(longer, style, "none").split())
    assert "against none, all else equal: change" in one


def test_3_plots_name_what_is_compared_with(longer: Path) -> None:
    text = drawn("forest", longer, "trainer.epochs=1")
    assert "test perplexity against epochs=1, all else equal" in text and "naive · epochs=2" in text
    assert "against epochs=1, all else equal" in " ".join(in_terminal("forest", longer, "trainer.epochs=1").split())
    runs = load_runs(longer)
    forest = page_data(compare(runs, METRIC, "trainer.epochs=1"), runs, METRIC)["tables"][0]["forest"]
    assert forest["about"] == "test perplexity against epochs=1, all else equal"


def test_3_one_baseline_is_called_by_its_name(longer: Path) -> None:
    runs = load_runs(longer)
    table = compare(runs, METRIC, runs["run_id"].iloc[0])
    assert re.fullmatch(r"(none|naive) · epochs=[12]", series.against(table))


def test_3_without_a_test_of_significance_the_note_stands_too(tmp_path: Path) -> None:
    for plan in ("none", "naive"):
        write_run(tmp_path, [f"dropout={plan}"], 0, 100.0)
    text = rows(tmp_path)
    assert "against none: change of test perplexity over all seeds" in text and "Holm" not in text


# failures


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Three plans that finished; a diverged run with other settings, and two that could not begin."""
    for plan, test in (("none", 100.0), ("naive", 95.0), ("variational", 90.0)):
        for seed in range(3):
            write_run(tmp_path, [f"dropout={plan}"], seed, test + seed)
    sgd = ["dropout=awd", "trainer.optimizer=sgd", "trainer.learning_rate=30", "trainer.clip=0.25", "trainer.epochs=50"]
    write_run(tmp_path, sgd, 0, status="diverged", metrics={}, error="the loss of step 4 is nan nats per token")
    for job in jobs_of([[f"output={tmp_path}", *more] for more in (["trainer.batch_size=6000"], ["seed=3"])]):
        failure(job.config, job.overrides, "Traceback\nThe split is too short: lower the batch size")
    return tmp_path


@pytest.mark.parametrize("style", PEOPLE)
def test_3_failures_are_below_the_table_and_shape_nothing(
    broken: Path, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(Request([str(broken)], style, strict=True)) == 0
    out, err = capsys.readouterr()
    text, after = re.split("(?=failed: |diverged: )", out, maxsplit=1)
    assert "optimizer" not in text and "clip" not in text and "batch" not in text and "awd" not in text
    assert "3/4" in text  # of none, the seed that could not begin
    assert "tables" not in out and err == ""
    found = " ".join(after.split()).replace("% ", "").replace("\\", "")
    for needle in ("nan nats per token", "The split is too short: lower the batch size", "rnndrop show", "/seed-0",
                   f"--output {broken}"):  # fmt: skip
        assert needle in found, needle


@pytest.mark.parametrize("style", ["csv", "json"])
def test_3_failures_stay_off_the_tables_of_programs(
    broken: Path, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(Request([str(broken)], style)) == 0
    out, err = capsys.readouterr()
    assert "awd" not in out and "optimizer" not in out and err.count("rnndrop show") == 3


def test_3_failures_are_read_and_have_no_table_of_their_own(broken: Path) -> None:
    runs = load_runs(broken)  # warnings are errors
    assert len(runs) == 12 and set(runs["data"]) == {"synthetic"} and runs["data_sha256"].isna().sum() == 2
    table = compare(runs)
    assert len(table) == 3 and settings_columns(table) == [] and table["data_sha256"].nunique() == 1
    assert table.set_index("dropout").loc["none", ["n", "failed"]].tolist() == [3, 1]


def test_3_failures_are_in_no_label_of_page_and_plots(broken: Path) -> None:
    runs = load_runs(broken)
    data = page_data(compare(runs), runs, METRIC)
    assert len(data["lost"]["rows"]) == 3 and "awd" not in json.dumps(data["tables"], default=str)
    assert {group["label"] for group in data["tables"][0]["groups"].values()} == {"none", "naive", "variational"}
    for text in (drawn("curves", broken), in_terminal("curves", broken), drawn("forest", broken, "none")):
        assert "awd" not in text and "epochs=" not in text


def test_3_where_nothing_finished_the_failures_are_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = jobs_of([[f"output={tmp_path}"]])
    failure(job.config, job.overrides, "the disk is full")
    for style in (*PEOPLE, "csv"):
        assert report(Request([str(tmp_path)], style)) == 1
        out, err = capsys.readouterr()
        assert "the disk is full" in (err if style == "csv" else out) and (style != "csv" or out == "")
    assert report(Request([str(tmp_path)], html=str(tmp_path / "page.html"))) == 1
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(RequestError, match="finished"):
        compare(load_runs(tmp_path))


def test_3_many_failures_are_named_by_their_kinds(tmp_path: Path) -> None:
    write_run(tmp_path, [], 99, 100.0)
    for seed in range(20):
        write_run(tmp_path, [], seed, status="failed", metrics={}, error="out of memory" if seed else "no such device")
    lines = failures(load_runs(tmp_path))
    assert len(lines) == 6 and "15 more" in lines[-1]
    assert "no such device" in lines[0] and "out of memory" in lines[1]


# digits, bits, <unk>


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**1.25, "2.378"),
        (2**1.27, "2.412"),
        (87.31, "87.31"),
        (124.349, "124.3"),
        (0.15718, "0.1572"),
        (9999.9, "9999.9"),
        (12345.6, "12346"),
        (3.37e11, "3.37e+11"),
        (math.inf, "inf"),
    ],
)
def test_3_digits_go_by_the_size_of_the_number(value: float, text: str) -> None:
    assert number(value) == text


def test_3_a_deviation_is_written_as_its_mean() -> None:
    assert plus_minus(3.37e11, 583002118486.8) == "3.37e+11 ± 5.83e+11"
    assert plus_minus(2.3784, 0.01) == "2.378 ± 0.010" and plus_minus(250.0, math.nan) == "250.0"


def close(folder: Path, level: str) -> list[Path]:
    data = ["data=text", "data.file=none.txt", f"data.level={level}"]
    return [
        write_run(folder, [*data, f"dropout={plan}"], 0, 2**bits) for plan, bits in (("none", 1.27), ("naive", 1.25))
    ]


def test_3_characters_have_enough_digits_and_bits_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = close(tmp_path, "char")
    runs = load_runs(tmp_path)
    assert sorted(runs["test_bits_per_character"]) == pytest.approx([1.25, 1.27])
    assert runs["valid_bits_per_character"].notna().all()
    texts = [rows(tmp_path, style) for style in PEOPLE]
    texts.append(json.dumps(page_data(compare(runs, METRIC, "none"), runs, METRIC)["tables"][0]["rows"], default=str))
    records = [record for folder in folders if (record := read_record(folder))]
    texts.append(" ".join(_line(record, "test") for record in records))
    assert [run([*record.overrides, f"output={tmp_path}"], False, False) for record in records] == [0, 0]
    texts.append(capsys.readouterr().out)
    for text in texts:
        assert all(value in text for value in ("2.378", "2.412", "1.250", "1.270")), text
    ranked = compare(runs, "test_bits_per_character", "none").set_index("dropout")
    assert ranked.loc["naive", "change"] == pytest.approx(1.25 / 1.27 - 1)
    assert "bits per character" in rows(tmp_path, metric="test_bits_per_character")


def test_3_words_have_no_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    close(tmp_path, "word")
    runs = load_runs(tmp_path)
    assert runs["test_bits_per_character"].isna().all() and "bits" not in rows(tmp_path)
    assert not any("bits" in name for name in compare(runs))
    run(["data=text", "data.file=none.txt", "dropout=none", f"output={tmp_path}"], False, False)
    assert "bits)" not in capsys.readouterr().out
    with pytest.raises(RequestError, match=r"data\.level=char"):
        compare(runs, "test_bits_per_character")


def test_3_a_run_of_characters_records_its_bits(tmp_path: Path) -> None:
    import rnndrop

    (tmp_path / "text.txt").write_text("abc de\n" * 60, encoding="utf-8")
    shape = ["model.hidden=4", "model.layers=1", "model.embedding=4", "trainer.epochs=1", "trainer.threads=1",
             "trainer.batch_size=4", "trainer.window=8", "evaluation.batch_size=2"]  # fmt: skip
    told: list[Progress] = []
    text = ["data=text", f"data.file={tmp_path / 'text.txt'}", "data.level=char"]
    metrics = rnndrop.run([*text, *shape, f"output={tmp_path}"], told.append).metrics
    for split in ("valid", "test", "train"):
        assert metrics[f"{split}_bits_per_character"] == pytest.approx(math.log2(metrics[f"{split}_perplexity"]))
    assert "bits)" in epoch_line(told[-1], {"data": {"level": "char"}})
    assert "bits" not in epoch_line(told[-1], {"data": {"level": "word"}})


@pytest.mark.parametrize(
    ("train", "valid", "test", "warns"),
    [
        (0.048, 0.047, 0.058, False),  # PTB
        (0.018, 0.054, 0.041, False),  # pydoc, data.min_count=2
        (0.5, 0.5, 0.5, True),  # nearly every word is <unk>
        (0.02, 0.05, 0.3, True),
        (0.0, 0.0, 0.91, True),
        (0.0, 0.04, 0.026, True),  # training never shows it: 14 nats each
        (0.0, 0.002, 0.0, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_3_unk_that_decides_is_warned_of(train: float, valid: float, test: float, warns: bool) -> None:
    rates = {"train": train, "valid": valid, "test": test}
    assert bool(unk_warning(rates)) == warns
    assert bool(unk_shares(rates)) == any(rates.values())


def test_3_unk_is_named_when_a_text_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"w{line:03d} common w{line:03d}x" for line in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    with caplog.at_level(logging.INFO, "rnndrop"):
        load_corpus(compose(["data=text", f"data.file={tmp_path / 'a.txt'}", "data.min_count=2"]).data)
        load_corpus(compose(["data=pydoc"]).data)
    deciding, usual = caplog.records
    assert deciding.levelname == "WARNING" and "50 % of test" in deciding.getMessage()
    assert usual.levelname == "INFO" and "of test" in usual.getMessage()


def test_3_unk_that_decides_is_said_wherever_the_result_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "text", "level": "word", "sha256": "c" * 64}
    rates = {"train": 0.0, "valid": 0.909, "test": 0.909}
    write_run(tmp_path, ["dropout=none"], 0, 3.0, data=data | {"oov_rate": rates})
    assert "&lt;unk&gt;: 0 % of train, 90.9 % of valid" in rows(tmp_path, baseline=None)
    run(["dropout=none", f"output={tmp_path}"], False, False)
    assert "90.9 % of test is <unk>" in capsys.readouterr().out
    assert load_runs(tmp_path)["test_oov_rate"].tolist() == [0.909]


# claims


def test_3_no_number_of_the_guide_is_invented() -> None:
    guide, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/guide/reports.md", "README.md"))
    demo = (ROOT / "conf/experiment/demo.yaml").read_text("utf-8")
    assert "invented" not in guide and "0000000" not in guide
    expected = re.search(r"valid ([\d.]+), test ([\d.]+) \(epoch (\d)\)", demo)
    shown = re.search(r"\| `variational` \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \| (\d) \|", readme)
    assert expected and shown and expected.groups() == shown.groups()
    mean, std = re.search(r"variational +3 +[\d.]+ ± [\d.]+ +([\d.]+) ± ([\d.]+)", guide).groups()  # type: ignore[union-attr]
    assert abs(float(mean) - float(expected[2])) < 2 * float(std)


def test_3_only_what_is_there_is_claimed() -> None:
    pages = [ROOT / "README.md", ROOT / "pyproject.toml", *(ROOT / "docs").rglob("*.md"), *(ROOT / "cli").glob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in pages).lower()
    for claim in ("any published", "every dropout", "all published", "literature on recurrent networks has published"):
        assert claim not in text, claim
    for page in ("README.md", "docs/space.md"):
        assert "published.md" in (ROOT / page).read_text("utf-8"), page  # which names those that are not in


# the rest


def test_3_a_run_id_of_several_seeds_says_which_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rnndrop.store.status import find

    folders = [write_run(tmp_path, [], seed, 100.0) for seed in (2, 0, 1)]
    with caplog.at_level(logging.INFO, "rnndrop"):
        assert find(folders[0].parent.name, str(tmp_path)) == folders[1]
    (said,) = caplog.messages
    assert (
        "3 seeds" in said
        and re.search(r"this is seed[- ]0\b", said)
        and said.endswith(f"{folders[0].parent.name}/seed-2")
    )
    caplog.clear()
    find(f"{folders[0].parent.name}/seed-2", str(tmp_path))
    assert not caplog.messages


def test_3_a_trifle_is_pale_in_the_heat_map(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from rnndrop.report.figures import PLOTS

    write_run(tmp_path, ["dropout=none"], 0, 100.0)
    write_run(tmp_path, ["dropout.recurrent.kind=locked", "dropout.recurrent.p=0.1"], 0, 99.9)
    runs = load_runs(tmp_path)
    figure = PLOTS["heatmap"](compare(runs), runs, METRIC)
    axis, bar = figure.axes
    (image,) = axis.images
    assert image.norm.vmin == -image.norm.vmax and min(image.cmap(image.norm(-0.1))[:3]) > 0.9
    assert bar.get_ylabel() == "test perplexity against none, per cent"


@pytest.mark.parametrize(("last", "ticks"), [(1, [1]), (6, [1, 2, 3, 4, 5, 6]), (39, [5, 10, 15, 20, 25, 30, 35])])
def test_3_epochs_are_marked_whole(last: int, ticks: list[int]) -> None:
    assert series.epoch_ticks(last) == ticks


def test_3_epochs_of_the_plots_are_whole(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from rnndrop.report.figures import PLOTS

    write_run(tmp_path, [], 0, 100.0)  # of two epochs: matplotlib would mark 1.25
    runs = load_runs(tmp_path)
    figure = PLOTS["curves"](compare(runs), runs, METRIC)
    assert figure.axes[0].get_xticks().tolist() == [1, 2]
    assert in_terminal("curves", tmp_path).splitlines()[-3].split() == ["1", "2"]


def test_3_a_training_that_is_over_is_not_said_to_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overrides = [*TINY, "model.hidden=4", "evaluation.batch_size=200", f"output={tmp_path}"]
    config = compose(overrides)

    class Leaving(RunObserver):
        def evaluated(self, progress: Progress) -> None:
            if progress.epoch == config.trainer.epochs:
                raise Interrupted

    with pytest.raises(Interrupted):
        run_one(config, overrides, Leaving())
    with caplog.at_level(logging.INFO, "rnndrop"):
        assert run_one(config, overrides).status == "finished"
    (said,) = caplog.messages
    assert "trained to its end" in said and "epoch 3" not in said


def test_3_a_score_of_zero_has_no_ratio() -> None:
    found = difference([0.0, 1.0], [1.0, 1.0])
    assert found.difference == -0.5 and all(map(math.isnan, (found.log_ratio, found.low, found.p)))
