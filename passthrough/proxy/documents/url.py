"""Reads the URL of a document strictly: what is not plainly an http or https URL of one host is refused, not guessed at."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin

import idna

from ...errors import Refusal
from .addresses import Address
from .url_rules import UrlRules

MAX_URL_CHARS: Final = 8192
"""The longest URL: signed ones have up to two thousand characters, and many servers take no longer request line."""

_URL: Final = re.compile(r"([A-Za-z]+)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTTED: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})(?:\.(?!$)|$)){4}")
_MAX_NAME_CHARS: Final = 253
_KEPT: Final = "/!$&'()*+,;=:@-._~%"  # `%` too: what is escaped already stays as it is
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class DocumentUrl:
    """A URL that may be fetched if its addresses may.

    `host` is a name in lower case as DNS has it (punycode), without a dot at the end, or the text of an IP address, which is
    `address` then. `target` is the path with the query, ASCII without blanks.
    """

    tls: bool
    host: str
    port: int
    target: bytes = field(repr=False)  # it may hold a signature
    address: Address | None = None

    @property
    def text(self) -> str:
        """The whole URL, against which a Location is resolved. It may hold a secret: it is for no message."""
        return f"{'https' if self.tls else 'http'}://{self._bracketed}:{self.port}{self.target.decode('ascii')}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def may_be_private(self, rules: UrlRules) -> bool:
        """Tell whether the operator allows any address for this host: `user_url_allowed_hosts`, or no validation at all."""
        host = self._bracketed
        return not rules.validated or not rules.allowed_hosts.isdisjoint((self.host, host, f"{host}:{self.port}"))


def parse_url(text: str) -> DocumentUrl:
    """Return the URL of a document. Raises Refusal (document_refused) for what is none that may be fetched.

    1. At most `MAX_URL_CHARS`, and no control characters. Blanks around it are dropped, blanks inside are escaped.
    2. The scheme is http or https.
    3. No user information: credentials in a URL would be sent to wherever it redirects, and logged by others.
    4. The host is a name, four decimal numbers, or an IPv6 address in brackets without a zone. A name outside ASCII is mapped as
       browsers do (UTS 46), then judged: full-width digits become digits. What only some programs read as an address (127.1,
       2130706433, 0x7f.1, 0177.0.0.1) is refused; so is an escaped host.
    5. Any port but 0. The proxy's own ports are refused when it is connected to one.
    6. A fragment is dropped.
    """
    text = text.strip(" ")
    if len(text) > MAX_URL_CHARS:
        raise _refused(f"The document's URL is longer than {MAX_URL_CHARS} characters.")
    if _CONTROL.search(text):
        raise _refused("The document's URL holds a control character.")
    match = _URL.fullmatch(text)
    if match is None or match[1].lower() not in _PORTS:
        raise refused_source(text)
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        raise _refused("The document's URL holds credentials.")
    host, port = _host_and_port(authority, _PORTS[scheme])
    target = quote(match[3] or "/", safe=_KEPT) + quote(match[4] or "", safe=_KEPT + "?")
    if len(target) > MAX_URL_CHARS:
        raise _refused(f"The document's URL is longer than {MAX_URL_CHARS} characters.")
    address = _address(host)
    return DocumentUrl(scheme == "https", host if address is None else str(address), port, target.encode("ascii"), address)


def refused_source(text: str) -> Refusal:
    """Return why a source that is neither an http(s) URL nor a data URI is not fetched: `gs:`, `ftp:`, bare base64, nothing."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _refused("The document is neither an http or https URL nor a data URI.")
    if scheme[0].lower() in {"http:", "https:"}:
        return _refused("The document's URL has no host.")
    return _refused(f"Documents are not fetched by '{scheme[0].lower()}' URLs, only by http and https.")


def redirected(base: DocumentUrl, location: bytes) -> DocumentUrl:
    """Return where a Location leads, read as strictly as a URL of the request.

    Raises Refusal (document_refused), also for a way from https to http: anyone on the path could change the document.
    """
    try:
        text = location.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("The document's host redirects to what is not a URL.") from None
    if not text or _CONTROL.search(text) or len(text) > MAX_URL_CHARS:  # before `urljoin`, which drops tabs and line ends
        raise _refused("The document's host redirects to what is not a URL.")
    try:
        url = parse_url(urljoin(base.text, text.strip(" ")))
    except ValueError:  # urljoin: unbalanced brackets
        raise _refused("The document's host redirects to what is not a URL.") from None
    if base.tls and not url.tls:
        raise _refused("The document's host redirects from https to http.")
    return url


def _refused(message: str) -> Refusal:
    return Refusal("document_refused", message)


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise _refused("The document's URL has no host, or an odd one.")
    port = match[2] or str(default)
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise _refused("The port of the document's URL is not one.")
    host = match[1]
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except UnicodeError:  # idna.IDNAError is one
            raise _refused("The host of the document's URL is not a name that DNS could hold.") from None
    return host.lower().removesuffix("."), int(port)


def _address(host: str) -> Address | None:
    """Return the address that a host is, None for a name. Raises Refusal for what is neither."""
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise _refused("The host of the document's URL is not an IPv6 address.") from None
        if address.scope_id is not None:
            raise _refused("The host of the document's URL is an address with a zone.")
        return address
    labels = host.split(".")
    # A host whose last label is a number is an IPv4 address to browsers and to `inet_aton`, or nothing (WHATWG URL §3.5).
    if _NUMBER.fullmatch(labels[-1]):
        if _DOTTED.fullmatch(host) is None or any(int(number) > 255 for number in labels):
            raise _refused("The host of the document's URL is not an IPv4 address of four decimal numbers.")
        return ipaddress.IPv4Address(host)
    if len(host) > _MAX_NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("The host of the document's URL is not a name that DNS could hold.")
    return None
