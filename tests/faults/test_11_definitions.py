"""Dropouts that were another thing than their name in a corner, and cells and commands that took too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import rnndrop
from rnndrop.config.cells import imported
from rnndrop.config.compose import compose
from rnndrop.dropout.masks import LayerMasks, draw, draw_masks
from rnndrop.dropout.plan import Plan, plan
from rnndrop.dropout.rule import rule
from rnndrop.errors import RequestError
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.preview.mask_view import views
from rnndrop.recurrent import engine
from rnndrop.report.comparable import caveats
from rnndrop.runs import debug, doctor, environment
from rnndrop.runs.ensemble import ensemble
from rnndrop.runs.reevaluate import evaluate
from rnndrop.runs.runner import run_one
from rnndrop.runs.signals import Interrupted
from rnndrop.store import records
from rnndrop.store.audit import audit
from rnndrop.store.progress import Outline, RunObserver
from rnndrop.training import twin
from rnndrop.training.predicted import predicted
from rnndrop.training.trainer import DivergedError, Step, Training
from tests.conftest import SMALL, TINY
from tests.invented import write_run

SAMPLES = ["evaluation.mc.samples=3"]


@pytest.mark.parametrize(
    "asked", [["dropout=none"], ["dropout=word_dropout"], ["dropout=embedding"], ["dropout=h_detach"]]
)
def test_11_samples_that_no_mask_tells_apart_are_said_to_be_none(asked: list[str]) -> None:
    (line,) = compose([*asked, *SAMPLES]).without_effect
    assert f"{asked[0]} has no masks in Monte-Carlo evaluation, so all samples are the same" in line
    assert ("evaluation.mc.embedding=true" in line) == (asked == ["dropout=embedding"])
    assert not compose(asked).without_effect


def test_11_of_samples_with_masks_nothing_is_said() -> None:
    assert not compose(["dropout=variational", *SAMPLES]).without_effect
    assert not compose(["dropout=embedding", *SAMPLES, "evaluation.mc.embedding=true"]).without_effect


@pytest.mark.parametrize(("until", "finetune", "idle"), [(2, 0, True), (3, 0, True), (1.5, 0, False), (2, 1, False)])
def test_11_a_dropout_that_begins_after_training_is_named(until: float, finetune: int, idle: bool) -> None:
    late = ["kind=locked", "p=0.9", "schedule=late", f"until={until}"]
    asked = [*(f"dropout.input.{each}" for each in late), "trainer.epochs=2", f"trainer.finetune_epochs={finetune}"]
    lines = compose(asked).without_effect
    assert [f"begins after epoch {until:g}, and training has 2" in line for line in lines] == [True] * idle


@pytest.mark.parametrize("p", [0.95, 0.97])
def test_11_noise_without_holes_has_none(p: float) -> None:
    own, lengths = rule("cell", "locked", p, noise="dirichlet"), {"time": 5, "batch": 50, "feature": 200}
    mask = draw(own, lengths, torch.Generator().manual_seed(0), torch.float32)
    assert (mask > 0).all() and mask.mean().item() == pytest.approx(1, abs=1e-5)


def test_11_the_preview_of_dirichlet_noise_has_the_spread_of_the_whole_mask() -> None:
    asked = ["dropout.input.kind=locked", "dropout.input.p=0.95", "dropout.input.noise=dirichlet", "model.hidden=200"]
    (view,) = views(compose(asked), 0)
    assert "mean 1.00, std 0.00" not in view.summary
    tiles = torch.stack([torch.from_numpy(tile) for tile in view.tiles.values()])
    assert tiles.std() > 1  # sqrt(.95/.05) = 4.4 of all 200


def test_11_the_preview_keeps_the_layer_that_always_runs() -> None:
    layers = ["dropout.layer.kind=layer_drop", "dropout.layer.p=0.9", "model.hidden=200", "model.layers=3"]
    for seed in range(5):
        (view,) = views(compose([*layers, "model.embedding=100"]), seed)
        (tile,) = view.tiles.values()
        kept = tile if view.rows == "layer" else tile.T
        assert (kept[0] == 1).all()


def test_11_what_is_wrong_with_a_further_rule_is_said_of_it() -> None:
    first = ["dropout.input.kind=locked", "dropout.input.p=.3"]
    with pytest.raises(RequestError, match=r"dropout\.input\.also\.0\.kind=word has no meaning"):
        compose([*first, "dropout.input.also=[{kind: word, p: 0.1}]"])
    with pytest.raises(RequestError, match=r"dropout\.input\.also\.1\.p=1\.5 is not a rate"):
        compose([*first, "dropout.input.also=[{kind: naive, p: 0.1}, {kind: naive, p: 1.5}]"])


@pytest.mark.parametrize("share", ["", "cell"])
def test_11_a_twin_samples_its_words_from_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    """Zoneout acts at evaluation, which the words of `sampled` are predicted as, whoever draws its masks."""
    monkeypatch.chdir(tmp_path)
    seen: list[Plan] = []

    def watched(model: LanguageModel, own: Plan, *rest: Any) -> Any:
        seen.append(own)
        return predicted(model, own, *rest)

    monkeypatch.setattr(twin, "predicted", watched)
    asked = ["dropout.token.kind=sampled", "dropout.token.p=.5", "dropout.cell.kind=zoneout", "dropout.cell.p=.9"]
    rnndrop.run([*SMALL, *asked, "twin=r_drop", f"twin.share=[{share}]", "output=rr"])
    assert seen and all(any(own.at("cell")) and next(iter(own.at("cell"))).p == 0.9 for own in seen)


def test_11_the_adversary_moves_the_whole_row_also_where_units_are_left_out() -> None:
    model = LanguageModel(ModelSettings("lstm", 30, 1, None, False), 7).double()
    model.initialize(0.5, torch.Generator().manual_seed(0))
    own = plan({"output": {"kind": "shared", "p": 0.5}})
    masks = draw_masks(own, model.sizes, 4, 3, torch.Generator().manual_seed(1), torch.float64)
    top = torch.randn(4, 3, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    targets = torch.randint(7, (4, 3), generator=torch.Generator().manual_seed(3))
    assert masks.output is not None and model.decoder is not None
    left_out = nll_sum(model.seen(top, masks), *model.decoder_weights(masks), targets, 0.5, model.decoder_rows(masks))
    whole = nll_sum(top * masks.output, model.decoder, model.decoder_bias, targets, 0.5)
    assert left_out.item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_11_a_layer_without_masks_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    """On a GPU, where a GRU with a state of its own would leave the library after the first window."""
    ways, way = [], engine._way

    def on_gpu(spec: Any, masks: LayerMasks, device: torch.device, apart: bool = False) -> str:
        ways.append(way(spec, masks, torch.device("cuda"), apart))
        return way(spec, masks, device, apart)

    monkeypatch.setattr(engine, "_way", on_gpu)
    model = LanguageModel(ModelSettings(cell, 6, 2, None, False), 7)
    masks = draw_masks(plan({"input": {"kind": "locked", "p": 0.5}}), model.sizes, 3, 2, torch.Generator())
    state = model.initial_state(2)
    for _ in range(3):
        _, state = model.top(torch.zeros(3, 2, dtype=torch.long), state, masks)
    assert ways == ["library"] * 6


@pytest.mark.parametrize(("kind", "parts"), [("locked", 3), ("zoneout", 2), (None, 2)])
def test_11_what_was_read_last_goes_on_where_holes_part_it_from_what_is_kept(kind: str | None, parts: int) -> None:
    model = LanguageModel(ModelSettings("lstm", 6, 1, None, False), 7)
    own = plan({"cell": {"kind": kind, "p": 0.5}} if kind else {})
    masks = draw_masks(own, model.sizes, 3, 2, torch.Generator())
    _, (state,) = model.top(torch.zeros(3, 2, dtype=torch.long), model.initial_state(2), masks)
    assert len(state) == parts


ROWS = {
    "CellSpec('x', __name__, gates='fn', late=1)": "has no function late",
    "CellSpec('x', __name__, gates='fn', late=2)": "late=2 is not some of its gates",
    "CellSpec('x', __name__, gates='fn', linear=True, memories=2)": "memories has no meaning with linear=True",
    "CellSpec('x', __name__, gates='fn', diagonals=1)": "diagonals has a meaning with linear=True alone",
}


@pytest.mark.parametrize("row", ROWS)
def test_11_a_contradictory_cell_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"mine_{abs(hash(row))}"
    (tmp_path / f"{name}.py").write_text(
        f"from rnndrop.config.cells import CellSpec\ndef step(*_): ...\ndef terms(*_): ...\nROW = {row}\n"
    )
    with pytest.raises(RequestError, match=ROWS[row]):
        imported(f"{name}:ROW")


def test_11_a_step_that_forgets_a_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forgets.py").write_text(
        "from rnndrop.config.cells import CellSpec\nROW = CellSpec('x', __name__, gates='fn', memories=2)\n"
        "def step(x, h, memory, masks): return memory[0], memory[:1]\n"
    )
    record = rnndrop.run([*SMALL, "model.cell=forgets:ROW", "output=rr"])
    assert record.error and "its step returns 1 memories, and its row says 2" in record.error


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose record says that it was trained on a GPU that is not here."""
    monkeypatch.chdir(tmp_path)
    record = rnndrop.run([*SMALL, "dropout=variational", "output=rr"])
    folder = tmp_path / "rr" / record.run_id / "seed-0"
    tree = json.loads((folder / records.RECORD).read_text())
    tree["config"]["trainer"]["device"] = "cuda:1"
    tree.pop("sha256", None)
    (folder / records.RECORD).write_text(json.dumps(tree))
    return folder


def test_11_a_run_of_a_gpu_is_evaluated_where_one_says(there: Path) -> None:
    assert evaluate(there, [*SAMPLES, "trainer.device=cpu"]).metrics["test_perplexity_mc"] > 1
    assert ensemble([there], ["trainer.device=cpu"]).mean["test"] > 1


def test_11_doctor_takes_two_steps_whatever_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Training] = []
    step = Training._step

    def counted(own: Training, *rest: Any) -> Any:
        steps.append(own)
        return step(own, *rest)

    monkeypatch.setattr(Training, "_step", counted)
    (found,) = (each for each in doctor.examine(compose([*TINY, "trainer.finetune_epochs=40"])) if each.name == "step")
    assert found.sound and len(steps) == 2


def test_11_doctor_refuses_what_a_run_refuses() -> None:
    asked = [*TINY, "dropout.token.kind=unk", "dropout.token.p=.2"]
    (found,) = (each for each in doctor.examine(compose(asked)) if each.name == "step")
    assert not found.sound and "<unk>" in found.detail


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_11_no_checkpoint_comes_after_infinite_seconds(value: str) -> None:
    with pytest.raises(RequestError, match=r"trainer\.checkpoint_seconds"):
        compose([f"trainer.checkpoint_seconds={value}"])


def test_11_a_diverged_record_keeps_its_files_until_the_next_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose([*TINY, "trainer.epochs=3", "output=rr"])

    class After(RunObserver):
        def __init__(self, error: BaseException, epochs: int = 2) -> None:
            self.error, self.epochs = error, epochs

        def evaluated(self, progress: Any) -> None:
            self.epochs -= 1
            if not self.epochs:
                raise self.error

    assert run_one(config, [], After(DivergedError(2, 1e9, "nats"))).status == "diverged"
    with pytest.raises(SystemExit):  # as a kill: nothing is written any more
        run_one(config, [], After(SystemExit(9)), settled=("finished",))
    (verdict,) = audit("rr")
    assert verdict.state == "sound"
    with pytest.raises(Interrupted):  # and of one that is interrupted nobody else's curve is shown
        run_one(config, [], After(Interrupted(), 1), settled=("finished",))
    (folder,) = Path("rr").glob("*/seed-0")
    record = records.read_record(folder)
    assert record is not None and record.status == "interrupted" and not records.read_history(folder)


def test_11_an_observer_that_fails_at_the_end_hides_nothing_from_a_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Fails(RunObserver):
        def ended(self, record: Any) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        rnndrop.run([*SMALL, "tracker=[tensorboard]", "output=rr"], Fails())
    (folder,) = Path("rr").glob("*/seed-0")
    assert not list(folder.glob("checkpoint-*"))
    events = b"".join(path.read_bytes() for path in folder.rglob("events*"))
    assert b"test_perplexity" in events


def test_11_debug_gives_numbers_of_a_task_that_gives_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnndrop.tasks.language_model import Windows

    take = Windows.take

    def tensors(own: Windows, row: int) -> Step:
        taken = take(own, row)
        return taken._replace(loss=torch.tensor(taken.loss), targets=torch.tensor(taken.targets))  # type: ignore[arg-type]

    monkeypatch.setattr(Windows, "take", tensors)
    found = debug.one_batch(compose(TINY))
    assert json.dumps([found.first, found.last, found.targets])


TASK = '''
import torch
from rnndrop.tasks.language_model import LanguageModelling, Windows

class Shuffled(Windows):
    """Draws at the beginning of each epoch from the generator of the masks, as the guide lets it."""

    def begin(self, epoch):
        super().begin(epoch)
        self.drawn = torch.rand(1, generator=self.generator)

    def take(self, row):
        step = super().take(row)
        return step._replace(objective=step.objective * self.drawn)

class Own(LanguageModelling):
    def steps(self, model, config, corpus, masks):
        return Shuffled(model, config.plan, config.trainer, corpus.train, masks)

class Reversed(LanguageModelling):
    def load(self, settings):
        return super().load(settings)

class NoModes(LanguageModelling):
    modes = {}

class NoEncoder(LanguageModelling):
    def model(self, settings, corpus):
        return torch.nn.Linear(1, 1)

class Picky(LanguageModelling):
    def check(self, data, config, device):
        if config.trainer.loss == "sum_time":
            raise ValueError("not this loss")

class Transposed(LanguageModelling):
    def model(self, settings, corpus):
        model = super().model(settings, corpus)
        model.decoder = torch.nn.Parameter(torch.empty(model.decoder.shape[::-1]).t())
        return model
'''


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_eleven.py").write_text(TASK)


class StopAfter(RunObserver):
    """Interrupts after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def progress(self, progress: Any) -> None:
        if progress.step == self.steps:
            raise Interrupted


@pytest.mark.usefixtures("own_task")
def test_11_what_an_epoch_draws_when_it_begins_is_drawn_once_and_found_again() -> None:
    assert_goes_on("task=mine_eleven:Own", "dropout=naive")


@pytest.mark.usefixtures("own_task")
def test_11_moments_of_weights_that_lie_transposed_go_on_in_their_order() -> None:
    assert_goes_on("task=mine_eleven:Transposed", "trainer.optimizer=adam")


def assert_goes_on(*more: str) -> None:
    whole = rnndrop.run([*TINY, *more, "output=whole"])
    with pytest.raises(Interrupted):
        rnndrop.run([*TINY, *more, "output=cut"], StopAfter(7))
    cut = rnndrop.run([*TINY, *more, "output=cut"])
    assert cut.timing["resumed_from_steps"] == [7] and cut.metrics == whole.metrics


def test_11_the_same_text_under_another_path_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("to be or not to be\n" * 2000)
    asked = [*TINY[1:], "data=text", "dropout=naive"]
    with pytest.raises(Interrupted):
        rnndrop.run([*asked, "data.file=c.txt", "output=rr"], StopAfter(2))
    record = rnndrop.run([*asked, f"data.file={tmp_path / 'c.txt'}", "output=rr"])
    assert record.timing["resumed_from_steps"] == [2]


@pytest.mark.usefixtures("own_task")
@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("Reversed", [], r"its load\(\) is not asked for data=synthetic"),
        ("NoModes", ["evaluation=dynamic"], "evaluation=dynamic has no meaning"),
        ("NoEncoder", [], r"its model\(\) returns a Linear"),
    ],
)
def test_11_a_task_of_ones_own_is_refused_before_it_trains(name: str, more: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        rnndrop.run([*TINY, f"task=mine_eleven:{name}", *more, "output=rr"])
    assert not Path("rr").exists()


@pytest.mark.usefixtures("own_task")
def test_11_a_sweep_asks_a_task_about_each_of_its_settings() -> None:
    with pytest.raises(RequestError, match="not this loss"):
        rnndrop.sweep([*TINY, "task=mine_eleven:Picky", "trainer.loss=mean,sum_time", "output=rr"])
    assert not Path("rr").exists()


@pytest.mark.usefixtures("own_task")
def test_11_weights_that_lie_transposed_are_kept() -> None:
    record = rnndrop.run([*SMALL, "task=mine_eleven:Transposed", "output=rr"])
    assert record.status == "finished", record.error
    assert rnndrop.load(f"rr/{record.run_id}/seed-0").model


def test_11_a_corpus_whose_fingerprint_has_no_name_is_reported(tmp_path: Path) -> None:
    write_run(tmp_path, ["dropout=none"], 1, 100.0, data={"level": "word", "sha256": "ab" * 32})
    (name,) = rnndrop.load_runs(tmp_path)["data"]
    assert name == compose([]).data.name


def test_11_a_run_that_other_code_began_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    older = {**environment.code(), "torch": "2.0", "git_revision": "ab" * 20}
    with monkeypatch.context() as before:
        before.setattr(environment, "code", lambda: older)
        with pytest.raises(Interrupted):
            rnndrop.run([*TINY, "output=rr"], StopAfter(7))
    record = rnndrop.run([*TINY, "output=rr"])
    assert record.environment["earlier"] == [{"torch": "2.0", "git_revision": "ab" * 20}]
    assert record.environment["torch"] == str(torch.__version__)
    assert "begun by another version and resumed: 1 run (environment.earlier)" in caveats(rnndrop.load_runs("rr"))


def test_11_a_record_names_the_code_that_ran_whatever_lies_there_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Pulls(RunObserver):
        def started(self, outline: Outline) -> None:
            monkeypatch.setattr(environment, "git_revision", lambda: ("cd" * 20, False))

    monkeypatch.chdir(tmp_path)
    environment.code.cache_clear()
    monkeypatch.setattr(environment, "git_revision", lambda: ("ab" * 20, False))
    record = rnndrop.run([*TINY, "output=rr"], Pulls())
    environment.code.cache_clear()
    assert record.environment["git_revision"] == "ab" * 20
