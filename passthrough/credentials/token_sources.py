"""The token sources of one process, one for each identity; a reload keeps those whose identity stays, with their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from .fetchers import fetcher
from .identity import Identity, shown
from .token_source import Fetch, TokenReading, TokenSource

NO_USERS: Final[Mapping[Identity, str]] = MappingProxyType({})


class TokenSources:
    """Every method is called on the event loop."""

    def __init__(self, warn: Callable[[str], None], fetch_of: Callable[[Identity], Fetch] = fetcher) -> None:
        """`warn` gets a message when trouble with a token begins, and when it is over. `fetch_of` chooses how one is fetched."""
        self._warn = warn
        self._fetch_of = fetch_of
        self._sources: dict[Identity, TokenSource] = {}

    def prepare(self, identities: Iterable[Identity], users: Mapping[Identity, str] = NO_USERS) -> None:
        """Start to fetch for identities that are new; a configuration that is about to come into force needs them.

        `users` says, for messages, who needs the token of each: `/vertex/*, /b`.
        """
        for identity in identities:
            source = self._sources.get(identity)
            if source is None:
                source = self._sources[identity] = TokenSource(shown(identity), self._fetch_of(identity), self._warn)
                source.start()
            source.name = shown(identity)  # the identity's name takes no part in comparisons
            source.users = users.get(identity, "")

    def keep(self, identities: Iterable[Identity]) -> None:
        """Close all but these: the configuration in force needs no others."""
        kept = set(identities)
        for identity in [each for each in self._sources if each not in kept]:
            self._sources.pop(identity).close()

    def of(self, identity: Identity) -> TokenSource:
        """Return the source of an identity that was prepared."""
        return self._sources[identity]

    @property
    def readings(self) -> tuple[TokenReading, ...]:
        """What metrics show, one for each name: identities of one name (other scopes, another proxy) are one."""
        found: dict[str, TokenReading] = {}
        for source in self._sources.values():
            reading = source.reading
            found[reading.name] = _both(found[reading.name], reading) if reading.name in found else reading
        return tuple(found.values())

    @property
    def trouble(self) -> str | None:
        """Why tokens are missing or not renewed, one line for each identity; None where all is well."""
        lines = [f"{source.described}: {source.trouble}" for source in self._sources.values() if source.trouble is not None]
        return "\n".join(dict.fromkeys(lines)) or None

    def close(self) -> None:
        """Close all."""
        self.keep(())


def _both(one: TokenReading, other: TokenReading) -> TokenReading:
    """Return the sums of two readings, with the worse state."""
    return TokenReading(
        one.name,
        one.fetched + other.fetched,
        one.failed + other.failed,
        None if one.good_until_utc is None or other.good_until_utc is None else min(one.good_until_utc, other.good_until_utc),
        one.trouble or other.trouble,
    )
