"""Worker processes of this machine, which stay alive between runs: torch and the corpus are loaded once.

A worker that dies takes one job with it, no more; another takes its place. One whose run shares a GPU and finds too
little memory there leaves with all that it holds, and its place is closed. A worker whose sweep dies takes a checkpoint
and leaves.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rnndrop.config.schema import Config
from rnndrop.display.streams import replace_unknown
from rnndrop.store.progress import Progress, RunObserver, measuring
from rnndrop.sweeps.places import Places
from rnndrop.sweeps.scheduler import Event, Job

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

TELL_EVERY = 0.25  # seconds between two messages of progress
OUT_OF_MEMORY = 75  # exit code of a worker whose run may go on where it has more of it: EX_TEMPFAIL
SPAWN = get_context("spawn")


class Workers:
    """`count` worker processes that share the processors and the first `gpus` GPUs (None: all) here. An Executor."""

    def __init__(self, count: int, gpus: int | None = None) -> None:
        self.places, self.gpus, self.threads = Places(count), gpus, threads_each(count)
        self.workers: list[_Worker] = []
        self.warned: set[str] = set()  # what one of them has said, no other needs to say again
        self._killed = 0  # by the kernel, for want of memory, when the last job was handed out

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""
        return len(self.places.open) - len(self._taken)

    @property
    def _taken(self) -> set[int]:
        return {worker.place for worker in self.workers if worker.job is not None}

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Hand each job to an idle worker; start those that are missing."""
        self._killed = killed_for_memory()
        for job in jobs:
            started = {worker.place: worker for worker in self.workers}
            place = self.places.next(self._taken, started)
            if place not in started:
                gpus = sharing(job.config.trainer.device, self.gpus)
                started[place] = _Worker(place, self.places, gpus, self.threads, self.warned)
                self.workers.append(started[place])
            started[place].start(job, settled)

    def poll(self, seconds: float) -> Iterable[Event]:
        """What the workers have said, and which of them have died."""
        ready = connection.wait([item for w in self.workers for item in (w.pipe, w.process.sentinel)], seconds)
        events: list[Event] = []
        for worker in list(self.workers):
            if worker.pipe in ready:
                events += worker.received()
            if not worker.process.is_alive():
                self.workers.remove(worker)
                events += worker.received()
                if worker.job is not None:
                    events.append(self._ended(worker.job, worker))
        return events

    def _ended(self, job: Job, worker: _Worker) -> Event:
        """What the end of a worker at work says."""
        code = worker.process.exitcode
        if code == OUT_OF_MEMORY:
            return Event(job, "memory", self.places.short_of_memory(worker.place))
        if code == -signal.SIGKILL and len(self.places.open) > 1 and killed_for_memory() > self._killed:
            return Event(job, "memory", self.places.short_of_host_memory(worker.place))
        return Event(job, "died", _cause(code))

    def stop(self) -> None:
        """Have the workers take a checkpoint and leave; if this is interrupted, kill them."""
        try:
            for worker in self.workers:
                worker.leave()
            for worker in self.workers:
                worker.process.join()
        except BaseException:
            for worker in self.workers:
                worker.process.kill()
            raise
        finally:
            self.workers.clear()


@dataclass(eq=False)
class _Worker:
    """One process and the job it works on."""

    place: int
    places: Places  # all there are; it says how many GPUs they share
    gpus: int | None
    threads: int | None
    warned: set[str]
    job: Job | None = None
    pipe: Connection[Any, Any] = field(init=False)
    process: SpawnProcess = field(init=False)

    def __post_init__(self) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        arguments = (theirs, self.place, self.gpus, self.threads, os.getpid())
        self.process = spawned(_work, arguments)
        theirs.close()

    def start(self, job: Job, settled: Collection[str]) -> None:
        self.job = job
        with suppress(BrokenPipeError):  # it has died: `poll` will see that
            task = (job.config, job.overrides, job.folder, job.force, frozenset(settled), job.rivals, self.places)
            self.pipe.send(task)

    def received(self) -> list[Event]:
        events = []
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                kind, content = self.pipe.recv()
                if kind == "log":
                    if content.msg not in self.warned:
                        logging.getLogger("rnndrop").handle(content)
                    if content.levelno >= logging.WARNING:
                        self.warned.add(content.msg)
                elif kind == "gpus":
                    self.places.gpus = content
                elif self.job is not None:
                    events.append(Event(self.job, kind, content))
                    if kind != "progress":
                        self.job = None
        return events

    def leave(self) -> None:
        if self.job is not None and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
        self.pipe.close()


def spawned(target: Callable[..., None], arguments: tuple[Any, ...]) -> SpawnProcess:
    """A process that has begun, and that ends with this one.

    It needs nothing of the program that asks, which spawned processes begin by importing: a script without
    `if __name__ == "__main__"` would ask again, and so on.
    """
    process = SPAWN.Process(target=target, args=arguments, daemon=True)
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = program
    return process


def processors() -> int:
    """How many processors this process may use, or what OMP_NUM_THREADS leaves of them."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(wanted)) if wanted.isdigit() and int(wanted) else available


def threads_each(count: int) -> int | None:
    """How many threads each of `count` processes has; None, as torch would have it, for one alone."""
    return None if count == 1 else max(1, processors() // count)


def killed_for_memory() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    hint = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
    return f"{signal.Signals(-exitcode).name}{hint}"


# ---- in the worker -----------------------------------------------------------------------------------------------


def _work(pipe: Connection[Any, Any], place: int, gpus: int | None, threads: int | None, parent: int) -> None:
    """Run jobs until the pipe closes, or a run finds too little memory beside others."""
    replace_unknown()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the sweep too, and that decides
    log = logging.getLogger("rnndrop")
    log.setLevel(logging.INFO)
    log.addHandler(_ToPipe(pipe))
    leave_with(parent)
    counted = take_place(place, gpus, threads)

    def tell(content: dict[str, Any]) -> None:
        with suppress(OSError):  # a sweep that has gone must not hurt the run; a signal follows
            pipe.send(("progress", content))

    kind = ""
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pipe.send(("gpus", counted))
        while kind != "memory":
            config, overrides, planned, force, settled, rivals, places = pipe.recv()
            places.gpus = counted
            shared = len(places.beside(place)) > 1
            gpu = place % counted if counted else None
            kind, content = run_task(config, overrides, planned, force, settled, tell, rivals, shared, gpu)
            if kind != "memory":
                pipe.send((kind, content))
                _give_back_memory()
    gc.freeze()  # or Python looks for cycles among all that torch has before it leaves: a second and more
    if kind == "memory":
        sys.exit(OUT_OF_MEMORY)


def take_place(place: int, gpus: int | None, threads: int | None) -> int:
    """Make this process compute at a place: with so many threads, on a GPU of its own or its share of one.

    Returns how many GPUs take turns: all, or the first `gpus`. They are counted as torch numbers them, after it is
    imported, which CUDA_VISIBLE_DEVICES may limit in any of its spellings (numbers, UUIDs, parts of a GPU). A GPU is
    taken by the first run that computes on one: that alone costs its memory.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else each process starts as many as there are cores
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    if threads:
        torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        return 0
    return min(gpus or torch.cuda.device_count(), torch.cuda.device_count())


def sharing(device: str, gpus: int | None) -> int | None:
    """How many GPUs runs take turns on, of `gpus` (None: all): where they name theirs, they may all be on that one."""
    return 1 if ":" in device else gpus


def use_gpu(gpu: int | None, device: str) -> None:
    """Compute on a GPU from now on, if there is one and `trainer.device` leaves open which."""
    import torch

    if gpu is not None and device in ("auto", "cuda"):
        torch.cuda.set_device(gpu)


def _give_back_memory() -> None:
    """Leave the GPU memory of a run that is over to the runs beside it."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def run_task(
    config: Config,
    overrides: list[str],
    planned: Path,
    force: bool,
    settled: Collection[str],
    tell: Callable[[dict[str, Any]], None],
    rivals: Sequence[Path] = (),
    shared: bool = False,
    gpu: int | None = None,
) -> tuple[str, Any]:
    """Run one job; return how it ended, as the kind and content of an Event. Interrupted passes through.

    `planned`: its folder; a run that has another one by now, since its files have changed, is refused. `gpu`: the one
    that it computes on, if on any and if `trainer.device` has no number.
    `shared`: others may compute on its GPU. If that has too little memory then, the kind is "memory", and the run goes
    on from its checkpoint elsewhere or later.
    """
    import traceback

    from rnndrop.errors import NotWrittenError, RequestError
    from rnndrop.ops.allocator import out_of_memory
    from rnndrop.runs.pruning import Pruning
    from rnndrop.runs.runner import run_one
    from rnndrop.store.files import UnreadableError
    from rnndrop.store.lock import BusyError
    from rnndrop.store.progress import Observers

    try:
        use_gpu(gpu, config.trainer.device)
        observer = Observers([Telling(tell), *([Pruning(rivals)] if rivals else [])])
        return "done", run_one(config, overrides, observer, force, settled, False, shared, planned)
    except BusyError:
        return "busy", None
    except UnreadableError as error:
        return "unreadable", str(error)
    except (RequestError, NotWrittenError) as error:
        return "refused", str(error)
    except Exception as error:
        return ("memory", None) if shared and out_of_memory(error) else ("refused", traceback.format_exc())


class Telling(RunObserver):
    """Tells the sweep where a run stands, a few times a second."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell, self.now, self.told = tell, dict[str, Any](), 0.0

    def progress(self, progress: Progress) -> None:
        """Tell it after a step."""
        self._tell(progress.brief)

    def evaluated(self, progress: Progress) -> None:
        """Tell it after an epoch."""
        self._tell(progress.brief)

    def measuring(self, what: str, fraction: float) -> None:
        """Tell it while the run is measured."""
        self._tell(lambda: measuring(self.now, what, fraction))

    def _tell(self, brief: Callable[[], dict[str, Any]]) -> None:
        if time.monotonic() - self.told >= TELL_EVERY:
            self.told, self.now = time.monotonic(), brief()
            self.tell(self.now)


def leave_with(parent: int) -> None:
    """Have this process take a checkpoint and leave if its parent dies without a word, or has died already."""

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_parent, name="parent", daemon=True).start()


class _ToPipe(logging.Handler):
    """Sends messages to the sweep, whose display knows how to show them."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        super().__init__()
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        try:
            self.pipe.send(("log", record))
        except OSError:  # the sweep is gone, and the terminal may be
            with suppress(OSError):
                print(record.msg, file=sys.stderr)
