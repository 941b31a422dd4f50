"""task=sentiment from overrides to record: it learns, padding changes nothing, RMSE is what one computes by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import former_id, run_id
from rnndrop.data.reviews import Chunks, Reviews
from rnndrop.dropout.masks import draw_masks
from rnndrop.errors import RequestError
from rnndrop.evaluation import ratings
from rnndrop.models.regressor import Regressor
from rnndrop.runs.loading import load_corpus
from rnndrop.runs.reevaluate import evaluate
from rnndrop.runs.signals import Interrupted
from rnndrop.store import records
from rnndrop.store.progress import RunObserver
from rnndrop.tasks.sentiment import TASK
from rnndrop.training.regularizers import divergence
from tests.reviews import SMALL, write
from tests.runs.test_resume import StopAt, essence, folder_of

PLANS = ["none", "naive", "variational", "zoneout", "awd"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*SMALL, f"data.file={write(tmp_path_factory.mktemp('reviews') / 'reviews.tsv')}"]


def model_of(overrides: list[str]) -> tuple[Regressor, Reviews, rnndrop.config.schema.Config]:
    config = compose(overrides)
    data, _ = load_corpus(config.data)
    model = TASK.build(config, data, torch.device("cpu"))
    assert isinstance(model, Regressor) and isinstance(data, Reviews)
    return model, data, config


def wider(chunks: Chunks, filler: int) -> Chunks:
    """The same chunks with more padding, of another token."""
    tokens = np.pad(chunks.tokens, ((0, 0), (0, 7)))
    tokens[np.arange(tokens.shape[1]) >= chunks.lengths[:, None]] = filler
    return Chunks(tokens, chunks.lengths, chunks.ratings, chunks.review)


def test_learned_noise_is_the_bound_of_a_gaussian_of_variance_one_half(small: list[str]) -> None:
    """-ELBO/N = mean of -ln N(y; f, 1/2) + KL/N; its constant ln(π)/2 is not in the objective."""
    asked = ["dropout.weight_hh.kind=dropconnect", "dropout.weight_hh.p=0.3", "dropout.weight_hh.noise=bayes"]
    model, data, config = model_of([*small, "dropout=none", *asked])
    batches = TASK.steps(model, config, data, torch.Generator().manual_seed(3))
    batches.begin(1)
    step = batches.take(0)
    rows = batches.order[: config.trainer.batch_size]
    lengths = batches.lengths[rows]
    tokens = batches.inputs[rows, : int(lengths.max())].t()
    again = torch.Generator().manual_seed(3)
    masks = draw_masks(config.plan, model.sizes, len(tokens), len(rows), again, held=model.held)
    likelihood = torch.distributions.Normal(model.predict(tokens, lengths, masks), 0.5**0.5)
    noise = divergence(model, config.plan, masks) / len(data.train)
    expected = -likelihood.log_prob(batches.targets[rows]).mean() + noise - math.log(math.pi) / 2
    assert step.objective.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dropout", PLANS)
def test_padding_changes_nothing(small: list[str], dropout: str, cell: str) -> None:
    """Neither its length nor what stands in it: predictions, and gradients under masks without a time axis."""
    model, data, config = model_of([*small, f"dropout={dropout}", f"model.cell={cell}"])
    tokens, lengths = torch.tensor(data.test.tokens).t(), torch.tensor(data.test.lengths)
    longer = torch.tensor(wider(data.test, 5).tokens).t()
    predictions, gradients = [], []
    for each in (tokens, longer):
        masks = draw_masks(config.plan, model.sizes, 1, len(lengths), torch.Generator().manual_seed(1))
        predicted = model.predict(each, lengths, masks)
        model.zero_grad()
        predicted.square().sum().backward()  # type: ignore[no-untyped-call]
        predictions.append(predicted.detach())
        gradients.append([p.grad.to_dense() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*predictions)
    torch.testing.assert_close(*gradients)
    alone = ratings.deterministic(model, config.plan, data, "test", config.evaluation)
    both = ratings.deterministic(model, config.plan, replace(data, test=wider(data.test, 5)), "test", config.evaluation)
    np.testing.assert_allclose(alone, both, rtol=1e-6)


def test_a_chunk_gets_the_same_rating_in_whatever_company(small: list[str]) -> None:
    model, data, config = model_of(small)
    together, single = (
        ratings.deterministic(
            model, config.plan, data, "test", config.evaluation.model_copy(update={"batch_size": size})
        )
        for size in (100, 1)
    )
    np.testing.assert_allclose(together, single, rtol=1e-5)


def test_what_is_recorded_is_the_rmse_in_units_of_the_ratings(small: list[str], tmp_path: Path) -> None:
    request = [*small, f"output={tmp_path}", "dropout=variational"]
    record = rnndrop.run(request)
    folder = folder_of(request)
    assert record.status == "finished", record.error
    model, data, config = model_of(request)
    model.load_state_dict(load_file(folder / records.WEIGHTS))
    nothing = draw_masks(compose(small).plan, model.sizes, 1, 1, torch.Generator())
    for split in ("train", "valid", "test"):
        chunks = data.split(split)
        errors = []
        for words, length, rating in zip(chunks.tokens, chunks.lengths, chunks.ratings, strict=True):
            with torch.no_grad():
                h, _ = model.features(torch.tensor(words[:length, None]), model.initial_state(1), nothing)
                standardised = float((h[-1, 0] * model.decoder[0]).sum() + model.decoder_bias)  # type: ignore[index]
            ratings = data.train.ratings
            errors.append(standardised * ratings.std() + ratings.mean() - rating)
        by_hand = np.sqrt(np.mean(np.square(errors)))
        assert record.metrics[f"{split}_rmse"] == pytest.approx(by_hand, rel=1e-5)
    assert config.task == "sentiment" and record.model["parameters"] == sum(p.numel() for p in model.parameters())
    rows = records.read_history(folder)
    assert min(row["valid_rmse"] for row in rows) == record.metrics["valid_rmse"]
    assert rows[0]["tokens"] == data.train.lengths.sum() == record.data["train_tokens"]


def test_the_first_loss_is_that_of_a_mean_rating(small: list[str]) -> None:
    """With all weights zero the model says the mean rating, so train RMSE is the ratings' standard deviation."""
    model, data, config = model_of([*small, "trainer.epochs=1", "trainer.learning_rate=1e-30"])
    training = TASK.training(config, data, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    training.run(lambda: 1.0, RunObserver())
    assert training.history[0]["train_rmse"] == pytest.approx(data.train.ratings.std(), rel=1e-5)


@pytest.mark.parametrize("dropout", ["none", "variational"])
@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_the_model_learns_what_can_be_learnt(small: list[str], tmp_path: Path, dropout: str, model: str) -> None:
    path = write(tmp_path / "many.tsv", 400)
    rates = [f"dropout.{place}.p=0.1" for place in ("embedding", "input", "recurrent", "output")]
    request = [*small, f"data.file={path}", "data.chunk_tokens=40", f"model={model}", f"dropout={dropout}",
               "trainer.epochs=15", "trainer.patience=15", "trainer.learning_rate=0.01", f"output={tmp_path}",
               *(rates if dropout != "none" else [])]  # fmt: skip
    record = rnndrop.run(request)
    _, data, _ = model_of(request)
    assert record.metrics["test_rmse"] < 0.6 * data.test.ratings.std()


def test_monte_carlo_draws_passes_and_is_reached_by_eval_too(small: list[str], tmp_path: Path) -> None:
    request = [*small, "dropout=naive", f"output={tmp_path / 'one'}"]
    with_mc = rnndrop.run([*request, "evaluation.mc.samples=3"])
    rnndrop.run(request)
    later = evaluate(folder_of(request), ["evaluation.mc.samples=3"])
    for split in ("valid", "test"):
        value = with_mc.metrics[f"{split}_rmse_mc"]
        assert value == later.metrics[f"{split}_rmse_mc"] != with_mc.metrics[f"{split}_rmse"]
        assert with_mc.metrics[f"{split}_rmse_mc_stderr"] > 0
    model, data, config = model_of([*request, "evaluation.mc.samples=2"])
    model.load_state_dict(load_file(folder_of(request) / records.WEIGHTS))

    def sampled(samples: int, seed: int) -> np.ndarray:
        one = config.evaluation.mc.model_copy(update={"samples": samples})
        settings = config.evaluation.model_copy(update={"mc": one, "batch_size": 1000})
        return ratings.monte_carlo(model, config.plan, data, "test", settings, torch.Generator().manual_seed(seed))

    generator = torch.Generator().manual_seed(4)
    one = config.evaluation.mc.model_copy(update={"samples": 1})
    settings = config.evaluation.model_copy(update={"mc": one, "batch_size": 1000})
    singles = [ratings.monte_carlo(model, config.plan, data, "test", settings, generator) for _ in range(2)]
    np.testing.assert_allclose(sampled(2, 4), np.concatenate(singles))


@pytest.mark.parametrize("plan", ["naive", "variational"])
def test_stopped_three_times_same_record(small: list[str], tmp_path: Path, plan: str) -> None:
    whole, parts = ([*small, f"dropout={plan}", f"output={tmp_path / name}"] for name in ("whole", "parts"))
    rnndrop.run(whole)
    steps = -(-load_corpus(compose(small).data)[1]["train_chunks"] // 16)
    watch = StopAt(2, steps, steps + 2)
    for _ in range(3):
        with pytest.raises(Interrupted):
            rnndrop.run(parts, watch)
    final = rnndrop.run(parts, watch)
    assert final.timing["resumed_from_steps"] == [2, steps, steps + 2]
    assert essence(folder_of(parts)) == essence(folder_of(whole))


def test_same_seed_same_record_and_every_kind_at_p_0_is_none(small: list[str], tmp_path: Path) -> None:
    zero = [f"dropout.{place}.p=0" for place in ("embedding", "input", "hidden", "recurrent", "output")]
    one, two, none, other = (
        rnndrop.run([*small, f"output={tmp_path / name}", *more])
        for name, more in {
            "one": ["dropout=variational"],
            "two": ["dropout=variational"],
            "none": ["dropout=none"],
            "other": ["dropout=none", "seed=1"],
        }.items()
    )
    assert one.metrics == two.metrics != none.metrics
    assert other.metrics != none.metrics and other.run_id == none.run_id
    assert rnndrop.run([*small, f"output={tmp_path}", "dropout=variational", *zero]).metrics == none.metrics


def test_a_diverged_run_says_when(small: list[str], tmp_path: Path) -> None:
    wild = ["trainer.optimizer=sgd", "trainer.learning_rate=1e4", "trainer.clip=null"]
    record = rnndrop.run([*small, f"output={tmp_path}", *wild])
    assert record.status == "diverged" and "variances" in (record.error or "")


def test_ids_of_language_models_are_what_they_were() -> None:
    assert former_id(compose(["experiment=zaremba_small"])) == "87790256"
    assert run_id(compose(["task=sentiment"])) != run_id(compose(["task=sentiment", "data.split_by=chunk"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=sentiment", "data=ptb"], "data=ptb is for task=language_model"),
        (["data=movie_reviews"], "data=movie_reviews is for task=sentiment"),
        (["task=sentiment", "model.tie_weights=true"], "tie_weights has no meaning"),
        (["task=sentiment", "dropout.weight_decoder.kind=dropconnect", "dropout.weight_decoder.p=.5"], "one number"),
        (["task=sentiment", "data.train_tokens=1000"], "train_tokens"),
        (["task=sentiment", "evaluation=temperature"], "evaluation.temperature.tune has no meaning"),
        (["task=sentiment", "evaluation.mc.power=0"], "evaluation.mc.power has no meaning"),
        (["task=sentiment", "evaluation.mc.temperature=.5"], "evaluation.mc.temperature has no meaning"),
        (["task=sentiment", "data.split_by=critic"], "split_by=critic"),
        (["task=sentiment", "data.split_by=null"], r"data\.split_by=null: "),
        (["task=sentiments"], "Did you mean 'sentiment'"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose(overrides)


def test_the_task_brings_its_settings_and_choices_still_win() -> None:
    config = compose(["task=sentiment", "dropout=variational"])
    assert (config.model.hidden, config.model.layers, config.model.embedding) == (128, 1, 128)
    assert {rule.p for rule in config.plan.active} == {0.5}
    assert compose(["task=sentiment", "dropout=variational", "dropout.recurrent.p=0.1"]).plan["recurrent"].p == 0.1
    assert compose(["task=sentiment", "model=[gru,medium]"]).model.hidden == 650
    assert compose(["task=sentiment", "model=[gru,medium]"]).model.cell == "gru"
