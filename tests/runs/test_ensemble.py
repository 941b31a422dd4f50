"""Runs as an ensemble against the mean of whole distributions; what cannot be one is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnndrop
from rnndrop.dropout.masks import evaluation_masks
from rnndrop.errors import RequestError
from rnndrop.evaluation.perplexity import mean_nll, perplexity
from rnndrop.runs import reevaluate
from rnndrop.runs.ensemble import ensemble
from rnndrop.store import records
from rnndrop.store.records import run_folder
from tests.conftest import SMALL, TINY
from tests.reviews import SMALL as RATED
from tests.reviews import write


def trained(output: Path, *overrides: str) -> Path:
    record = rnndrop.run([*SMALL, *overrides, f"output={output}"])
    return run_folder(str(output), record.run_id, record.seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A seed of one configuration and one of another, which differ in model, dropout and columns too."""
    output = tmp_path_factory.mktemp("runs")
    other = ["model=gru", "model.hidden=9", "dropout=variational", "evaluation.batch_size=7", "seed=1"]
    return [trained(output), trained(output, *other)]


@torch.no_grad()
def distributions(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """p (N, V) in float64 after each token but the last of a split in the columns of the run, and what came."""
    _, config, model, corpus = reevaluate.load(folder)
    masks = evaluation_masks(config.plan, model.sizes, torch.Generator())
    weight, bias = (part.double().numpy() for part in model.decoder_weights(masks))  # type: ignore[operator]
    tokens, columns = corpus.split(split), config.evaluation.batch_size
    pairs, start, found = len(tokens) - 1, 0, []
    for column in range(columns):  # the first of them are longer by one
        length = pairs // columns + (column < pairs % columns)
        inputs = torch.from_numpy(tokens[start : start + length].astype(np.int64))[:, None]
        h, _ = model.features(inputs, model.initial_state(1), masks)
        logits = h[:, 0].double().numpy() @ weight.T + bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        found.append(p / p.sum(1, keepdims=True))
        start += length
    return np.concatenate(found), tokens[1:]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_against_the_mean_of_whole_distributions(folders: list[Path], split: str) -> None:
    found = ensemble(folders, [])
    (one, targets), (other, _) = (distributions(folder, split) for folder in folders)
    at = np.arange(len(targets)), targets
    assert [each[split] for each in found.members] == pytest.approx(
        [math.exp(-np.log(p[at]).mean()) for p in (one, other)], rel=1e-5
    )
    assert found.mean[split] == pytest.approx(math.exp(-np.log(((one + other) / 2)[at]).mean()), rel=1e-5)
    assert found.mean[split] != pytest.approx(math.exp(-np.log(np.sqrt(one * other)[at]).mean()), rel=1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_one_run_is_itself(folders: list[Path], which: int) -> None:
    found = ensemble(folders[which : which + 1], [])
    record = records.read_record(folders[which])
    assert record is not None
    recorded = {split: record.metrics[f"{split}_perplexity"] for split in ("valid", "test")}
    assert found.members == [recorded] and found.mean == recorded


def test_the_order_does_not_count_and_no_record_changes(folders: list[Path]) -> None:
    before = [(folder / records.RECORD).read_bytes() for folder in folders]
    heard: list[Path] = []
    one, other = ensemble(folders, [], heard.append), ensemble(folders[::-1], [])
    assert one.mean == pytest.approx(other.mean, rel=1e-6) and heard == folders
    assert [(folder / records.RECORD).read_bytes() for folder in folders] == before


def test_columns_can_be_set_for_all(folders: list[Path]) -> None:
    asked = ["evaluation.batch_size=1"]
    alone = [ensemble([folder], asked).mean for folder in folders]
    assert ensemble(folders, asked).members == alone != ensemble(folders, []).members


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_of_probabilities(dtype: Any) -> None:
    nll = np.random.default_rng(0).exponential(5, size=(3, 100)).astype(dtype)
    expected = -np.log(np.exp(-nll.astype(np.float64)).mean(axis=0))
    np.testing.assert_allclose(mean_nll(nll), expected, rtol=1e-6)
    assert mean_nll(nll).dtype == dtype and np.array_equal(mean_nll(nll[:1]), nll[0])
    assert perplexity(mean_nll(nll)) < perplexity(nll)  # Jensen's inequality
    assert np.isfinite(mean_nll(nll + dtype(1000))).all()


def test_what_is_no_ensemble_is_refused_by_name(folders: list[Path], tmp_path: Path) -> None:
    first = str(folders[0])
    refuse = [
        ([*folders, folders[0]], [], f"{first} is the same run as {first}"),
        (folders, ["evaluation=cache"], "cache"),
    ]
    copy = tmp_path / "copied" / folders[0].parent.name / "seed-0"
    copy.parent.mkdir(parents=True)
    copy.symlink_to(folders[0])
    refuse.append(([folders[0], copy], [], f"{copy} is the same run as {first}"))
    synthetic = trained(tmp_path, *TINY, "data=synthetic", "data.file=null")
    refuse.append(([folders[0], synthetic], [], f"{synthetic} has another corpus or vocabulary"))
    fewer = trained(tmp_path, "data.train_tokens=3000")
    refuse.append(([folders[0], fewer], [], "text: 3,000 training tokens"))
    rated = rnndrop.run([*RATED, f"data.file={write(tmp_path / 'reviews.tsv')}", f"output={tmp_path}"])
    of_reviews = run_folder(str(tmp_path), rated.run_id, 0)
    refuse.append(([folders[0], of_reviews], [], f"{of_reviews} is of task=sentiment"))
    refuse.append(([folders[0], tmp_path / "seed-9"], [], "seed-9 has not finished"))
    refuse.append((folders, ["model.hidden=3"], "model.hidden=3"))
    for runs, overrides, message in refuse:
        with pytest.raises(RequestError) as error:
            ensemble(runs, overrides)
        assert message in str(error.value) and "\n" not in str(error.value)
