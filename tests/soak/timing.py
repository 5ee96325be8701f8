"""Runs `passthrough serve` on asyncio's own loop with every step of it timed; `tests.soak.steps` uses it.

`python -m tests.soak.timing FILE …flags`: the steps that took more than a millisecond are in FILE, as JSON, when it has ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from asyncio.events import Handle
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from passthrough.cli import main as command
from passthrough.server import run

WORTH_S = 0.001
"""What is shorter is not worth a word."""

LOOK_S = 0.003
"""How long a step has taken when it is looked where it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One callback of the loop, or one garbage collection; `places` is where it was after three milliseconds, and then again."""

    began: float
    wall_s: float
    cpu_s: float
    what: str
    places: list[str]


STEPS: list[Step] = []
PLACES: list[str] = []


def named(callback: Any) -> str:
    """Return what a callback is: for a step of a task its coroutine, and where that waits now."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        names = [getattr(coroutine, "__qualname__", "?")]
        while (coroutine := getattr(coroutine, "cr_await", None)) is not None and hasattr(coroutine, "__qualname__"):
            names.append(coroutine.__qualname__)
        return "task " + " ▸ ".join(names)
    if owner is not None:
        return f"{type(owner).__name__}.{getattr(callback, '__name__', '?')}"
    return str(getattr(callback, "__qualname__", callback))[:100]


def look(_: int, frame: FrameType | None) -> None:
    """Note where the interpreter is (a signal's handler)."""
    lines = []
    while frame is not None and len(lines) < 60:
        lines.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    inside = lines[: next((at for at, line in enumerate(lines) if line.endswith(" timed")), len(lines))]
    PLACES.append(" ◂ ".join(inside[:8]))


def time_steps() -> None:
    """Time every callback of every loop of this process from now on."""
    plain = Handle._run

    def timed(self: Handle) -> None:
        callback = self._callback  # type: ignore[attr-defined]
        signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
        began, cpu = time.monotonic(), time.thread_time()
        try:
            plain(self)
        finally:
            wall_s, cpu_s = time.monotonic() - began, time.thread_time() - cpu
            signal.setitimer(signal.ITIMER_REAL, 0)
            if cpu_s > WORTH_S or wall_s > 5 * WORTH_S:
                STEPS.append(Step(began, wall_s, cpu_s, named(callback), PLACES[:]))
            PLACES.clear()

    Handle._run = timed  # type: ignore[method-assign]
    signal.signal(signal.SIGALRM, look)
    start = [0.0, 0.0]

    def collected(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            start[:] = time.monotonic(), time.thread_time()
        elif time.monotonic() - start[0] > WORTH_S:
            STEPS.append(Step(start[0], time.monotonic() - start[0], time.thread_time() - start[1], "garbage collection", []))

    gc.callbacks.append(collected)


def run_timed(main: Coroutine[Any, Any, None]) -> None:
    """Run the program's coroutine on asyncio's own loop."""
    time_steps()
    asyncio.run(main)


def main() -> None:
    """Serve, and write what was found."""
    place, flags = Path(sys.argv[1]), sys.argv[2:]
    run._run = run_timed
    try:
        command.main(["serve", *flags], standalone_mode=False)
    finally:
        place.write_text(json.dumps([asdict(step) for step in STEPS]))


if __name__ == "__main__":
    main()
