"""Every failure, with its status, code, fault and hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Fault(StrEnum):
    """The side that caused a failure: it decides who has to fix it, and the exchange's outcome."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table of the proxy's own responses: the HTTP status, the stable code, whose fault, and how to fix it."""

    status: int
    code: str
    fault: Fault
    hint: str


_C, _U, _P = Fault.CLIENT, Fault.UPSTREAM, Fault.PROXY

_TABLE: Final = (
    Kind(400, "bad_request", _C, "Send one well-formed HTTP/1.1 request: one Host, one framing, no dot segments, no '#'."),
    Kind(400, "bad_header", _C, "Send header values without control characters."),
    Kind(400, "unknown_model", _C, "Send a 'model' of this proxy's model_list; GET /v1/models lists those of your key."),
    Kind(
        400, "document_unreachable", _C, "Check that the document's URL can be fetched without credentials, or send a data URI."
    ),
    Kind(400, "document_refused", _C, "Send the document as a data URI, or ask the operator for 'user_url_allowed_hosts'."),
    Kind(401, "invalid_key", _C, "Send a client key of this proxy as 'Authorization: Bearer <key>'."),
    Kind(403, "route_forbidden", _C, "Ask the operator to add this route to the key's 'routes'."),
    Kind(403, "model_forbidden", _C, "Ask the operator to add this model to the key's 'models'."),
    Kind(
        403,
        "foreign_origin",
        _C,
        "Where no key is asked for, only web pages of this machine may call: name the page's origin in 'cors', ask for keys "
        "('client_keys', and no 'auth: false'), or write 'allow_anonymous: true'.",
    ),
    Kind(
        404,
        "no_route",
        _C,
        "Compare the path with 'path' in routes.yaml; 'include_subpath: true' opens what is below it.",
    ),
    Kind(405, "method_not_allowed", _C, "Use one that the field Allow lists, or add this one to the route's 'methods'."),
    Kind(408, "slow_request", _C, "Send the request without long pauses, or raise the route's 'timeouts.idle'."),
    Kind(413, "body_too_large", _C, "Send a smaller body, or raise the route's 'max_body'."),
    Kind(413, "document_too_large", _C, "Send a smaller document, or raise 'ocr: {max_document: …}'."),
    Kind(414, "target_too_long", _C, "Shorten the path or the query."),
    Kind(417, "expectation_failed", _C, "The only expectation that is met is '100-continue'."),
    Kind(
        421,
        "misdirected",
        _C,
        "Where no key is asked for, call it as localhost or 127.0.0.1; else ask for keys ('client_keys', and no 'auth: false'), "
        "or write 'allow_anonymous: true'.",
    ),
    Kind(429, "rate_limited", _C, "Wait as long as Retry-After says."),
    Kind(429, "budget_spent", _C, "Wait until the budget's period ends, or ask the operator to raise it."),
    Kind(
        429,
        "budget_unpriced",
        _C,
        "Ask the operator to add the model to 'prices' in routes.yaml, or to write 'unpriced: allow' in the budget.",
    ),
    Kind(429, "too_many_parallel", _C, "Send fewer requests at the same time."),
    Kind(429, "no_deployment", _C, "Wait as long as Retry-After says: every deployment of this model cools down."),
    Kind(431, "headers_too_large", _C, "Send fewer or shorter headers."),
    Kind(501, "not_implemented", _C, "This method or transfer coding is not supported."),
    Kind(502, "upstream_unreachable", _U, "Check the route's 'target', or a deployment's 'api_base'; DNS; and the firewall."),
    Kind(
        502,
        "upstream_broke",
        _U,
        "The provider closed the connection early. It may have billed the call: look before sending it again.",
    ),
    Kind(
        502,
        "upstream_credentials",
        _U,
        "Ask the operator: the provider's token could not be fetched, and nothing was sent; /readyz on the admin port says why.",
    ),
    Kind(502, "bad_upstream_answer", _U, "What the target sent is not one well-formed HTTP/1.1 response."),
    Kind(503, "overloaded", _P, "Wait as long as Retry-After says."),
    Kind(503, "draining", _P, "This instance is stopping: send the request again, it will reach another."),
    Kind(
        504,
        "upstream_timeout",
        _U,
        "The provider did not answer in time; raise the route's 'timeouts' if it needs longer.",
    ),
    Kind(505, "version_not_supported", _C, "Speak HTTP/1.1 (or HTTP/1.0)."),
    Kind(508, "proxy_loop", _U, "The route's 'target' leads back to this proxy: name the provider's host."),
)

KINDS: Final = MappingProxyType({kind.code: kind for kind in _TABLE})
"""code → Kind, for every response that the proxy makes itself."""


class Reason(StrEnum):
    """Why an upstream failed, or a client is not understood: the stable words of the log's and the ledger's `why`."""

    NAME = "name not found"
    REFUSED = "connection refused"
    RESET = "connection reset"
    UNREACHABLE = "unreachable"  # the network has no way to it
    NO_CONNECTION = "no connection"  # for any other reason of the system's
    EXPIRED = "certificate has expired"
    NOT_YET_VALID = "certificate is not valid yet"
    UNKNOWN_AUTHORITY = "certificate of an unknown authority"
    OTHER_NAME = "certificate of another name"
    CERTIFICATE = "certificate is not accepted"
    NO_TLS = "no TLS"
    TLS_CLOSED = "closed in the TLS handshake"
    TLS_REFUSED = "TLS handshake refused"  # by an alert
    CLIENT_CERTIFICATE = "client certificate required"
    PROXY_NAME = "proxy: name not found"
    PROXY_REFUSED = "proxy: connection refused"
    PROXY_RESET = "proxy: connection reset"
    PROXY_UNREACHABLE = "proxy: unreachable"
    PROXY_NO_CONNECTION = "proxy: no connection"
    PROXY_TIMEOUT = "proxy: connect time-out"
    NO_TUNNEL = "proxy: no tunnel"
    LOOP = "proxy loop"
    CONNECT_TIMEOUT = "connect time-out"
    UPLOAD_TIMEOUT = "upload time-out"
    HEADER_TIMEOUT = "header time-out"
    IDLE_TIMEOUT = "idle time-out"
    TOTAL_TIMEOUT = "total time-out"
    CLOSED_UNSENT = "closed before request"
    CLOSED_UNANSWERED = "closed before response"
    CLOSED_WITHIN = "closed within response"
    MALFORMED = "malformed response"
    CREDENTIALS = "credentials"  # no token could be fetched
    COOLING = "all cool down"
    NO_KEY = "no client key"
    UNKNOWN_KEY = "unknown client key"
    TLS_ON_PLAIN = "TLS on the plain port"
    PLAIN_ON_TLS = "plain HTTP on the TLS port"
    HTTP2 = "HTTP/2 without TLS"
    TLS_TWICE = "TLS within TLS"
    HTTP2_IN_TLS = "HTTP/2 without ALPN"


class PassthroughError(Exception):
    """The base class of every exception that this program raises on purpose."""


class Failure(PassthroughError):
    """An exchange ends with a response of the proxy's own.

    `message` says what happened and where, without bytes of the request. `hint` says how to fix it (the table's by default).
    `why` is the reason in few words, for the log and the ledger; it has no secret, no query, and no bytes of the request.
    `retry_after_s` becomes Retry-After; `allow` becomes Allow (405). `closes` adds `Connection: close`, for when the framing of
    what follows on the connection is in doubt.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        why: str | None = None,
        retry_after_s: int | None = None,
        allow: Sequence[str] = (),
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = KINDS[code]
        self.message = message
        self.hint = self.kind.hint if hint is None else hint
        self.why = why
        self.retry_after_s = retry_after_s
        self.allow = tuple(allow)
        self.closes = closes


class Refusal(Failure):
    """The proxy refused a request, before or while it came in."""


class UpstreamFailure(Failure):
    """The target could not be reached, broke, or sent something that is not one response."""


class ClientGone(PassthroughError):
    """The client's connection ended before its exchange did: no response can be sent."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem in the configuration: where, what, and how to fix it. `line` counts from 1; 0 is unknown."""

    file: str
    line: int
    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        head = f"{where} {self.key}: {self.what}" if self.key else f"{where}: {self.what}"
        return f"{head}\n  {self.hint}" if self.hint else head


class ConfigError(PassthroughError):
    """The configuration cannot be used; carries every problem found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class LedgerError(PassthroughError):
    """The ledger cannot be opened, read or written; the message says which, why, and how to fix it, without a password."""


class EntryRefusedError(LedgerError):
    """The ledger works, but rejects what is to be written, and always will."""


class LastingLedgerError(LedgerError):
    """The ledger cannot be written until a person changes something: there is no folder or no right, or it is damaged."""


class UnservableLedgerError(LedgerError):
    """What the ledger's URL names exists, and can never be a ledger: a problem of the configuration."""


class LostEntriesError(PassthroughError):
    """At the stop entries reached neither the ledger nor the journal; the message says how many."""
