"""The low-data ablation: ten plans on the first 100,000 tokens of the Penn Treebank, rates searched equally.

    python scripts/low_data.py --jobs 2 data.root=FOLDER output=RUNS

The search is the same for every plan: the rates of `conf/dropout/PLAN.yaml` × 0.5 and 1, seed 0, and the factor
with the lowest valid perplexity is trained with the other seeds. The test set has no part in it. `none` has nothing to
search. The learning rate and all else are the same for all. Given again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from rnndrop.cli.sweep import Options, run_all

from rnndrop.compose import compose
from rnndrop.sweep import Job, jobs_of

PLANS = (
    "none", "naive", "variational", "variational_untied", "variational_weight",
    "dropconnect", "locked", "embedding", "zoneout", "awd",
)  # fmt: skip
FACTORS = (0.5, 1.0)
SEEDS = (0, 1, 2)
SETTINGS = [
    "data=ptb", "data.train_tokens=100000", "model=small", "trainer.threads=1", "trainer.window=20",
    "trainer.epochs=12", "trainer.patience=3",
    "trainer.learning_rate=0.003", "trainer.decay=1.25", "trainer.decay_after=6",
]  # fmt: skip


def main() -> None:
    """Search with the first seed, then train the winners with the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="for every run: data.root=, output=, …")
    given = parser.parse_args()
    common = [*SETTINGS, *given.overrides]
    tried = {plan: jobs_of([[*common, "seed=0", *rates] for rates in candidates(plan)]) for plan in PLANS}
    options = Options(jobs=given.jobs)
    run_all([job for jobs in tried.values() for job in jobs], options)
    seeds = [f"seed={seed}" for seed in SEEDS[1:]]
    winners = [best(jobs) for jobs in tried.values()]
    run_all(
        jobs_of([[seed if o == "seed=0" else o for o in job.overrides] for seed in seeds for job in winners]), options
    )


def candidates(plan: str) -> list[list[str]]:
    """The overrides of a plan's search: one list for each factor."""
    rules = compose([f"dropout={plan}"]).dropout.model_dump(exclude={"name"})
    rates = {location: rule["p"] for location, rule in rules.items() if rule["p"]}
    scaled = [[f"dropout.{place}.p={round(p * factor, 4)}" for place, p in rates.items()] for factor in FACTORS]
    return [[f"dropout={plan}", *each] for each in scaled] if rates else [[f"dropout={plan}"]]


def best(jobs: list[Job]) -> Job:
    """The run with the lowest valid perplexity."""
    return min(jobs, key=lambda job: job.record.metrics["valid_perplexity"] if job.record else float("inf"))


if __name__ == "__main__":
    main()
