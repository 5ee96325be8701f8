"""Downloads documents by the URLs that clients name, for providers that cannot: checked, bounded, and never from inside.

Whoever may name a URL must not reach through the proxy what only the proxy reaches (SSRF). So a name is resolved once, all of its
addresses are checked, and one of these is connected to: a second answer of DNS changes nothing. Each redirect is checked as the
URL of the request was. Nothing of the client goes along, and no proxy of the environment is asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from typing import Final

from ...errors import Refusal, UpstreamFailure
from ...meter.decode import Chain, chain
from ..routes import Target
from ..upstream.connection import Connection
from ..upstream.pool import ConnectionPool
from ..upstream.resolver import AddressInfo, LookUp
from ..upstream.response_head import ResponseHead
from .addresses import Address, is_public
from .document import Document, Download, DownloadCounts, DownloadLimits, earliest, outcome_of, too_large, unreachable
from .media_type import declared_media_type, sniffed_media_type
from .name_look_ups import NameLookUps
from .url import DocumentUrl, parse_url, redirected
from .url_rules import UrlRules

MAX_REDIRECTS: Final = 10

_LIMITS: Final = DownloadLimits()
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOST: Final = "the document's host"
"""What a host is called in every message: its name may come from a redirect, and be an inner one."""

_HEAD: Final = (
    b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: passthrough\r\nAccept: */*\r\n"
    b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
)
_CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd"})
_NO_CODING: Final = frozenset({b"", b"identity", b"none", b"utf-8", b"utf8", b"binary", b"8bit"})  # what servers write for none


class Documents:
    """All downloads of one process. Every method is called on the event loop."""

    def __init__(
        self,
        rules: UrlRules,
        pool: ConnectionPool,
        *,
        look_up: LookUp = socket.getaddrinfo,
        limits: DownloadLimits = _LIMITS,
        ca_file: str | None = None,
    ) -> None:
        """`rules` may be replaced at any time (a reload): downloads under way keep theirs.

        `pool` opens the connections and knows the proxy's listening sockets. `look_up` resolves names, on threads. `ca_file` is
        a PEM file of authorities, None: the system's.
        """
        self.rules = rules
        self.counts = DownloadCounts()
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._names = NameLookUps(look_up)
        self._limits = limits
        self._ca_file = ca_file

    async def open(self, url: str, deadline: float | None = None) -> Document:
        """Return the document at `url` (as it stands in the request, JSON's escapes undone), once its first bytes have come.

        `deadline` (the loop's time) is for the whole download; None: none. Raises Refusal: document_refused (also for what is no
        http or https URL: `gs:`, `ftp:`, bare base64), document_unreachable, document_too_large. The messages hold no byte of the
        URL and no address.
        """
        rules, download = self.rules, None
        try:
            connection, response, decoder = await self._response(parse_url(url), rules, deadline)
            download = Download(connection, decoder, rules.max_bytes, self.counts, limits=self._limits, deadline=deadline)
            return await _opened(download, response, coded=decoder is not None)
        except BaseException as ended:
            if download is None:
                self.counts.outcomes[outcome_of(ended)] += 1
            else:
                download.end(outcome_of(ended))
            raise

    async def _response(
        self, url: DocumentUrl, rules: UrlRules, deadline: float | None
    ) -> tuple[Connection, ResponseHead, Chain | None]:
        """Return the response with the document, its body still to come, with its connection and decoder; follow redirects."""
        head_by = earliest(self._loop.time() + self._limits.head_s, deadline)
        for _ in range(MAX_REDIRECTS + 1):
            connection = await self._connect(url, rules, head_by)
            is_document = False
            try:
                response = await _head(connection, url, head_by)
                locations = response.values.get(b"location", ())
                if response.status in _REDIRECTS and len(locations) == 1:
                    url = redirected(url, locations[0])
                    continue
                if response.status != 200:
                    raise unreachable(f"The document's host answered {response.status}.")
                if (response.length or 0) > rules.max_bytes:
                    raise too_large(rules.max_bytes)
                decoder = _decoder(response, rules.max_bytes)
                is_document = True
                return connection, response, decoder
            finally:
                if not is_document:
                    connection.abort()
        raise unreachable(f"The document's host redirects more than {MAX_REDIRECTS} times.")

    async def _connect(self, url: DocumentUrl, rules: UrlRules, head_by: float | None) -> Connection:
        """Resolve a host once, check all of its addresses, and connect to one of these."""
        any_address = url.may_be_private(rules)
        target = Target(url.tls, url.host, url.port, b"", ca_file=self._ca_file, name=_HOST)
        try:
            async with asyncio.timeout_at(earliest(self._loop.time() + self._limits.connect_s, head_by)):
                addresses = [_literal(url.address, url.port)] if url.address else await self._names.addresses(url.host, url.port)
                if not addresses:
                    raise unreachable("The name of the document's host cannot be resolved.")
                if not any_address and not all(is_public(ipaddress.ip_address(each[4][0])) for each in addresses):
                    raise Refusal("document_refused", "The document's URL leads to an address that is not public.")
                return await self._pool.connect_at(target, addresses, elsewhere=not any_address)
        except UpstreamFailure:  # proxy_loop
            raise Refusal("document_refused", "The document's URL leads back to this proxy or its machine.") from None
        except TimeoutError:  # Ours, or the kernel's (ETIMEDOUT).
            raise unreachable("No connection to the document's host in time.") from None
        except ssl.SSLCertVerificationError:  # Its message holds the name that was expected.
            raise unreachable("The certificate of the document's host is not trusted.") from None
        except ssl.SSLError as error:
            raise unreachable(f"No TLS with the document's host: {error.reason}.") from None
        except OSError as error:
            # Not `strerror`: asyncio puts the address into it, which clients must not see.
            why = os.strerror(error.errno) if error.errno else type(error).__name__
            raise unreachable(f"No connection to the document's host: {why}.") from None


def _literal(address: Address, port: int) -> AddressInfo:
    if isinstance(address, ipaddress.IPv4Address):
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0)


async def _head(connection: Connection, url: DocumentUrl, head_by: float | None) -> ResponseHead:
    """Send the request and return the head of its response."""
    try:
        if connection.begin("GET"):
            authority = Target(url.tls, url.host, url.port, b"").authority
            connection.write(_HEAD % (url.target, authority))
        while (response := connection.take_response_head()) is None:
            if not await connection.arrived(head_by):
                raise unreachable("The document's host did not answer in time.")
    except UpstreamFailure as failure:
        raise unreachable(failure.message) from None
    return response


def _decoder(response: ResponseHead, max_bytes: int) -> Chain | None:
    """Return the decoder of a body that is coded although no coding was asked for: storage that keeps files so sends them so.

    Raises Refusal for other codings, and for more than one.
    """
    names = [name.strip().lower() for value in response.values.get(b"content-encoding", ()) for name in value.split(b",")]
    codings = [name for name in names if name not in _NO_CODING]
    if len(codings) > 1 or not _CODINGS.issuperset(codings):
        raise unreachable("The document's host sent a content coding that was not asked for.")
    return chain(codings[0], max_bytes) if codings else None


async def _opened(download: Download, response: ResponseHead, *, coded: bool) -> Document:
    """Return the document once its first bytes have come: as many as its media type needs."""
    first = await download.piece()
    media_type = declared_media_type(response.values.get(b"content-type", ()))
    if media_type is None:
        media_type, first = await _sniffed(download, first)
    return Document(download, first, media_type, None if coded else response.length)


async def _sniffed(download: Download, first: bytes) -> tuple[str, bytes]:
    """Return the media type by the first bytes, and all that was read for it."""
    pieces, size, looked_at, ended = [first], len(first), 0, False
    while True:
        if ended or size >= 2 * looked_at:  # Each look costs as much as there is: a host may send single bytes.
            first, looked_at = b"".join(pieces), size
            pieces = [first]
            media_type = sniffed_media_type(first, whole=ended)
            if media_type is not None:
                return media_type, first
        piece = await download.piece()
        ended = not piece
        pieces.append(piece)
        size += len(piece)
