"""The token sources of one process, one for each identity; a reload keeps those whose identity stays, with their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .fetchers import fetcher
from .identity import Identity
from .token_source import Fetch, TokenReading, TokenSource


class TokenSources:
    """Every method is called on the event loop."""

    def __init__(self, warn: Callable[[str], None], fetch_of: Callable[[Identity], Fetch] = fetcher) -> None:
        """`warn` gets a message when trouble with a token begins, and when it is over. `fetch_of` chooses how one is fetched."""
        raise NotImplementedError

    def prepare(self, identities: Iterable[Identity]) -> None:
        """Start to fetch for identities that are new; a configuration that is about to come into force needs them."""
        raise NotImplementedError

    def keep(self, identities: Iterable[Identity]) -> None:
        """Close all but these: the configuration in force needs no others."""
        raise NotImplementedError

    def of(self, identity: Identity) -> TokenSource:
        """Return the source of an identity that was prepared."""
        raise NotImplementedError

    @property
    def readings(self) -> tuple[TokenReading, ...]:
        """What metrics show, one for each name of an identity."""
        raise NotImplementedError

    @property
    def trouble(self) -> str | None:
        """Why tokens are missing or not renewed, one line for each identity; None where all is well."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all."""
        raise NotImplementedError
