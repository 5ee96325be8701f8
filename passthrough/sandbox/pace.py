"""The delays of the sandbox: slow enough that what a client waits for can be seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: `token_s` between two events of a stream; `batch_s` in which a batch is queued, and again until its first line."""

    token_s: float = 0.01
    batch_s: float = 1.0
