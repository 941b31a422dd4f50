"""Ray as the scheduler of a `Cluster`: each job is a detached actor, which starts the job's process on its node.

Detached, because those outlive the sweep, wait in the cluster until there is room, start again on another node when
theirs dies, even where no sweep is there to see it, and are found by their names. Ray's tasks end with the program
that gave them, and its job server needs the dashboard. A process of its own for the job, because Ray has its own ways
with signals, and a job must write a checkpoint when it is told to leave. And one for what speaks to Ray beside the
sweep: Ray writes on the streams from C++, waits for most of a minute where no cluster is, and may end its process.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rnndrop.errors import RequestError
from rnndrop.extras import need
from rnndrop.sweeps.cluster import ASK_EVERY, Task, check_number, run_remote
from rnndrop.sweeps.workers import SPAWN, leave_with, spawned

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

FOLDER = ".ray"  # beside the runs: what jobs have printed
NAMESPACE = "rnndrop"
SETTINGS = ("address", "num_cpus", "num_gpus", "mem_gb")
TEXTS = ("address",)
CONNECT = 60.0  # seconds in which Ray must have been imported and the cluster have answered
ANSWER = 60.0  # seconds for an answer to a question
REACH = 5.0  # seconds for the cluster's port, or an actor, to answer
RESTARTS = 2  # times that Ray itself starts an actor again whose node has died; then it is the sweep's turn
LEAVE = 60.0  # seconds that a job may take for its last checkpoint

log = logging.getLogger("rnndrop")


class Ray:
    """The Ray cluster at `address`. A run takes `num_cpus`, `num_gpus` (or a part of one) and `mem_gb` of a machine."""

    launcher, every = "ray", ASK_EVERY

    def __init__(self, settings: dict[str, Any], most: int) -> None:
        self.most = most
        self.address = settings.get("address") or "auto"
        self.needs = {"num_cpus": 1, **{key: value for key, value in settings.items() if key != "address"}}
        for key, value in self.needs.items():
            if (key, value) != ("num_gpus", 0):
                check_number(key, value, "a number above 0")
        if (gpus := self.needs.get("num_gpus", 0)) > 1 and gpus != int(gpus):
            raise RequestError(f"hydra.launcher.num_gpus={gpus}: it must be a part of one GPU, or a whole number.")
        self._pipe: Connection[Any, Any] | None = None
        self._process: SpawnProcess | None = None
        self._connected = False  # whether the cluster has ever answered: if not, the request is wrong

    def submit(self, output: Path, tasks: Sequence[Task], others: Collection[str]) -> Generator[str]:
        """Have an actor created for each task; their names."""
        (output / FOLDER).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            identity = uuid4().hex
            self._ask("create", identity, pickle.dumps(task), output / FOLDER / f"{identity}.log", self.needs)
            yield identity

    def present(self) -> set[str] | None:
        """The names of the actors that wait or live."""
        try:
            return set(self._ask("names"))
        except RequestError:
            if not self._connected:
                raise
            return None

    def cancel(self, identities: Collection[str]) -> None:
        """Have jobs take a checkpoint and leave; those that wait are removed."""
        try:
            self._ask("leave", list(identities))
        except RequestError as error:
            log.warning("Jobs could not be cancelled, and may go on running: %s", error)

    def short_of_memory(self, identity: str) -> str:
        """Nothing: how many share a GPU is asked of Ray, and a run that lacks memory has failed."""
        return ""

    def cause(self, output: Path, identity: str) -> str:
        """What Ray says of the end of an actor, or where the output of its process is."""
        path = output / FOLDER / f"{identity}.log"
        with suppress(OSError):
            if path.stat().st_size:
                return f"its output is in {path}"
        with suppress(RequestError):
            return str(self._ask("cause", identity))
        return "Ray does not say why"

    def _ask(self, question: str, *about: Any) -> Any:
        """Ask the process that speaks to Ray. Raises RequestError."""
        try:
            if self._process is None or not self._process.is_alive():
                self._start()
            assert self._pipe is not None
            with suppress(OSError):
                self._pipe.send((question, *about))
            return self._answer(ANSWER)
        except KeyboardInterrupt:  # or the answer would be taken for that to the next question
            self._hang_up()
            raise

    def _start(self) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        arguments = (theirs, self.address, self.needs, os.getpid())
        self._process = spawned(_speak, arguments)
        theirs.close()
        unused = self._answer(CONNECT)
        if unused and not self._connected:
            log.warning(
                "The cluster has %g GPUs, and runs are given none: hydra.launcher.num_gpus=1, or 0.5 for two on one.",
                unused,
            )
        self._connected = True

    def _answer(self, seconds: float) -> Any:
        assert self._pipe is not None
        said: tuple[bool, Any] | None = None
        with suppress(EOFError, OSError):
            said = self._pipe.recv() if self._pipe.poll(seconds) else None
        if said is None:
            self._hang_up()
            raise RequestError(f"hydra.launcher.address={self.address}: Ray does not answer.")
        fine, content = said
        if not fine:
            raise RequestError(content.partition("\n")[0] if self._connected else content)
        return content

    def _hang_up(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


# ---- in the process that speaks to Ray -----------------------------------------------------------------------------


def _speak(pipe: Connection[Any, Any], address: str, needs: dict[str, float], parent: int) -> None:
    """Answer the sweep's questions until it leaves; what Ray prints goes nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    leave_with(parent)
    with suppress(EOFError, OSError):
        try:
            ray = _connected(address)
            pipe.send((True, _spare_gpus(ray, address, needs)))
        except RequestError as error:
            pipe.send((False, str(error)))
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray's own handler takes its time
        actors = _Actors(ray)
        while True:
            question, *about = pipe.recv()
            try:
                pipe.send((True, getattr(actors, question)(*about)))
            except Exception as error:
                pipe.send((False, f"Ray: {_last_line(error)}"))


def _connected(address: str) -> Any:
    """Ray, connected to the cluster. Raises RequestError."""
    ray = need("ray", "ray", "hydra/launcher=ray")
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        if port.isdigit():  # or Ray would wait for it for most of a minute
            socket.create_connection((host.strip("[]"), int(port)), REACH).close()
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        where = f"hydra.launcher.address={address}" if address != "auto" else "hydra/launcher=ray"
        raise RequestError(
            f"{where}: no Ray cluster that can be used: {_last_line(error)}.\nStart one with `ray start --head` here "
            "and `ray start --address=HOST:6379` on other machines, and give hydra.launcher.address=HOST:6379."
        ) from None
    return ray


def _spare_gpus(ray: Any, address: str, needs: dict[str, float]) -> float:
    """GPUs of the cluster, if runs are given none. Raises RequestError where no machine has what a run needs."""
    wanted = {"CPU": needs["num_cpus"], "GPU": needs.get("num_gpus", 0), "memory": needs.get("mem_gb", 0) * 2**30}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(machine.get(what, 0) >= number for what, number in wanted.items()) for machine in machines):
        asked = " ".join(f"hydra.launcher.{key}={value:g}" for key, value in needs.items())
        has = "\n".join(
            f"  {machine.get('CPU', 0):g} CPUs, {machine.get('GPU', 0):g} GPUs, "
            f"{machine.get('memory', 0) / 2**30:.1f} GB"
            for machine in machines
        )
        raise RequestError(f"{asked}: no machine of the Ray cluster at {address} has as much. There are\n{has}")
    return 0.0 if "num_gpus" in needs else sum(machine.get("GPU", 0) for machine in machines)


class _Actors:
    """The questions that the sweep asks."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.actor = ray.remote(Remote)
        self.made: dict[str, Any] = {}

    def create(self, name: str, task: bytes, output: Path, needs: dict[str, float]) -> None:
        resources = {key: value for key, value in needs.items() if key != "mem_gb"}
        if memory := needs.get("mem_gb"):
            resources["memory"] = int(memory * 2**30)
        options = self.actor.options(
            name=name, lifetime="detached", scheduling_strategy="SPREAD", max_restarts=RESTARTS, **resources
        )
        environment = {"OMP_NUM_THREADS": str(max(1, int(needs["num_cpus"])))}
        if not needs.get("num_gpus"):  # Ray then shows all that its machine has, and each run would take the first
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self.made[name] = options.remote(task, str(output), environment)

    def names(self) -> list[str]:
        return list(self.ray.util.list_named_actors())

    def leave(self, names: list[str]) -> None:
        actors = []
        for name in names:
            with suppress(ValueError):  # it has left already
                actors.append(self.ray.get_actor(name))
        asked = {actor.leave.remote(): actor for actor in actors}
        _, silent = self.ray.wait(list(asked), num_returns=len(asked), timeout=REACH) if asked else ([], [])
        for question in silent:  # it waits for a machine, or its machine is down
            self.ray.kill(asked[question])

    def cause(self, name: str) -> str:
        try:
            self.ray.get(self.made[name].leave.remote(), timeout=REACH)
        except self.ray.exceptions.RayError as error:
            return _last_line(error)
        except KeyError:
            pass
        return "Ray does not say why"


def _last_line(error: BaseException) -> str:
    """What an exception comes down to: Ray puts tracebacks of other processes in front of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else repr(error)).rstrip(".")


# ---- on the nodes --------------------------------------------------------------------------------------------------


class Remote:
    """The actor: keeps the process of a job, and ends with it."""

    def __init__(self, task: bytes, output: str, environment: dict[str, str]) -> None:
        ray = need("ray", "ray", "hydra/launcher=ray")
        self.end = ray.kill
        context = ray.get_runtime_context()
        self.itself = context.current_actor
        self.output = Path(output)
        if not self.output.parent.is_dir():
            raise FileNotFoundError(
                f"{platform.node()} has no {self.output.parent}: all machines must share the folder"
            )
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", Remote.__module__],
                stdin=subprocess.PIPE, stdout=file, stderr=file, env={**os.environ, **environment},
            )  # fmt: skip
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pickle.dump((os.getpid(), task, context.was_current_actor_reconstructed), pipe)
        threading.Thread(target=self._wait, daemon=True).start()

    def leave(self) -> None:
        """Have the process take a checkpoint and leave."""
        self.process.terminate()
        threading.Timer(LEAVE, self.process.kill).start()

    def _wait(self) -> None:
        self.process.wait()
        with suppress(OSError):
            if not self.output.stat().st_size:
                self.output.unlink()
        self.end(self.itself)


def main() -> None:
    """Run the job that is described on stdin."""
    from rnndrop.runs.signals import Interrupted

    parent, described, again = pickle.load(sys.stdin.buffer)
    leave_with(parent)
    task = pickle.loads(described)
    with suppress(Interrupted):
        run_remote(replace(task, force=task.force and not again))  # it started afresh the first time


if __name__ == "__main__":
    main()
