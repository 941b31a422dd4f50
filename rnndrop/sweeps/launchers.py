"""Where a sweep's jobs run: worker processes here, or a cluster. Named and set as in Hydra."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from rnndrop.errors import RequestError, unknown
from rnndrop.sweeps.scheduler import Executor

LAUNCHERS = {
    "basic": "worker processes of this machine, as many as --jobs says",
    "joblib": "the same, as many as hydra.launcher.n_jobs says",
    "submitit_local": "a process of its own for each job, through submitit",
    "submitit_slurm": "Slurm, through submitit",
    "ray": "the machines of a Ray cluster",
}
QUEUES = 10_000  # jobs that a scheduler is given at once, where --jobs does not say how many


def split_launcher(overrides: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take `hydra/launcher=NAME` and `hydra.launcher.KEY=VALUE` out of the overrides: settings, the rest."""
    launcher: dict[str, str] = {}
    rest = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "hydra/launcher":
            if value not in LAUNCHERS:
                raise unknown("launcher", value, LAUNCHERS)
            launcher["name"] = value
        elif key.startswith("hydra.launcher."):
            launcher[key.removeprefix("hydra.launcher.")] = value
        else:
            rest.append(override)
    return launcher, rest


def executor(
    launcher: dict[str, str],
    jobs: int,
    cancel: Callable[[int], bool] = lambda count: True,
    gpus: int | None = None,
) -> Executor:
    """Build what `launcher` describes. Raises RequestError for a setting that it does not have.

    `cancel` is asked, when a sweep leaves, whether so many jobs of a cluster shall be cancelled. `gpus`: how many of
    this machine's the runs share; None for all that are visible.
    """
    from rnndrop.sweeps.workers import Workers, processors

    if gpus is not None and gpus < 1:
        raise RequestError(f"--gpus {gpus}: give 1 or more, or leave it out for all that are visible.")
    settings = dict(launcher)
    name = settings.pop("name", "basic")
    if name not in ("submitit_slurm", "ray"):
        _check_processes("--jobs ", jobs)
    if schedules(launcher) and gpus:
        _check_gpus(name, gpus, jobs)
    if schedules(launcher):
        return _cluster(name, settings, jobs, cancel, gpus)
    if name == "joblib" and "n_jobs" in settings:
        text = settings.pop("n_jobs")
        if not re.fullmatch("-1|[1-9][0-9]{0,8}", text):
            raise RequestError(f"hydra.launcher.n_jobs={text}: it must be a number of processes, or -1 for all.")
        jobs = int(text) if text != "-1" else processors()
        _check_processes("hydra.launcher.n_jobs=", jobs)
    for key in settings:
        raise unknown(f"setting of hydra/launcher={name}", key, ["n_jobs"] if name == "joblib" else [])
    if gpus:
        _check_gpus(name, gpus, jobs)
    return Workers(jobs, gpus)


def schedules(launcher: dict[str, str]) -> bool:
    """Whether a launcher gives its jobs to a scheduler, which may take more than it runs at once."""
    return launcher.get("name") in ("submitit_local", "submitit_slurm", "ray")


def _cluster(
    name: str, settings: dict[str, str], jobs: int, cancel: Callable[[int], bool], gpus: int | None
) -> Executor:
    from rnndrop.sweeps import cluster, cluster_ray, cluster_submitit

    of = cluster_ray if name == "ray" else cluster_submitit
    values = cluster.read_settings(name, settings, of.SETTINGS, of.TEXTS)
    lost = values.pop(cluster.LOST, 60)
    if name == "submitit_local":
        return cluster.Cluster(cluster_submitit.Local(values, jobs, gpus), lost, cancel)
    most = jobs if jobs > 1 else QUEUES
    backend = cluster_ray.Ray(values, most) if name == "ray" else cluster_submitit.Slurm(values, most)
    return cluster.Cluster(backend, lost, cancel)


def _check_processes(name: str, count: int) -> None:
    """Raise RequestError for none, and for more processes than a machine of so many processors bears."""
    if count < 1:
        raise RequestError(f"{name}{count}: give 1 or more.")
    if count > (most := max(64, 16 * (os.cpu_count() or 1))):
        raise RequestError(f"{name}{count}: of {os.cpu_count()} processors at most {most} processes can be asked.")


def _check_gpus(name: str, gpus: int, jobs: int) -> None:
    """Raise RequestError where so many runs at a time cannot share so many GPUs of this machine."""
    if name in ("submitit_slurm", "ray"):
        how = "num_gpus=1, or 0.5 for two on one" if name == "ray" else "gpus_per_node=1"
        raise RequestError(
            f"--gpus {gpus} is for the GPUs of this machine. On a cluster each run asks for its own:"
            f" hydra.launcher.{how}"
        )
    if jobs < gpus:
        raise RequestError(
            f"--gpus {gpus}: {jobs} run{'s' * (jobs > 1)} at a time use{'s' * (jobs == 1)} no more than {jobs}. Give"
            f" --jobs {gpus}, or more for several runs on each GPU."
        )
    import torch

    if gpus > (count := torch.cuda.device_count()):
        limited = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = f" (CUDA_VISIBLE_DEVICES={limited})" if limited is not None else ""
        found = f"{count} GPU{'s' * (count != 1)}" if count else "no GPU"
        raise RequestError(
            f"--gpus {gpus}: torch finds {found} here{seen}. Without --gpus the runs share all that it finds."
        )
