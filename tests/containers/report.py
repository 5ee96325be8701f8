"""What was started, what was done to it, what came of it, and how long it took: said at once, and as a table at the end."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Step:
    """One thing that was done to what was started."""

    started: str
    done: str
    result: str = "ok"
    seconds: float = 0.0
    failed: bool = False


@dataclass(slots=True)
class Report:
    """The steps of a run."""

    steps: list[Step] = field(default_factory=list)
    started: str = ""

    @contextmanager
    def step(self, done: str) -> Iterator[Step]:
        """Time one step; what comes of it is `result`. Where it fails, that is noted, and raised."""
        step = Step(self.started, done)
        self.steps.append(step)
        began = time.monotonic()
        try:
            yield step
        except BaseException as error:
            step.failed = True
            step.result = f"FAILED: {(str(error) or type(error).__name__).splitlines()[0][:160]}"
            raise
        finally:
            step.seconds = time.monotonic() - began
            sys.stdout.write(f"{step.seconds:6.1f} s  {step.started}: {step.done}: {step.result}\n")
            sys.stdout.flush()

    @contextmanager
    def scenario(self, started: str) -> Iterator[None]:
        """Go on behind a scenario that fails; what it said is printed."""
        self.started = started
        try:
            yield
        except Exception:  # noqa: BLE001  # the other scenarios are still to run; the exit code says that one failed
            if not self.has_failed(started):
                self.steps.append(Step(started, "scenario", "FAILED", failed=True))
            sys.stdout.write(traceback.format_exc())

    def has_failed(self, started: str) -> bool:
        """Whether a step of one scenario failed."""
        return any(step.failed and step.started == started for step in self.steps)

    @property
    def failed(self) -> bool:
        """Whether anything did not come out as it should."""
        return any(step.failed for step in self.steps)

    def table(self) -> str:
        """Return all steps as a table in Markdown."""
        rows = [("what was started", "what was done to it", "what came of it", "s")]
        rows += [(each.started, each.done, each.result, f"{each.seconds:.1f}") for each in self.steps]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        total = sum(each.seconds for each in self.steps)
        return "\n".join(
            [*lines, "", f"{len(self.steps)} steps, {total:.0f} s, {sum(each.failed for each in self.steps)} failed"]
        )
