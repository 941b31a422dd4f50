"""A contest on its way: which runs come next, and the decision's file, up to date after each look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from rnndrop.decisions.document import path_of, read, write
from rnndrop.decisions.race import Look, Race
from rnndrop.errors import RequestError
from rnndrop.store.files import DamagedRecordError
from rnndrop.sweeps.contest import Contest, check_unsearched
from rnndrop.sweeps.scheduler import Job

STUCK = frozenset({"failed", "diverged", "unreadable"})

log = logging.getLogger("rnndrop")


class Deciding:
    """Takes the looks as runs come to their end; `told` hears of each, and which it is, once.

    Runs with one of the statuses `settled` are left alone, and so is what has been tried in vain.
    """

    def __init__(self, contest: Contest, settled: frozenset[str], told: Callable[[Look, int], None]) -> None:
        self.contest, self.settled, self.told = contest, settled, told
        self.path: Path = path_of(contest.output, contest.id)
        self.race: Race = contest.race()
        self._told = 0
        self._tried: set[Job] = set()
        if not self._seen():  # a decision on its way goes on, whatever was searched since
            check_unsearched(contest)

    def look(self) -> Race:
        """Where the race stands now; what is new is in the file."""
        self.race = self.contest.race()
        for number, look in list(enumerate(self.race.looks, 1))[self._told :]:
            self.told(look, number)
        if self.race.looks[self._told :] or not self.race.going_on:
            write(self.path, self.contest.decision(self.race))
        self._told = len(self.race.looks)
        return self.race

    def rounds(self, at_once: int) -> Iterator[list[Job]]:
        """The jobs that come next, until nothing is open or the next round waits for one that is left alone."""
        while self.look().going_on and not any(map(self._left_alone, self.waited_for)):
            jobs = [job for job in self.contest.next_jobs(self.race, at_once, self.settled) if job not in self._tried]
            yield jobs
            self._tried.update(job for job in jobs if job.state in STUCK)  # what was not begun waits

    def _left_alone(self, job: Job) -> bool:
        return job.state in self.settled or job in self._tried

    def enough(self) -> bool:
        """Whether what has come to its end since the last look changes what comes next."""
        before = self.race.remaining
        return self.look().remaining != before or bool(self.waited_for)

    @property
    def waited_for(self) -> list[Job]:
        """The jobs without a score that the next round waits for."""
        return self.contest.failed(self.race)

    def _seen(self) -> int:
        """How many seeds the file has seen. Raises RequestError for more than are asked for: they are not forgotten."""
        try:
            before = read(self.path)
        except DamagedRecordError as problem:
            log.warning("%s: %s. It is written anew from the records.", self.path, problem)
            return 0
        if before and len(before.looks) > (most := len(self.contest.seeds)):
            raise RequestError(
                f"--max-seeds {most}: {self.path} has seen {len(before.looks)} seeds already, and they count. Give "
                f"--max-seeds {len(before.looks)} or more."
            )
        return len(before.looks) if before else 0
