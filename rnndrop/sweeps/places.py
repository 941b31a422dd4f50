"""How many runs this machine takes at a time, and on which GPU each is. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection


class Places:
    """`count` places for runs. Where they share GPUs, place i is on GPU i % `gpus`."""

    def __init__(self, count: int) -> None:
        self.count, self.closed = count, set[int]()
        self.gpus = 0  # or not known yet: the processes that compute count them

    @property
    def open(self) -> set[int]:
        """Those that are left."""
        return set(range(self.count)) - self.closed

    def beside(self, place: int) -> set[int]:
        """The open places on the GPU of this one, itself among them; none where there is no GPU."""
        return {each for each in self.open if self.gpus and (each - place) % self.gpus == 0}

    def next(self, taken: Collection[int], started: Collection[int] = ()) -> int:
        """The place for one run more, of which one must be free.

        On the GPU with the fewest runs; of those alike the one with the fewest places, so that a run which found too
        little memory beside others is alone where it can be; there a place whose process is `started`.
        """
        free = self.open.difference(taken)
        if not self.gpus:
            return min(free.intersection(started) or free)
        runs, places = (Counter(each % self.gpus for each in some) for some in (taken, self.open))
        return min(free, key=lambda each: (*(of[each % self.gpus] for of in (runs, places)), each not in started, each))

    def short_of_memory(self, place: int) -> str:
        """Close a place whose GPU had too little memory for its run and those beside it; say what follows.

        The last place of a GPU stays: a run there is alone, and what it lacks then is its own failure.
        """
        if len(self.beside(place)) > 1:
            self.closed.add(place)
        return f"GPU {place % self.gpus} has too little memory: {_runs(len(self.beside(place)))} there from now on"

    def short_of_host_memory(self, place: int) -> str:
        """Close a place because the machine had too little memory for all of them; say what follows."""
        self.closed.add(place)
        return f"the machine has too little memory: {_runs(len(self.open))} from now on"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count > 1)} at a time"
