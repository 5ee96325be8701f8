"""The instance's health: its phase, and which parts are degraded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """The instance's phase between its start and its end."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


Trouble = Callable[[], str | None]
"""Returns why one part of the instance is degraded, None while it is well."""


@dataclass(slots=True)
class Health:
    """The instance's phase, and a function for each part that tells its trouble, by the part's name."""

    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    phase: Phase = Phase.STARTING

    @property
    def ready(self) -> bool:
        """Whether requests should come here: trouble of the ledger or of a reload does not stop traffic."""
        return self.phase is Phase.READY

    def degraded(self) -> dict[str, str]:
        """Return what is degraded and why, by the part's name."""
        reasons = {name: trouble() for name, trouble in self.troubles.items()}
        return {name: why for name, why in reasons.items() if why is not None}

    def status(self) -> str:
        """Return one word: the phase while it is not ready, then `ok` or `degraded`."""
        if not self.ready:
            return self.phase.value
        return "degraded" if self.degraded() else "ok"


@dataclass(frozen=True, slots=True)
class Condition:
    """The health of one process, or of all workers together: whether requests should come, one word, and what is degraded."""

    ready: bool
    status: str
    degraded: Mapping[str, str]

    @classmethod
    def of(cls, health: Health) -> Condition:
        """Return the condition of this process now."""
        return cls(health.ready, health.status(), health.degraded())
