"""Runs files of tests against changed copies of the checkout: each in a fork of a process that has imported the libraries."""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

import psutil
import pytest
from hypothesis import Phase, settings

from tests.harness.mirror import ROOT

from .changes import Change

_LEFT_OUT: Final = shutil.ignore_patterns(".*_cache", ".git", ".venv", "venv*", ".hypothesis", "*.egg-info", "*results")
_FLAGS: Final = ("-x", "-q", "--tb=short", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov")
_POLL_S: Final = 0.01
_OURS: Final = ("tests", "passthrough", "conftest", "__main__", "__mp_main__")
_LATER: Final = 100_000_000_000  # nanoseconds: a changed module is not as old as its compiled one


@dataclass(frozen=True, slots=True)
class Run:
    """One run of tests: of the code as it is (`change` None), or with a change.

    It is ended after `limit_s`, or when its process has worked for `work_s`: an endless loop must not take as long as a wait may.
    """

    tests: tuple[str, ...]
    limit_s: float
    work_s: float
    change: Change | None = None


class _NoShrinking:
    """A plugin of pytest: a property that fails has noticed the change, whatever the smallest example is."""

    def pytest_sessionstart(self) -> None:
        settings.register_profile("mutation", settings.get_profile("same"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: pytest's exit code, negative for a signal, None where the time was up; `output` is what it wrote."""

    run: Run
    code: int | None
    took_s: float
    output: str


class Copy:
    """A copy of the checkout, in which one run at a time takes place."""

    def __init__(self, place: Path, marks: str) -> None:
        self.tree = place / "tree"
        self._place = place
        self._marks = marks
        self._run: Run | None = None
        self._process = 0
        self._began = 0.0
        self._kept: tuple[Path, bytes, os.stat_result] | None = None

    def begin(self, run: Run) -> None:
        """Write the change into the copy, and fork a process that runs the tests."""
        self._run, self._began = run, time.monotonic()
        if run.change is not None:
            path = self.tree / "passthrough" / run.change.module
            self._kept = path, path.read_bytes(), path.stat()
            path.write_bytes(run.change.applied(self._kept[1]))
            os.utime(path, ns=(self._kept[2].st_atime_ns, self._kept[2].st_mtime_ns + _LATER))
        self._process = os.fork()
        if not self._process:
            code = 70
            try:
                code = self._in_child(run)
            finally:
                os._exit(code)

    def _in_child(self, run: Run) -> int:
        os.setsid()
        out = os.open(self._place / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(self.tree)
        os.environ |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = run.change is not None
        sys.path[:] = [str(self.tree), *(each for each in sys.path if each and Path(each).resolve() != ROOT)]
        sys.argv[:] = ["pytest"]
        resource.setrlimit(resource.RLIMIT_CPU, (ceil(run.work_s), resource.RLIM_INFINITY))
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        code = int(pytest.main([*_FLAGS, "-m", self._marks, f"--basetemp={self._place}/tmp", *run.tests], [_NoShrinking()]))
        (self._place / "modules").write_text("\n".join(sys.modules))
        return code

    def ended(self) -> Ended | None:
        """Return how the run ended, and restore the copy; None while it goes on."""
        run, took_s = self._run, time.monotonic() - self._began
        if run is None:
            return None
        late = took_s > run.limit_s
        if late:
            _kill(self._process)
        found, status = os.waitpid(self._process, 0 if late else os.WNOHANG)
        if not found:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)  # what it left
        if self._kept is not None:
            path, source, stat = self._kept
            path.write_bytes(source)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self._run = self._kept = None
        output = (self._place / "output").read_text("utf-8", "replace")
        code = os.waitstatus_to_exitcode(status)
        return Ended(run, None if late or code == -signal.SIGXCPU else code, took_s, output)

    def preload(self) -> None:
        """Import here what the run imported of libraries, so that the next one need not."""
        with contextlib.suppress(FileNotFoundError):
            for name in (self._place / "modules").read_text().splitlines():
                if name.partition(".")[0] not in _OURS and name not in sys.modules:
                    with contextlib.suppress(Exception):  # one that cannot be imported by its name is imported where it is used
                        importlib.import_module(name)


def _kill(process: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process).children(recursive=True)
        for each in [*below, psutil.Process(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


@contextmanager
def copies(place: Path, count: int, marks: str) -> Iterator[list[Copy]]:
    """Yield copies of the checkout below `place`, compiled."""
    first = place / "0" / "tree"
    shutil.copytree(ROOT, first, ignore=_LEFT_OUT)
    compileall.compile_dir(first / "passthrough", quiet=2)
    for number in range(1, count):
        shutil.copytree(first, place / str(number) / "tree")
    made = [Copy(place / str(number), marks) for number in range(count)]
    try:
        yield made
    finally:
        for each in made:
            if each._run is not None:
                _kill(each._process)


def run_all(runs: list[Run], pool: list[Copy], ended: Callable[[Ended], None], *, preload: bool = False) -> None:
    """Do runs, as many at a time as there are copies, and give each to `ended` when it has ended."""
    waiting, busy, idle = list(reversed(runs)), [], list(pool)
    while waiting or busy:
        while waiting and idle:
            gc.collect()
            gc.freeze()  # else each process copies what it collects
            copy = idle.pop()
            copy.begin(waiting.pop())
            busy.append(copy)
        for copy in list(busy):
            if (found := copy.ended()) is not None:
                busy.remove(copy)
                idle.append(copy)
                if preload:
                    copy.preload()
                ended(found)
        time.sleep(_POLL_S)
