"""`rnndrop masks`: what a plan drops, in the terminal and as a figure."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rnndrop.cli import masks as command

from rnndrop.config.compose import choices, compose
from rnndrop.errors import RequestError
from rnndrop.preview.mask_figure import plot
from rnndrop.preview.mask_view import STEPS, WIDTH, View, views
from rnndrop.report.figures import save
from tests.conftest import Command

PLANS = [name for name in choices("dropout") if name != "none"]


def view_of(location: str, kind: str, *more: str) -> View:
    config = compose([f"dropout.{location}.kind={kind}", f"dropout.{location}.p=0.5", *more])
    (view,) = views(config, 0)
    return view


def test_prints_every_active_rule_as_plain_text(rnndrop: Command) -> None:
    done = rnndrop("masks", "dropout=awd")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and not done.stderr
    for title in ("embedding · word · p = 0.1", "input · locked · p = 0.4", "weight_hh · dropconnect · p = 0.5"):
        assert title in done.stdout
    for shape in ("batch 1, type V, feature 1", "time 1, batch 20, gate 1, feature 200", "gate 4, out 200, in 200"):
        assert shape in done.stdout
    assert "gate o" in done.stdout and "·" * STEPS in done.stdout and "█" * STEPS in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_the_seed_is_that_of_the_settings_or_of_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for overrides, seed in (["seed=3"], None), ([], 3), ([], None):
        command.masks(compose(["dropout=locked", *overrides]), seed, None)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]


def test_figure(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("masks", "dropout=zoneout", "-o", "fig.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fig.png\n", "")
    assert (tmp_path / "fig.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_request(rnndrop: Command) -> None:
    done = rnndrop("masks", "dropout=awdd")
    assert done.returncode == 2 and "'awd'" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


@pytest.mark.parametrize(
    ("overrides", "figure", "named"),
    [
        ([], None, "no mask"),
        (["dropout.hidden.kind=locked", "dropout.hidden.p=.2", "model.layers=1"], None, "no mask"),
        (["dropout=awd"], "fig.gif", "png, svg, pdf"),
        (["dropout=awd"], "nowhere/fig.png", "nowhere"),
    ],
)
def test_what_cannot_be_drawn(overrides: list[str], figure: str | None, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        command.masks(compose(overrides), None, figure)


def test_without_matplotlib_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match=r"needs matplotlib: pip install 'matplotlib>=3.9' 'plotext>=6'"):
        plot([view_of("cell", "locked")], "", "")


@pytest.mark.e2e
def test_the_terminal_needs_no_matplotlib() -> None:
    code = "import sys, rnndrop.cli.masks; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_plan_and_cell_can_be_drawn(name: str, cell: str, tmp_path: Path) -> None:
    if (name, cell) == ("recurrent_update", "rnn"):
        pytest.skip("an Elman network has no candidate")
    config = compose([f"dropout={name}", f"model={cell}"])
    shown = views(config, 0)
    assert [view.rule for view in shown] == list(config.twin_plan.active)
    for view in shown:
        assert {tile.shape for tile in view.tiles.values()} == {view.extent}
        assert max(view.extent) <= max(STEPS, WIDTH)
    save(plot(shown, "title", "subtitle"), tmp_path / "figure.svg")
    assert "svg" in (tmp_path / "figure.svg").read_text()


def test_a_tile_shows_what_varies() -> None:
    def varies(tile: np.ndarray, axis: int) -> bool:  # axis 0: rows, 1: columns
        return bool((tile != tile.take([0], axis)).any())

    for kind, along in {"naive": (True, True), "locked": (True, False), "token": (False, True)}.items():
        (one, two) = view_of("recurrent", kind).tiles.values()
        assert (varies(one, 0), varies(one, 1)) == along, kind
        assert (one != two).any()
    assert list(view_of("recurrent", "shared").tiles) == ["every sequence"]
    assert list(view_of("recurrent", "locked_gates", "model=gru").tiles) == ["gate r", "gate z", "gate n"]
    (rows,) = [tile for label, tile in view_of("weight_hh", "weight_rows").tiles.items() if label == "gate i"]
    (columns,) = view_of("weight_hh", "weight_columns").tiles.values()
    assert (varies(rows, 0), varies(rows, 1)) == (True, False)
    assert (varies(columns, 0), varies(columns, 1)) == (False, True)
    assert varies(next(iter(view_of("embedding", "word").tiles.values())), 0)


def test_added_noise_is_shown_in_units_of_its_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    for noise in ("additive", "sparse", "bayes"):
        view = view_of("weight_hh", "dropconnect", f"dropout.weight_hh.noise={noise}", "dropout.weight_hh.p=0.01")
        entries = np.stack(list(view.tiles.values()))
        assert abs(entries.mean() - 1) < 0.1 and abs(entries.std() - 0.5) < 0.1  # 1 ± 1/2, of 0 ± p
        assert view.summary.endswith("std 0.01")
    command.masks(compose(["dropout=weight_noise"]), None, None)
    printed = capsys.readouterr().out
    assert "added: the darker the more, ≤ −2p to ≥ 2p" in printed and "dropped" not in printed
    assert all(block in printed for block in command.BLOCKS)


def test_learned_rates_are_shown_relaxed_as_they_begin() -> None:
    view = view_of("weight_hh", "dropconnect", "dropout.weight_hh.noise=concrete", "dropout.weight_hh.p=0.2")
    entries = np.stack(list(view.tiles.values()))
    assert abs(entries.mean() - 1) < 0.1 and entries.max() <= 1.2501
    assert ((entries > 0.01) & (entries < 1.24)).any()


@pytest.mark.parametrize(
    ("overrides", "limit"),
    [
        ("dropout=dropconnect dropout.weight_hh.smallest=0.25", " of the smallest 25%"),
        ("dropout=kn_noising", ", before discounting"),
        ("dropout.token.kind=blank dropout.token.p=0.2 dropout.token.discounted=true", ", before discounting"),
        ("dropout=masked_input twin=mir", ", at its full rate"),
        ("dropout=early", ", at its full rate"),
        ("dropout=word_dropout", "kept"),
    ],
)  # fmt: skip
def test_a_summary_says_where_less_is_dropped_than_is_shown(overrides: str, limit: str) -> None:
    assert all(view.summary.endswith(limit) for view in views(compose(overrides.split()), 0))


def test_what_is_not_an_activation_or_a_weight_has_its_own_axes() -> None:
    def axes(location: str, kind: str) -> tuple[str, str, tuple[int, int]]:
        view = view_of(location, kind, "model.layers=3", "trainer.batch_size=5", "trainer.window=7")
        return view.rows, view.columns, view.extent

    assert axes("token", "unk") == ("batch", "time", (5, 7))
    assert axes("carry", "reset") == ("batch", "window", (5, 1))
    assert axes("layer", "stochastic_depth") == ("layer", "batch", (3, 5))
    (drop,) = view_of("layer", "layer_drop", "model.layers=8").tiles.values()
    assert (drop == drop[:, :1]).all() and (drop != drop[:1]).any()


def test_small_models_windows_and_batches_are_shown_whole() -> None:
    view = view_of("cell", "naive", "model.hidden=3", "trainer.window=5", "trainer.batch_size=1")
    assert view.extent == (3, 5) and list(view.tiles) == ["sequence 1"] and view.shape == (5, 1, 3)


@pytest.mark.parametrize("kind", ["naive", "zoneout"])
def test_colours_are_half_blocks_two_rows_a_line(kind: str) -> None:
    view = view_of("cell", kind, "model.hidden=5")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=100)
    console.print(command._block(view, True, 100))
    lines = [line for line in console.file.getvalue().splitlines() if "▀" in line]  # type: ignore[attr-defined]
    assert len(lines) == 3 and lines[0].count("▀") == 2 * STEPS and "48;2;" in lines[0]
    assert "48;2;" not in lines[2]  # the fifth row has none below it
