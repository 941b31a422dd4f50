"""Numbers that were wrong: means of masks, Monte-Carlo scores, precision, names of weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.config.schema import EvaluationSettings
from rnndrop.dropout.functional import locked_dropout
from rnndrop.dropout.masks import LayerMasks, MemoryMask, draw, draw_masks, evaluation_masks
from rnndrop.dropout.modules import EmbeddingDropout, LockedDropout, WeightDrop
from rnndrop.dropout.noises import drawn_rate
from rnndrop.dropout.plan import plan
from rnndrop.dropout.rule import rule
from rnndrop.errors import RequestError
from rnndrop.evaluation.monte_carlo import monte_carlo
from rnndrop.evaluation.perplexity import perplexity
from rnndrop.evaluation.ratings import of_mean, rmse
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops import matmul
from rnndrop.recurrent import engine
from rnndrop.recurrent.engine import run_layer
from rnndrop.recurrent.weights import LayerWeights
from rnndrop.runs import environment, reevaluate
from rnndrop.stats import Estimate
from rnndrop.store import records
from tests.conftest import TINY

H = 6


def layer(gates: int, width_in: int = 3) -> LayerWeights:
    generator = torch.Generator().manual_seed(1)
    shapes = [(gates * H, width_in), (gates * H, H), (gates * H,), (gates * H,)]
    return LayerWeights(*(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes))


def of_all_masks(cell: str, place: str, x: Tensor, noise: str = "bernoulli") -> tuple[Tensor, Tensor]:
    """What is read of h (H,) after a first step, its mean over masks at `place`, and without masks."""
    gates, memories = {"lstm": (4, 2), "gru": (3, 1), "rnn": (1, 1)}[cell]
    if noise == "bernoulli":  # p = .5: every mask is as probable as any other
        values = 2.0 * torch.tensor(list(itertools.product([0, 1], repeat=H)), dtype=torch.float64)[None]
    else:  # 1 + d and 1 - d, of the variance at p = .5
        values = 1 + torch.tensor(list(itertools.product([-1, 1], repeat=H)), dtype=torch.float64)[None] * 0.999
    batch = values.shape[1]
    start = tuple(torch.full((batch, H), 0.7, dtype=torch.float64) for _ in range(memories))
    masks = LayerMasks(**{place: MemoryMask(values, previous=False)})
    inputs = x.expand(1, batch, -1)
    masked, plain = (run_layer(cell, inputs, start, layer(gates), each)[0][0] for each in (masks, LayerMasks()))
    return masked.mean(0), plain[0]


@pytest.mark.parametrize("noise", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("place", ["cell", "state"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_2_1_training_reads_on_average_what_evaluation_reads(cell: str, place: str, noise: str) -> None:
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    mean, evaluated = of_all_masks(cell, place, x, noise)
    torch.testing.assert_close(mean, evaluated, rtol=1e-12, atol=1e-12)


def test_2_1_rnndrop_scales_h_after_the_tanh_and_carries_no_scale() -> None:
    """An LSTM that just remembers c = 3 under the mask 0, 2, 4."""
    width, steps = 3, 50
    bias = torch.tensor([-40.0, 40.0, 0.0, 40.0], dtype=torch.float64).repeat_interleave(width)  # i f g o
    zeros = [torch.zeros(4 * width, n, dtype=torch.float64) for n in (1, width)]
    weights = LayerWeights(zeros[0], zeros[1], bias, 0 * bias)
    mask = MemoryMask(torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64).view(1, 1, -1), previous=False)
    start = (torch.zeros(1, width, dtype=torch.float64), torch.full((1, width), 3.0, dtype=torch.float64))
    read, (h, c) = run_layer(
        "lstm", torch.zeros(steps, 1, 1, dtype=torch.float64), start, weights, LayerMasks(cell=mask)
    )
    tanh = math.tanh(3)
    torch.testing.assert_close(read[-1, 0], torch.tensor([0.0, 2 * tanh, 4 * tanh], dtype=torch.float64))
    torch.testing.assert_close(h[0], torch.tensor([0.0, tanh, tanh], dtype=torch.float64))
    torch.testing.assert_close(c[0], torch.tensor([0.0, 3.0, 3.0], dtype=torch.float64))


def test_2_1_a_constant_mask_on_c_is_the_same_mask_on_h() -> None:
    """tanh(0) = 0. In a GRU and an Elman network the two locations are one; an LSTM hands another c on."""
    for cell, gates, memories in (("lstm", 4, 2), ("gru", 3, 1), ("rnn", 1, 1)):
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(9, 4, 3, generator=generator, dtype=torch.float64)
        mask = MemoryMask(2.0 * torch.randint(2, (1, 4, H), generator=generator).double(), previous=False)
        start = tuple(torch.zeros(4, H, dtype=torch.float64) for _ in range(memories))
        on_c, on_h = (run_layer(cell, x, start, layer(gates), LayerMasks(**{at: mask})) for at in ("cell", "state"))
        torch.testing.assert_close(on_c[0], on_h[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(on_c[1][0], on_h[1][0], rtol=1e-12, atol=1e-12)


def test_2_1_what_zoneout_holds_is_read_with_the_scale_of_what_is_new() -> None:
    """The previous h of kept units stands where the state is held: scaled as it was read before."""
    for cell, gates in (("lstm", 4), ("gru", 3), ("rnn", 1)):
        start = tuple(torch.full((1, H), 0.7, dtype=torch.float64) for _ in range(2 if cell == "lstm" else 1))
        held = MemoryMask(torch.ones(1, 1, H, dtype=torch.float64), previous=True)
        double = MemoryMask(torch.full((1, 1, H), 2.0, dtype=torch.float64), previous=False)
        masks = LayerMasks(cell=double, state=held)
        read, (h, *_) = run_layer(cell, torch.ones(3, 1, 3, dtype=torch.float64), start, layer(gates), masks)
        torch.testing.assert_close(read, torch.full_like(read, 1.4))
        torch.testing.assert_close(h, start[0])


WORDS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[rnndrop.config.schema.Config, LanguageModel, np.ndarray]:
    """A small variational model and its valid stream; Monte-Carlo evaluation draws masks every five tokens."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(0)
    after = random.dirichlet([0.1] * WORDS, size=WORDS)
    words = [0]
    for _ in range(5000):
        words.append(random.choice(WORDS, p=after[words[-1]]))
    lines = (" ".join(f"w{word}" for word in words[i : i + 20]) for i in range(0, len(words), 20))
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    rates = [f"dropout.{place}.p=0.6" for place in ("input", "recurrent", "output")]
    request = ["data=text", f"data.file={folder}/text.txt", "model.hidden=32", "model.layers=1", "dropout=variational",
               *rates, "trainer.epochs=4", "trainer.batch_size=5", "trainer.learning_rate=0.03", "trainer.device=cpu",
               "trainer.threads=1", f"output={folder}"]  # fmt: skip
    record = rnndrop.run(request)
    _, config, model, corpus = reevaluate.load(records.run_folder(folder, record.run_id, 0))
    assert isinstance(model, LanguageModel)
    return config, model, corpus.valid[:601]


def sampling(config: rnndrop.config.schema.Config, samples: int) -> EvaluationSettings:
    mc = config.evaluation.mc.model_copy(update={"samples": samples, "masks": "window"})
    return config.evaluation.model_copy(update={"mc": mc, "window": 5})


def test_2_4_ten_samples_are_as_a_thousand_within_their_error(
    trained: tuple[rnndrop.config.schema.Config, LanguageModel, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model, tokens = trained
    plain = []
    summarise = rnndrop.evaluation.monte_carlo.summarise

    def both(nll: np.ndarray) -> Estimate:
        lowest = nll.min(axis=0).astype(float)
        plain.append(perplexity(lowest - np.log(np.exp(lowest - nll).mean(axis=0))))
        return summarise(nll)

    monkeypatch.setattr(rnndrop.evaluation.monte_carlo, "summarise", both)

    def estimate(samples: int, seed: int) -> Estimate:
        generator = torch.Generator().manual_seed(seed)
        return monte_carlo(model, config.plan, tokens, sampling(config, samples), generator)

    results = [estimate(10, seed) for seed in range(20)]
    uncorrected = np.array(plain)
    truth = estimate(1000, 1000)

    def distance(values: np.ndarray) -> float:
        error = math.hypot(values.std(ddof=1) / math.sqrt(len(values)), truth.standard_error)
        return float(values.mean() - truth.value) / error

    values = np.array([result.value for result in results])
    assert abs(distance(values)) < 3
    assert distance(uncorrected) > 4
    claimed = np.mean([result.standard_error for result in results])
    assert 0.6 < values.std(ddof=1) / claimed < 1.6


def test_2_4_rmse_of_few_passes_is_that_of_many() -> None:
    random = np.random.default_rng(1)
    ratings, expected = random.normal(size=50), random.normal(size=50)
    truth = rmse(expected, ratings)
    few = [of_mean(expected + random.normal(scale=2, size=(3, 50)), ratings) for _ in range(2000)]
    squares = np.array([each.value**2 for each in few])
    assert abs(squares.mean() - truth**2) < 4 * squares.std() / math.sqrt(len(few))
    errors = np.mean([each.standard_error for each in few])
    assert 0.6 < np.std([each.value for each in few]) / errors < 1.6
    one = of_mean(expected[None], ratings)
    assert one.value == pytest.approx(truth) and math.isnan(one.standard_error)


@pytest.mark.parametrize(("samples", "estimator"), [(1, "mean"), (3, "jackknife")])
def test_2_5_a_record_names_the_estimator_of_its_monte_carlo_scores(
    tmp_path: Path, samples: int, estimator: str
) -> None:
    mc = f"evaluation.mc.samples={samples}"
    record = rnndrop.run([*TINY, "trainer.epochs=1", "dropout=variational", mc, f"output={tmp_path}"])
    assert record.metrics["mc"] == {
        "samples": samples, "masks": "pass", "embedding": False, "estimator": estimator
    }  # fmt: skip
    assert (record.metrics["test_perplexity_mc_stderr"] is None) == (samples == 1)


def test_2_6_a_precision_that_a_cpu_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "has_bf16", lambda: False)
    for precision in ("bf16", "tf32"):
        with pytest.raises(RequestError, match=rf"trainer.precision={precision}.*Use trainer.precision=float32"):
            rnndrop.run([*TINY, f"trainer.precision={precision}", f"output={tmp_path}"])
    assert not [path for path in tmp_path.rglob("*") if path.name in (records.CONFIG, records.RECORD)]


@pytest.mark.parametrize(("capability", "refused"), [((7, 5), ["bf16", "tf32"]), ((9, 0), ["bf16"])])
def test_2_6_on_a_gpu_that_is_refused_which_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], refused: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for name in ("float32", "tf32", "bf16"):
        if name in refused:
            with pytest.raises(RequestError, match=name):
                environment.check_precision(name, torch.device("cuda"), "lstm")
        else:
            environment.check_precision(name, torch.device("cuda"), "lstm")


def computing(precision: str, threads: int | None, deterministic: bool = False) -> Any:
    given = {"precision": precision, "threads": threads, "deterministic": deterministic}
    return environment.computing(compose([]).trainer.model_copy(update=given))


def test_2_6_bf16_is_refused_where_the_steps_of_a_cell_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "has_bf16", lambda: True)
    monkeypatch.setattr(engine, "compiles", lambda cell, bf16: False)
    with pytest.raises(RequestError, match=r"trainer.precision=bf16 needs .*model.cell=lstm"):
        environment.check_precision("bf16", torch.device("cpu"), "lstm")


def test_2_6_records_of_such_runs_can_still_be_read_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "check_precision", lambda name, device, cell: None)  # as it was
    with computing("float32", None):
        record = rnndrop.run([*TINY, "trainer.epochs=1", "trainer.precision=tf32", f"output={tmp_path}"])
        monkeypatch.undo()
        assert len(rnndrop.load_runs(tmp_path)) == 1
        folder = records.run_folder(tmp_path, record.run_id, 0)
        assert "test_perplexity_mc" in reevaluate.evaluate(folder, ["evaluation.mc.samples=2"]).metrics


def test_2_10_threads_and_precision_are_as_they_were_before_a_computation() -> None:
    def now() -> tuple[int, str, bool]:
        return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = now()
    other = 1 if before[0] > 1 else 2
    with computing("tf32", other):
        assert now() == (other, "high", True)
        with computing("float32", None):
            assert now() == (other, "highest", False)
        assert now() == (other, "high", True)
    assert now() == before
    with pytest.raises(KeyboardInterrupt), computing("tf32", other):
        raise KeyboardInterrupt
    assert now() == before


def test_2_10_what_has_no_deterministic_way_fails_where_that_is_asked_for() -> None:
    x = torch.rand(8, requires_grad=True)
    assert not torch.are_deterministic_algorithms_enabled()
    with computing("float32", None, deterministic=True), pytest.raises(RuntimeError, match="deterministic"):
        torch.nn.functional.max_unpool1d(x.view(1, 8), torch.arange(8).view(1, 8), 1)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # by the program that asks
    try:
        with computing("float32", None):
            pass
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_2_10_a_deterministic_run_is_the_same_run(tmp_path: Path) -> None:
    plain, strict = (
        rnndrop.run([*TINY, "dropout=awd", f"output={tmp_path / name}", f"trainer.deterministic={name}"])
        for name in ("false", "true")
    )
    assert strict.status == "finished" and strict.run_id == plain.run_id and strict.metrics == plain.metrics


def test_2_10_one_gpu_of_several_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)

    @contextmanager
    def current(index: int) -> Iterator[None]:
        used.append(index)
        yield

    monkeypatch.setattr("torch.cuda.device", current)
    assert environment.device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(RequestError, match="torch finds 2 GPUs here, cuda:0 to cuda:1"):
        environment.device("cuda:2")
    settings = compose(["trainer.device=cuda:1"]).trainer
    assert run_id(compose(["trainer.device=cuda:1"])) == run_id(compose([]))
    with environment.computing(settings):
        assert used == [1]
    with pytest.raises(RequestError, match="or cuda:N"):
        compose(["trainer.device=cuda:one"])


def test_2_10_a_user_who_set_the_precision_of_a_library_finds_it_again() -> None:
    cudnn: Any = torch.backends.cudnn
    libraries = (torch.backends.cuda.matmul, cudnn.rnn, cudnn.conv)
    with computing("float32", None):
        for library, precision in zip(libraries, ("tf32", "tf32", "ieee"), strict=True):
            library.fp32_precision = precision
        with computing("float32", None):
            pass
        assert [library.fp32_precision for library in libraries] == ["tf32", "tf32", "ieee"]


NEAR = [0.9, 0.99, 0.999, 0.9999, 0.99999, 1 - 1e-6, 0.1, 0.01, 1e-3, 1e-5, 1e-6]


@pytest.mark.parametrize("p", NEAR)
def test_2_7_masks_near_0_and_1_keep_their_rate_and_their_mean(p: float) -> None:
    count = 1 << 22
    sizes = {"time": 1, "batch": 1, "feature": count}
    mask = draw(rule("output", "naive", p), sizes, torch.Generator().manual_seed(1), torch.float32)
    keep = drawn_rate(1 - p)
    kept = int((mask != 0).sum())
    assert keep == pytest.approx(1 - p, rel=1e-3) and 1 - keep == pytest.approx(p, rel=1e-3)
    assert abs(kept - keep * count) <= 4 * math.sqrt(keep * (1 - keep) * count) + 1
    assert float(mask.max()) * keep == pytest.approx(1, rel=1e-6) or kept == 0


@pytest.mark.parametrize("p", [1 - 1e-12, 1 - 2**-53, 1e-12, 5e-324])
def test_2_7_rates_beyond_what_is_drawn_are_drawn_at_the_nearest(p: float) -> None:
    each = rule("output", "naive", p)
    sizes = {"time": 1, "batch": 1, "feature": 1000}
    mask = draw(each, sizes, torch.Generator().manual_seed(1), torch.float32)
    assert torch.isfinite(mask).all() and 0 < drawn_rate(1 - p) < 1
    assert drawn_rate(1 - p) == (2**-32 if p > 0.5 else 1 - 2**-32)


@pytest.mark.parametrize("p", [0.3, 0.999, 1e-3, 1e-6])
def test_2_7_zoneout_is_evaluated_at_the_rate_that_is_drawn(p: float) -> None:
    model = LanguageModel(ModelSettings("lstm", 4, 1, None, False), 7)
    dropout = plan({"state": {"kind": "zoneout", "p": p}})
    mask = evaluation_masks(dropout, model.sizes, torch.Generator(), torch.float64).layers[0].state
    assert mask is not None and float(mask.values) == drawn_rate(p) == pytest.approx(p, rel=1e-3)
    generator = torch.Generator().manual_seed(3)
    drawn = draw_masks(dropout, model.sizes, 1000, 500, generator).layers[0].state
    assert drawn is not None
    held, count = float(drawn.values.sum()), drawn.values.numel()
    assert abs(held - drawn_rate(p) * count) <= 4 * math.sqrt(p * (1 - p) * count) + 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("p", [0.3, 0.9999])
def test_2_7_the_modules_keep_the_mean_in_16_bits_too(dtype: torch.dtype, p: float) -> None:
    """Of products, as 1/(1-p) has no exact value there: rounded once, and not twice the same way."""
    x = torch.rand(1, 300, 300, generator=torch.Generator().manual_seed(4)).add_(1).to(dtype)
    mask = torch.full((1, 300, 300), 1 / (1 - p))
    out = locked_dropout(x, p, mask=mask)
    assert out.dtype == dtype
    assert float(out.double().mean() * (1 - p)) == pytest.approx(float(x.double().mean()), rel=1e-4)
    dropped = LockedDropout(p)(torch.ones(1, 1000, 1000, dtype=dtype))
    assert float((dropped != 0).double().mean()) == pytest.approx(1 - p, rel=4 * math.sqrt(p / (1 - p)) / 1000)
    drop = WeightDrop(nn.Linear(30, 20, dtype=dtype), ["weight"], p)
    drop(torch.ones(2, 30, dtype=dtype)).sum().backward()
    assert drop.module.weight.grad.dtype == dtype


class Model(nn.Module):
    """Wrapped modules in a model and in a container, of one with a child and a buffer too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = EmbeddingDropout(nn.Embedding(11, 4), 0.3)
        self.rnn = WeightDrop(nn.LSTM(4, 6, 2), ["weight_hh_l0", "weight_hh_l1"], 0.4)
        normed = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
        self.top = nn.Sequential(
            WeightDrop(normed, ["0.weight"], 0.5), WeightDrop(nn.Linear(5, 3), "weight", 0.2, True)
        )

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.top(self.rnn(self.embedding(words))[0].flatten(0, 1))
        return out


class Plain(Model):
    """The same without dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = self.embedding.module, self.rnn.module  # type: ignore[assignment]
        self.top = nn.Sequential(*(part.module for part in self.top))


TEXT = torch.randint(11, (7, 5), generator=torch.Generator().manual_seed(5))


def test_2_8_every_name_is_that_of_the_state_dict() -> None:
    model, plain = Model(), Plain()
    keys = list(plain.state_dict())
    assert list(model.state_dict()) == keys
    for named in ("named_parameters", "named_buffers"):
        assert [name for name, _ in getattr(model, named)()] == [name for name, _ in getattr(plain, named)()]
        assert dict(getattr(model, named)(remove_duplicate=False)).keys() == dict(getattr(plain, named)()).keys()
    for name, parameter in model.named_parameters():
        assert model.get_parameter(name) is parameter
    for name, buffer in model.named_buffers():
        assert model.get_buffer(name) is buffer
    for path, module in model.named_modules():
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        assert set(own) <= set(keys)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == [name for name, _ in plain.named_parameters()]


@pytest.mark.parametrize("training", [True, False])
def test_2_8_functional_call_uses_the_weights_it_is_given(training: bool) -> None:
    model = Model().train(training)
    assert model(TEXT).abs().max() > 0
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    assert functional_call(model, zeros, (TEXT,)).abs().max() == 0
    given = {name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()}
    functional_call(model, given, (TEXT,)).square().sum().backward()
    assert all(weight.grad is not None for weight in given.values())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model(TEXT).abs().max() > 0  # its own are there again


def test_2_8_averages_of_weights_by_name() -> None:
    model = Model()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        average[name].lerp_(parameter.detach() + 1, 0.5)
    Plain().load_state_dict(average)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    assert list(averaged.module.state_dict()) == list(model.state_dict())
    for mine, theirs in zip(averaged.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine is not theirs


def test_2_8_distributed_checkpoints() -> None:
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    model, plain = Model(), Plain()
    optimizer = torch.optim.AdamW(model.parameters())
    model(TEXT).sum().backward()
    optimizer.step()
    weights, moments = get_state_dict(model, optimizer)
    assert list(weights) == list(plain.state_dict())
    assert list(moments["state"]) == [name for name, _ in plain.named_parameters()]
    set_state_dict(plain, torch.optim.AdamW(plain.parameters()), model_state_dict=weights, optim_state_dict=moments)
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())


def test_2_8_the_wrapped_module_is_one_of_the_modules() -> None:
    model = Model()
    visited: list[nn.Module] = []
    model.apply(visited.append)
    for kind in (nn.LSTM, nn.Embedding, nn.Linear, nn.BatchNorm1d):
        count = 2 if kind is nn.Linear else 1
        assert sum(isinstance(module, kind) for module in model.modules()) == count
        assert sum(isinstance(module, kind) for module in visited) == count
    assert not any(module.training for module in model.eval().modules())
    assert all(module.training for module in model.train().modules())


def test_2_8_what_changes_the_weights_changes_those_of_the_wrapped_module() -> None:
    model = copy.deepcopy(Model())
    assert model.double().rnn.module.weight_hh_l0.dtype == torch.float64
    assert model(TEXT).dtype == torch.float64
    model.rnn.weight_hh_l0 = nn.Parameter(torch.zeros(24, 6))
    assert model.rnn.module.weight_hh_l0 is model.rnn.get_parameter("weight_hh_l0")
    model.rnn.module = nn.LSTM(4, 6, 2)
    assert model.rnn.get_parameter("weight_hh_l0") is model.rnn.module.weight_hh_l0
    with torch.device("meta"):
        empty = Model()
    source = Model().eval()
    empty.load_state_dict(source.state_dict(), assign=True)
    assert torch.equal(empty.eval()(TEXT), source(TEXT))


def test_2_8_a_member_that_a_setting_hides_is_refused() -> None:
    with pytest.raises(ValueError, match="DataParallel has a member 'module', and so has WeightDrop"):
        WeightDrop(nn.DataParallel(nn.Linear(2, 2)), ["module.weight"], 0.5)


def test_2_8_locked_dropout_says_what_it_cannot_take() -> None:
    packed = pack_padded_sequence(torch.ones(3, 2, 4), torch.tensor([3, 2]))
    with pytest.raises(TypeError, match=r"got PackedSequence\. Drop its features before it is packed"):
        LockedDropout(0.5)(packed)
    with pytest.raises(TypeError, match="got PackedSequence"):
        LockedDropout(0.5).eval()(packed)
    with pytest.raises(TypeError, match="got tuple"):
        LockedDropout(0.5)(nn.LSTM(4, 4)(torch.ones(3, 2, 4)))
