"""What the instance says of itself: alive, ready, and in what it is degraded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """Where the instance stands between its start and its end."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


Trouble = Callable[[], str | None]
"""Returns why one part of the house is degraded, None while it is well."""


@dataclass(slots=True)
class Health:
    """The instance's phase, and whom to ask for troubles, by the part's name."""

    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    phase: Phase = Phase.STARTING

    @property
    def ready(self) -> bool:
        """Whether requests should come here: troubles of the books or of a reload do not stop the road."""
        return self.phase is Phase.READY

    def degraded(self) -> dict[str, str]:
        """Return what is degraded and why, by the part's name."""
        said = {name: trouble() for name, trouble in self.troubles.items()}
        return {name: why for name, why in said.items() if why is not None}

    def status(self) -> str:
        """Return one word: the phase while it is not ready, then `ok` or `degraded`."""
        if not self.ready:
            return self.phase.value
        return "degraded" if self.degraded() else "ok"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is said of the health of one process, or of all: whether requests should come, one word, and what is degraded."""

    ready: bool
    status: str
    degraded: Mapping[str, str]

    @classmethod
    def of(cls, health: Health) -> Condition:
        """Return what a process says of itself now."""
        return cls(health.ready, health.status(), health.degraded())
