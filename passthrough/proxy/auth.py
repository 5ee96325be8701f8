"""Authenticates client keys: which key does a request carry, and may it use the route?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from ..errors import Reason, Refusal
from .headers import Fields
from .routes import Route

CREDENTIAL_HEADERS: Final = (
    b"x-litellm-api-key",
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
"""The header fields that may carry a client key, in the order in which they are looked up (LiteLLM's order)."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """One client key: `name` is unique; `digest` is the SHA-256 of the key (32 bytes).

    `routes` are the paths of the routes that it may use, as configured; None: all. `max_parallel` is how many of its requests may
    be active at once; None: any number. `models` are the names of model_list that it may use; None: all.
    """

    name: str
    digest: bytes
    routes: frozenset[str] | None = None
    max_parallel: int | None = None
    models: frozenset[str] | None = None


MASTER: Final = "master"
"""The name of the master key in the log and the ledger."""


def _by_rank(presented: tuple[int, bytes]) -> int:
    return presented[0]


def _bare(value: bytes) -> bytes:
    """Return a header's value without `Bearer ` before it."""
    if value[:6].lower() == b"bearer" and (len(value) == 6 or value[6:7] in {b" ", b"\t"}):
        return value[7:].strip(b" \t")
    return value


class Authenticator:
    """All client keys, looked up by digest: so no comparison takes longer for a key that is nearly right."""

    __slots__ = ("_clients", "_key_headers", "anonymous")

    def __init__(self, clients: Iterable[ClientKey], *, key_header: bytes | None = None) -> None:
        """`key_header`: a further header that carries keys (LiteLLM's litellm_key_header_name), lower case.

        Without any key, every client may call. The configuration allows that on loopback only, or where it is asked for.
        """
        self._clients: Mapping[bytes, ClientKey] = MappingProxyType({client.digest: client for client in clients})
        self._key_headers = (*((key_header,) if key_header else ()), *CREDENTIAL_HEADERS)
        self.anonymous = not self._clients

    def credential_headers(self, route: Route) -> tuple[bytes, ...]:
        """Return the names (lower case) of the headers that may carry a client key on this route, in order of look-up."""
        if route.key_header is None or route.key_header in self._key_headers:
            return self._key_headers
        return (route.key_header, *self._key_headers)

    def asks_for_key(self, route: Route) -> bool:
        """Tell whether requests need a client key on this route."""
        return route.auth and not self.anonymous

    def admit(self, route: Route, fields: Fields) -> ClientKey | None:
        """Return the client key of a request, None where the route asks for none (or there are no keys at all).

        Of several credentials the first valid one counts, whatever the others are. Raises Refusal: `invalid_key`,
        `route_forbidden`.
        """
        if not self.asks_for_key(route):
            return None
        names = self.credential_headers(route)
        presented = [(names.index(lower), value) for lower, _, value in fields if lower in names and value]
        if len(presented) > 1:
            presented.sort(key=_by_rank)  # by rank alone: values of one rank keep the order in which they came
        for _, value in presented:
            client = self.holder(value)
            if client is None:
                continue
            if client.routes is not None and route.terms.route not in client.routes:
                raise Refusal("route_forbidden", f"The key of client '{client.name}' is not for this route.")
            return client
        if any(_bare(value) for _, value in presented):
            raise Refusal("invalid_key", "The key is not one of this proxy's.", why=Reason.UNKNOWN_KEY)
        raise Refusal("invalid_key", "No client key was sent.", why=Reason.NO_KEY)

    def known(self, raw: Iterable[tuple[bytes, bytes]]) -> ClientKey | None:
        """Return the client key that is among these raw names and values: for the log of a refused request."""
        for name, value in raw:
            if name.lower() in self._key_headers and (client := self.holder(value)) is not None:
                return client
        return None

    def holder(self, value: bytes) -> ClientKey | None:
        """Return the client key that a header's value is, with `Bearer ` before it or bare; None: it is not a client key."""
        return self._clients.get(sha256(_bare(value)).digest())
