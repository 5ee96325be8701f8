"""Which provider the sandbox plays, and how often it throttles and fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from .errors import Rejection, throttled, unavailable


class Api(StrEnum):
    """The API that is played, by the names of the command line."""

    MISTRAL = "mistral"
    AZURE = "azure"
    VERTEX = "vertex"

    @property
    def inline_only(self) -> bool:
        """Whether documents must be in the request, as data URIs: Azure and Vertex fetch none and store none."""
        return self is not Api.MISTRAL


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider whose OCR calls fail at random.

    `throttle` and `fail` are the shares (0 to 1, together at most 1) of calls that get 429 with Retry-After, and 503. Neither is
    billed by a provider. `random` decides.
    """

    api: Api = Api.MISTRAL
    fail: float = 0.0
    throttle: float = 0.0
    random: Random = field(default_factory=Random)

    def failure(self) -> Rejection | None:
        """Draw what becomes of the next OCR call: None, or its error."""
        if not self.fail and not self.throttle:
            return None
        drawn = self.random.random()
        if drawn < self.throttle:
            return throttled(self.api)
        return unavailable(self.api) if drawn < self.throttle + self.fail else None
