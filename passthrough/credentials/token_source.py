"""The token of one identity: fetched on a thread before it is needed, renewed before it ends, one fetch for all who wait.

1. `start` fetches the first token; later ones follow by themselves, before the one in force ends.
2. While a token is good, `token` returns it at once. Else all who call wait for the one fetch that is under way.
3. A fetch that fails is repeated after a pause that doubles. Meanwhile the old token serves while it is good, and `trouble` says
   why there is no new one; then `token` fails at once, without a request to the token's server for each.
4. A token that the provider rejects (401) is renewed once: `after_rejection`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .token import Token

Fetch = Callable[[], Token]
"""Fetches a token; blocks, is called on a thread. Raises FetchError."""


@dataclass(frozen=True, slots=True)
class TokenReading:
    """What metrics and /readyz see of one identity.

    `fetched` and `failed` count the fetches that have ended. `good_until_utc` is when the token in force ends, in seconds since
    the epoch; None where there is none that is good.
    """

    name: str
    fetched: int
    failed: int
    good_until_utc: float | None
    trouble: str | None


class TokenSource:
    """The token of one identity. Every method is called on the event loop."""

    trouble: str | None
    """Why there is no new token, None where all is well. It names no secret."""

    def __init__(self, name: str, fetch: Fetch, warn: Callable[[str], None]) -> None:
        """`name` is the identity's, for messages. `warn` gets one when a kind of trouble begins, and when all is well again."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to fetch the first token, and to keep it renewed. Idempotent."""
        raise NotImplementedError

    def close(self) -> None:
        """Renew no more. Idempotent."""
        raise NotImplementedError

    @property
    def reading(self) -> TokenReading:
        """What is known now."""
        raise NotImplementedError

    async def token(self, within_s: float | None) -> Token:
        """Return a token that is good now. Raises UpstreamFailure (upstream_credentials) where there is none within this time."""
        raise NotImplementedError

    async def after_rejection(self, rejected: Token, within_s: float | None) -> Token | None:
        """Return another token than this one, which the provider rejected; None where there is none, or it was renewed before."""
        raise NotImplementedError
