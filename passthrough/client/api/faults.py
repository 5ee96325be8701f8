"""Failures of the network, in the words of a document's failure: before a request left, while it did, and after."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponseError,
    ConnectionTimeoutError,
    InvalidURL,
    ServerDisconnectedError,
)
from aiohttp.http import HttpProcessingError

from ..errors import DocumentError
from .connection import Endpoint

NETWORK: Final = (ClientError, HttpProcessingError, OSError)
"""What a call raises that gets no whole response; time-outs are OSErrors."""

BILLED_HINT: Final = "Running it again sends it again, and may be billed again."
_SERVE_HINT: Final = "Is the proxy running? Start it: passthrough serve. Or try it without: --sandbox."
_NO_TLS: Final = "no TLS is spoken there"
_TLS_HINT: Final = "Write http:// instead of https:// in --base-url or PASSTHROUGH_BASE_URL, or check the port."
_URL_HINT: Final = "Check --base-url or PASSTHROUGH_BASE_URL, and the network."


class Moment(Enum):
    """When a call failed."""

    UNREACHABLE = auto()  # there was no connection
    SENDING = auto()  # the API has not the whole request, so it cannot have done the work
    WAITING = auto()  # it has the whole request


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure of the network: when, and why in a few words. `is_malformed`: what came is no HTTP."""

    moment: Moment
    why: str
    is_malformed: bool = False

    def error(self, endpoint: Endpoint, *, may_be_billed: bool) -> DocumentError:
        """Return it as the failure of a document."""
        if self.moment is Moment.UNREACHABLE:
            hint = _TLS_HINT if self.why == _NO_TLS else _SERVE_HINT if endpoint.is_loopback else _URL_HINT
            return DocumentError(f"{endpoint.shown} cannot be reached: {self.why}.", hint, ends_run=True)
        if self.moment is Moment.SENDING:
            return DocumentError(f"It could not be sent to its end: {self.why}; it was not billed.", "Run it again.")
        if may_be_billed:
            return DocumentError(f"There is no whole response: {self.why}; it may have been billed.", BILLED_HINT)
        return DocumentError(f"There is no whole response: {self.why}.", "Run it again.")


_UNCONNECTED: Final = (
    ClientConnectorError, ClientProxyConnectionError, ClientHttpProxyError, ConnectionTimeoutError, InvalidURL
)  # fmt: skip


def fault_of(error: BaseException, *, is_sent: bool) -> Fault:
    """Return what an error of NETWORK means; `is_sent`: the whole request has left."""
    if isinstance(error, _UNCONNECTED):
        return Fault(Moment.UNREACHABLE, _no_connection(error))
    moment = Moment.WAITING if is_sent else Moment.SENDING
    return Fault(moment, _broken(error), isinstance(error, (ClientResponseError, HttpProcessingError)))


def _no_connection(error: BaseException) -> str:
    if isinstance(error, ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, InvalidURL):
        return "its URL is not valid"
    if isinstance(error, ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit the name"
        return f"its certificate is not accepted ({reason.rstrip('.')})"
    if isinstance(error, ClientHttpProxyError):
        return f"the HTTP proxy on the way refused ({error.status})"
    inner = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(inner, ssl.SSLError):
        return _NO_TLS
    who = "the HTTP proxy on the way: " if isinstance(error, ClientProxyConnectionError) else ""
    return who + _system_words(inner)


def _broken(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no byte came in time"
    if isinstance(error, ServerDisconnectedError):
        return "the connection was closed"
    if isinstance(error, ClientPayloadError):
        return "the response was cut off"
    if isinstance(error, (ClientResponseError, HttpProcessingError)):
        return "the response is not HTTP"
    return _system_words(error)


def _system_words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror and not error.strerror.startswith("Can not write"):
        return error.strerror[:1].lower() + error.strerror[1:]
    return "the connection broke"
