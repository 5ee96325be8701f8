"""Which provider the sandbox plays, and how often it throttles and fails."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

from .errors import Rejection, asked_for, throttled, unavailable

_ASKS: Final = re.compile(r"fail-([45][0-9]{2})(?![0-9]).*", re.I | re.S)


class Api(StrEnum):
    """The API that is played, by the names of the command line."""

    MISTRAL = "mistral"
    AZURE = "azure"
    VERTEX = "vertex"

    @property
    def inline_only(self) -> bool:
        """Whether documents must be in the request, as data URIs: Azure and Vertex fetch none and store none."""
        return self is not Api.MISTRAL

    @property
    def max_document_bytes(self) -> int:
        """The size of the largest document that is taken."""
        return 50_000_000 if self is Api.MISTRAL else 30_000_000

    @property
    def max_pages(self) -> int:
        """The number of pages of the longest document that is taken."""
        return 1000 if self is Api.MISTRAL else 30


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider whose calls fail at random: OCR, chat, embeddings.

    `throttle` and `fail` are the shares (0 to 1, together at most 1) of calls that get 429 with Retry-After, and 503. Neither is
    billed by a provider. `random` decides.
    """

    api: Api = Api.MISTRAL
    fail: float = 0.0
    throttle: float = 0.0
    random: Random = field(default_factory=Random)

    def failure(self) -> Rejection | None:
        """Draw what becomes of the next call: None, or its error."""
        if not self.fail and not self.throttle:
            return None
        drawn = self.random.random()
        if drawn < self.throttle:
            return throttled()
        return unavailable() if drawn < self.throttle + self.fail else None


def fail_if_asked(*names: str | None) -> None:
    """Raise the Rejection that one of these names asks for: `fail-429`, `fail-503.pdf`. Any status from 400 to 599."""
    for name in names:
        asks = _ASKS.fullmatch(name) if name else None
        if name and asks:
            raise asked_for(int(asks[1]), name[:100])
