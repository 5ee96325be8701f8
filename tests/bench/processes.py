"""What the operating system tells of processes, and the cores that they run on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the target has for itself, and which are for upstream and load; empty: the system decides.

    `second` is one more for a target of two workers. Where it is empty, the two share the one core: beside upstream and load they
    would be measured with those.
    """

    target: frozenset[int]
    rest: frozenset[int]
    second: frozenset[int] = frozenset()

    @classmethod
    def found(cls) -> Cores:
        """Give the target the first core, where there are two and the system lets us say so, and the second of four."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(frozenset(), frozenset())
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            return cls(frozenset(), frozenset())
        own = 1 if len(others) >= 3 else 0
        return cls(frozenset({first}), frozenset(others[own:]), frozenset(others[:own]))

    def of(self, workers: int) -> frozenset[int]:
        """Return the cores for a target with so many workers."""
        return self.target if workers == 1 else self.target | self.second


@contextlib.contextmanager
def on(cores: Iterable[int]) -> Iterator[None]:
    """Have what is started inside run on these cores: children inherit them, threads that come later too."""
    wanted = set(cores)
    if not wanted:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Return user and system time of processes, as the operating system counts it."""
    spent = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system
    return spent


def rss_mb(processes: Iterable[psutil.Process]) -> float:
    """Return their resident memory."""
    held = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            held += process.memory_info().rss
    return held / 1e6
