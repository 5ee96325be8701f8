"""Downloads documents by the URLs that clients name, for providers that cannot: checked, bounded, and never from inside."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ..routes import Timeouts
from ..upstream.pool import ConnectionPool
from ..upstream.resolver import LookUp
from .url_rules import UrlRules

_TIMEOUTS = Timeouts(header_s=60.0)


@dataclass(slots=True)
class DownloadCounts:
    """What downloads came to since the process started: how many by outcome, and the bytes of all their bodies.

    The outcomes are `ok` (complete), `unreachable`, `refused`, `too_large`, and `cancelled` (closed before its end).
    """

    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("ok", "unreachable", "refused", "too_large", "cancelled"), 0)
    )
    received_bytes: int = 0


class Document:
    """One document that is being downloaded: its first bytes have come. Close it, also after an error; that is idempotent.

    `media_type` is safe within a data URI and within JSON: lower case, without parameters. `length` is in bytes, None where the
    host did not say it, or where the body is coded; a document of known length has exactly that many bytes, or `piece` raises.
    """

    media_type: str
    length: int | None

    async def piece(self) -> bytes:
        """Return the next bytes, b"" at the end.

        Raises Refusal: document_unreachable (it broke off, stalled, or the deadline has passed), document_too_large.
        """
        raise NotImplementedError

    def pieces(self) -> AsyncIterator[bytes]:
        """Return an iterator over what `piece` returns, without the end. It raises what `piece` raises."""
        raise NotImplementedError

    def close(self) -> None:
        """End the download at once."""


class Documents:
    """All downloads of one process. Every method is called on the event loop."""

    def __init__(
        self,
        rules: UrlRules,
        pool: ConnectionPool,
        *,
        look_up: LookUp = socket.getaddrinfo,
        timeouts: Timeouts = _TIMEOUTS,
        ca_file: str | None = None,
    ) -> None:
        """`rules` may be replaced at any time (a reload): downloads under way keep theirs.

        `pool` opens the connections and knows the proxy's listening sockets. `look_up` resolves names, on threads; `ca_file` is
        a PEM file of authorities, None: the system's.
        """
        self.rules = rules
        self.counts = DownloadCounts()
        self._pool = pool

    async def open(self, url: str, deadline: float | None = None) -> Document:
        """Return the document at `url` (as it stands in the request, JSON's escapes undone), once its first bytes have come.

        `deadline` (the loop's time) is for the whole download; None: none. Raises Refusal: document_refused (also for what is no
        http or https URL: `gs:`, `ftp:`, bare base64), document_unreachable, document_too_large. The messages hold no byte of the
        URL and no address.
        """
        raise NotImplementedError
