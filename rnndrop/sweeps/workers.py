"""Worker processes of this machine, which stay alive between runs: torch and the corpus are loaded once.

A worker that dies takes one job with it, no more; another takes its place. A worker whose sweep dies takes a
checkpoint and leaves.
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
from typing import TYPE_CHECKING, Any

from rnndrop.config.schema import Config
from rnndrop.display.streams import replace_unknown
from rnndrop.sweeps.scheduler import Event, Job

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

TELL_EVERY = 0.25  # seconds between two messages of progress
SPAWN = get_context("spawn")


class Workers:
    """`count` worker processes that share the processors (and GPUs) of this machine. An Executor."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.threads = None if count == 1 else max(1, processors() // count)
        self.workers: list[_Worker] = []
        self.warned: set[str] = set()  # what one of them has said, no other needs to say again

    @property
    def free(self) -> int:
        """How many workers have nothing to do."""
        return self.count - sum(worker.job is not None for worker in self.workers)

    def submit(self, jobs: Sequence[Job], settled: Collection[str]) -> None:
        """Hand each job to an idle worker; start those that are missing."""
        for job in jobs:
            idle = next((worker for worker in self.workers if worker.job is None), None)
            if idle is None:
                taken = {worker.index for worker in self.workers}
                idle = _Worker(
                    next(index for index in range(self.count) if index not in taken), self.threads, self.warned
                )
                self.workers.append(idle)
            idle.start(job, settled)

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
                    events.append(Event(worker.job, "died", _cause(worker.process.exitcode)))
        return events

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

    index: int
    threads: int | None
    warned: set[str]
    job: Job | None = None
    pipe: Connection[Any, Any] = field(init=False)
    process: SpawnProcess = field(init=False)

    def __post_init__(self) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_work, args=(theirs, self.index, self.threads, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, job: Job, settled: Collection[str]) -> None:
        self.job = job
        with suppress(BrokenPipeError):  # it has died: `poll` will see that
            self.pipe.send((job.config, job.overrides, job.force, frozenset(settled), job.rivals))

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


def processors() -> int:
    """How many processors this process may use, or what OMP_NUM_THREADS leaves of them."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(wanted)) if wanted.isdigit() and int(wanted) else available


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    hint = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
    return f"{signal.Signals(-exitcode).name}{hint}"


# ---- in the worker -----------------------------------------------------------------------------------------------


def _work(pipe: Connection[Any, Any], index: int, threads: int | None, parent: int) -> None:
    """Run jobs until the pipe closes."""
    replace_unknown()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the sweep too, and that decides
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    log = logging.getLogger("rnndrop")
    log.setLevel(logging.INFO)
    log.addHandler(_ToPipe(pipe))
    leave_with(parent)
    import torch

    if threads:
        torch.set_num_threads(threads)
    take_gpu(index)

    def tell(content: dict[str, Any]) -> None:
        with suppress(OSError):  # a sweep that has gone must not hurt the run; a signal follows
            pipe.send(("progress", content))

    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        while True:
            config, overrides, force, settled, rivals = pipe.recv()
            pipe.send(run_task(config, overrides, force, settled, tell, rivals))
    gc.freeze()  # or Python looks for cycles among all that torch has before it leaves: a second and more


def take_gpu(index: int) -> None:
    """Compute on the GPU whose turn it is for process number `index` of this machine, where there are any."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(index % torch.cuda.device_count())


def run_task(
    config: Config,
    overrides: list[str],
    force: bool,
    settled: Collection[str],
    tell: Callable[[dict[str, Any]], None],
    rivals: Sequence[Path] = (),
) -> tuple[str, Any]:
    """Run one job; return how it ended, as the kind and content of an Event. Interrupted passes through."""
    import traceback

    from rnndrop.errors import NotWrittenError, RequestError
    from rnndrop.runs.pruning import Pruning
    from rnndrop.runs.runner import run_one
    from rnndrop.store.files import UnreadableError
    from rnndrop.store.lock import BusyError
    from rnndrop.store.progress import Observers, Progress, Watching

    told = 0.0

    def watch(progress: Progress) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            tell(progress.brief())

    try:
        observer = Observers([Watching(watch), *([Pruning(rivals)] if rivals else [])])
        return "done", run_one(config, overrides, observer, force, settled, wait=False)
    except BusyError:
        return "busy", None
    except UnreadableError as error:
        return "unreadable", str(error)
    except (RequestError, NotWrittenError) as error:
        return "refused", str(error)
    except Exception:
        return "refused", traceback.format_exc()


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
        except (BrokenPipeError, OSError):
            print(record.msg, file=sys.stderr)
