"""What decisions, ablations and searches say: of the look it follows from, of one corpus, of the seeds asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rnndrop.config.compose import compose
from rnndrop.decisions.document import SCHEMA, Decision, entries, paths
from rnndrop.decisions.race import DIVERGED, Rule, race
from rnndrop.decisions.words import sentences
from rnndrop.errors import RequestError
from rnndrop.sweeps.ablation import effects, rows
from rnndrop.sweeps.contest import contest
from rnndrop.sweeps.tuning import search, winner
from rnndrop.sweeps.variance import finished, sources
from tests.conftest import Command
from tests.invented import write_run

NAMES = "ABCD"


def decided(scores: np.ndarray, rule: Rule | None = None) -> Decision:
    """What is recorded of a race between so many plans."""
    seeds, found = list(range(len(scores))), np.where(np.isinf(scores), DIVERGED, scores).tolist()
    names = NAMES[: scores.shape[1]]
    came = race(rule or Rule(), seeds, found, len(names))
    tests = [[None if value == DIVERGED else float(np.exp(value)) for value in row] for row in found]
    own = entries([(name, name * 16, []) for name in names], tests, came)
    return Decision(
        SCHEMA, "0" * 16, "test_perplexity", rule or Rule(), seeds, own, came.looks, came.verdict, came.best
    )


@pytest.mark.parametrize("dice", range(6))
def test_of_three_equal_ones_all_is_said_of_the_last_look(dice: int) -> None:
    """Also of whoever leads there, who was compared with another before, with less evidence."""
    found = decided(5 + 0.002 * np.random.default_rng(dice).standard_normal((40, 3)))
    first, *lines = sentences(found)
    last, number = found.looks[-1], len(found.looks)
    leader = NAMES[last.pairs[0].against]
    others = " and ".join(name for name in NAMES[:3] if name != leader)  # nobody compared them with one another
    assert found.verdict == "equal" and first.startswith(
        f"✓ {others} are each equal to {leader}, which leads, within 1 %"
    )
    assert [line[:32] for line in lines] == [
        f"{name} is equal within the margin to {leader}"[:32] for name in NAMES[:3] if name != leader
    ]
    assert all(line.endswith(f", {number} seeds") for line in lines)


def test_who_is_out_is_not_among_those_that_are_undecided() -> None:
    """A and B are near each other, C is worse, and D diverges."""
    scores = 5 + np.array([0, 0.004, 0.3, 0]) + 0.02 * np.random.default_rng(3).standard_normal((20, 4))
    scores[2:, 3] = np.inf
    found = decided(scores)
    first, *lines = sentences(found)
    assert first.startswith("? undecided between A and B: test perplexity, 20 seeds")
    (worse,) = [line for line in lines if line.startswith("C is worse than ")]
    seeds = next(number for number, look in enumerate(found.looks, 1) if 2 in look.out)
    assert worse.endswith(f", {seeds} seeds")
    (open_,) = [line for line in lines if " is not distinguished from " in line]
    pair = found.looks[-1].pairs[0]
    assert open_.endswith(
        f", E {np.exp(pair.ln_e):.3g} for a difference,"
        f" {np.exp(min(pair.ln_e_above, pair.ln_e_below)):.3g} for equality, 20 seeds"
    )
    assert "D diverged at seed 2 and is out; alpha does not cover this" in lines and len(lines) == 3


def test_no_claim_of_one_that_diverged_is_made_by_the_verdict() -> None:
    scores = 5 + np.array([0, 0.3, 0]) + 0.02 * np.random.default_rng(3).standard_normal((20, 3))
    scores[1:, 2] = np.inf
    found = decided(scores)
    assert (found.verdict, found.best) == ("better", 0)
    assert sentences(found)[0].startswith("✓ A is better than all others that did not diverge: ")
    scores[1:, :] = np.inf
    scores[1:, 0] = 5
    assert sentences(decided(scores))[0].startswith("? undecided, A alone is left: ")


def test_the_sides_of_the_margin_are_those_that_are_tested() -> None:
    rule = Rule(margin=float(np.log(1.5)))
    found = decided(5 + 0.1 * np.random.default_rng(0).standard_normal((20, 2)), rule)
    assert "against −33.33 % or less" in sentences(found)[0] and "against +50.00 % or more" in sentences(found)[0]


def test_how_many_of_the_given_seeds_are_used_is_no_part_of_the_question(rnndrop: Command, tmp_path: Path) -> None:
    plans, dice = ("dropout=none", "dropout=naive"), np.random.default_rng(3)
    for seed in range(12):
        for plan in plans:
            write_run(tmp_path / "results/runs", [plan], seed, float(np.exp(5 + 0.02 * dice.standard_normal())))
    request = ["decide", "dropout=none,naive", "seed=range(12)", "--max-seeds"]
    assert "undecided" in rnndrop(*request, "8").stdout and "undecided" in rnndrop(*request, "12").stdout
    (path,) = paths(tmp_path / "results/runs")
    assert len(json.loads(path.read_text())["looks"]) == 12
    refused = rnndrop(*request, "8")
    assert refused.returncode == 2 and "--max-seeds 12" in refused.stderr


@pytest.mark.parametrize(("pilot", "std"), [("0.6%,4.9%", 4.94), ("20%,20%", 28.28), ("0,1.2", 120.0)])
def test_a_pilot_is_the_std_of_ln_score(rnndrop: Command, pilot: str, std: float) -> None:
    done = rnndrop("decide", "dropout=none,naive", "--plan-only", "--pilot", pilot)
    assert done.stdout.startswith(f"std of the differences {std:.2f} % (from --pilot)"), done.stderr


@pytest.mark.parametrize("pilot", ["0,0", "1%", "a,b", "1%,2%,3%"])
def test_what_is_no_pilot_is_named(rnndrop: Command, pilot: str) -> None:
    done = rnndrop("decide", "dropout=none,naive", "--plan-only", "--pilot", pilot)
    assert done.returncode == 2 and done.stderr.startswith(f"--pilot {pilot}: give the std of ln score")


@pytest.mark.parametrize("seeds", ["seed=4,5", "+seed=4,5", "++seed=4,5"])
def test_the_seeds_asked_for_are_the_seeds(seeds: str) -> None:
    asked = ["dropout=naive", seeds]
    (table, *_), (source, *_) = rows("naive", "drop", [seeds]), sources(asked)
    (trial,) = contest([*asked, "model.hidden=10,20"], Rule(alpha=0.5), 9).seeds[:1]
    assert [job.config.seed for job in table.jobs] == [job.config.seed for job in source.jobs] == [4, 5]
    assert trial == 4


def test_two_plans_are_not_one_ablation() -> None:
    with pytest.raises(RequestError, match="dropout=variational: the plan is naive already"):
        rows("naive", "drop", ["dropout=variational"])


def test_an_ablation_is_in_the_order_of_what_it_shows(tmp_path: Path) -> None:
    """One seed of the whole plan is far off, so that means and geometric means rank the variants differently."""
    output = f"output={tmp_path}"
    table = rows("locked", "drop", [output, "seed=0,1,2"])
    for row, tests in zip(table, ([100, 102, 400], [190, 191, 192], [110, 112, 300], [99, 100, 101]), strict=True):
        for job, test in zip(row.jobs, tests, strict=True):
            write_run(tmp_path, job.overrides, job.config.seed, test)
    found = effects(rows("locked", "drop", [output, "seed=0,1,2"]), "drop")[1:]
    shown = [effect.percent for effect in found if effect.percent is not None]
    assert len(shown) == 3 and shown == sorted(shown, reverse=True)


def elsewhere(folder: Path, overrides: Sequence[str], seeds: Sequence[int]) -> None:
    """Finished runs, of which the last has seen another corpus."""
    for seed in seeds:
        other = {"data": {"name": "synthetic", "level": "word", "sha256": "c" * 64}} if seed == seeds[-1] else {}
        write_run(folder, overrides, seed, 100.0 + seed, **other)


def test_scores_on_different_data_are_compared_nowhere(tmp_path: Path) -> None:
    """The run id of a corpus that is made anew, as `pydoc`, does not tell them apart."""
    output, said = f"output={tmp_path}", "saw different data, so their scores have no common ranking"
    elsewhere(tmp_path, ["dropout=embedding"], [0, 1])
    table = rows("embedding", "drop", [output, "seed=0,1"])
    with pytest.raises(RequestError, match=said):
        effects(table, "drop")
    with pytest.raises(RequestError, match=said):
        finished(sources(["dropout=embedding", output, "seed=0,1"]))
    with pytest.raises(RequestError, match=said):
        winner(dict(enumerate(table[0].jobs)))
    write_run(tmp_path, ["dropout=none"], 0, 100.0)
    with pytest.raises(RequestError, match=said):
        contest(["dropout=none,embedding", output], Rule(), 4).spread()


def test_the_best_of_plans_on_different_data_are_not_measured(tmp_path: Path) -> None:
    asked = ["dropout=naive,locked", "rate_factor=0.5,1", f"output={tmp_path}", "seed=0"]
    for trial in search(asked, 2, 2).trials:
        other = {"data": {"name": "synthetic", "level": "word", "sha256": "c" * 64}}
        write_run(tmp_path, trial.job.overrides, 0, 100.0, **(other if "locked" in trial.job.name else {}))
    with pytest.raises(RequestError, match="saw different data"):
        search(asked, 2, 2).measure()


def test_ratings_that_are_all_the_same_are_refused_whatever_they_are(tmp_path: Path) -> None:
    """Also where their mean is not the number itself, by rounding."""
    from rnndrop.runs.loading import load_corpus

    for rating in ("0.7", "0.1", "3.3", "4.0"):
        (tmp_path / rating).write_text("".join(f"{rating}\ta good film number {i}\n" for i in range(100)))
        config = compose(["task=sentiment", "data=reviews", f"data.file={tmp_path / rating}"])
        with pytest.raises(RequestError, match=f"all training ratings are {float(rating):g}"):
            load_corpus(config.data)
