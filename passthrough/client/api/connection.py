"""The endpoint of an API, and the HTTP session that calls it."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from ... import __version__
from ...loopback import is_loopback
from ...secret import Secret
from ..errors import ClientError
from .pauses import SYSTEM, Pauses, Timing
from .request_body import RequestBody

DEFAULT_BASE: Final = "http://127.0.0.1:4000/mistral"
"""Where `passthrough serve` has its route."""

_AZURE: Final = (".azure.com", ".azure.us", ".azure.cn")
_RESELLERS: Final = ("/providers/mistral/azure/", ":rawPredict")
_MAX_FIELD: Final = 1 << 17
"""Bytes of a field of a response. Gateways send more than aiohttp's own 8 KB, and the response is paid for by then."""
_KEY: Final = re.compile(r"[\x21-\x7e]+")
_USER_AGENT: Final = f"passthrough-ocr/{__version__}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API of Mistral's shape.

    `base` is its URL without `/v1`; one that names the OCR call itself (`…/ocr`, `…:rawPredict`) is used as it is, and such an
    API stores no files and runs no batches. `key` is None where none is needed.
    """

    base: str
    key: Secret | None = None

    @classmethod
    def of(cls, base: str, key: str | None) -> Endpoint:
        """Return the API at a URL as people write it. Raises ClientError."""
        parts = _split(base.strip())
        path = parts.path.rstrip("/")
        if not _is_call(path):
            path = path.removesuffix("/v1").rstrip("/")
        return cls(urlunsplit((parts.scheme.lower(), parts.netloc, path, parts.query, "")), _key(key))

    @property
    def has_files(self) -> bool:
        """Whether it may store files and run batches: its URL is not that of the OCR call alone."""
        return not _is_call(urlsplit(self.base).path)

    @property
    def ocr_url(self) -> str:
        """The URL of the OCR call."""
        return self.url("/ocr") if self.has_files else self.base

    def url(self, path: str) -> str:
        """Return the URL of a path below `/v1`."""
        parts = urlsplit(self.base)
        return urlunsplit((parts.scheme, parts.netloc, f"{parts.path}/v1{path}", parts.query, ""))

    @property
    def authority(self) -> str:
        """Host and port as the URL has them."""
        return urlsplit(self.base).netloc

    @property
    def host(self) -> str:
        """The host, in small letters and without brackets."""
        return urlsplit(self.base).hostname or ""

    @property
    def is_reseller(self) -> bool:
        """Whether it is Azure or Vertex, also behind a proxy: their bounds are lower than Mistral's."""
        return self.host.endswith(_AZURE) or any(part in self.base for part in _RESELLERS)

    @property
    def is_loopback(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(self.host)

    @property
    def shown(self) -> str:
        """The base for messages: without its query, which may hold a key."""
        parts = urlsplit(self.base)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


class Connection:
    """Calls an API, while it is entered as a context.

    What all workers share is here: the session, the pauses that the API asks for, and whether it stores files (`has_files`
    becomes False once it said that it has no such path). `abandoned` counts the OCR calls that left, and whose response was not
    waited for, because the run was stopped: they may have been billed.
    """

    def __init__(self, endpoint: Endpoint, timing: Timing = SYSTEM) -> None:
        self.endpoint = endpoint
        self.timing = timing
        self.pauses = Pauses(timing)
        self.has_files = endpoint.has_files
        self.abandoned = 0
        self._proxy = _proxy(endpoint)
        self._open: ClientSession | None = None

    async def __aenter__(self) -> Connection:
        """Open the session; its connections are opened by calls."""
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"}
        if self.endpoint.key is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.key.reveal()}"
        timing = self.timing
        self._open = ClientSession(
            # Each call has a connection of its own: one that was kept might be closed by the API just as a call leaves, and no
            # one could tell then whether that call is billed.
            connector=TCPConnector(limit=0, force_close=True, ssl=self._tls()),
            cookie_jar=DummyCookieJar(),
            headers=headers,
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
            timeout=ClientTimeout(total=None, connect=None, sock_connect=timing.connect_s, sock_read=timing.silence_s),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session."""
        assert self._open is not None
        await self._open.close()

    def request(self, method: str, url: str, body: RequestBody | None) -> Any:
        """Return the context of one request, which yields its response. Follows no redirect: a POST would become a GET."""
        assert self._open is not None
        return self._open.request(method, url, data=body, proxy=self._proxy, allow_redirects=False)

    def _tls(self) -> ssl.SSLContext | bool:
        """Return the context that TLS needs: aiohttp's own may be without authorities (cli.fast_import)."""
        needs_tls = any((url or "").startswith("https:") for url in (self.endpoint.base, self._proxy))
        return ssl.create_default_context() if needs_tls else True


def _is_call(path: str) -> bool:
    return path.endswith(("/ocr", ":rawPredict"))


def _split(base: str) -> SplitResult:
    example = "Write it as http://127.0.0.1:4000/mistral or https://api.mistral.ai."
    try:
        parts = urlsplit(base)
        is_usable = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # as the system will: a label is neither empty nor long
    except ValueError:
        is_usable = False
    if not is_usable or not base.isprintable() or " " in base:
        raise ClientError(f"The base URL (--base-url, PASSTHROUGH_BASE_URL) is no URL of an API.\n  {example}")
    if "@" in parts.netloc:
        raise ClientError("The base URL holds a user's name.\n  Leave it out, and give the key by PASSTHROUGH_API_KEY.")
    return parts


def _key(key: str | None) -> Secret | None:
    text = (key or "").strip()
    if not text:
        return None
    if _KEY.fullmatch(text) is None:
        raise ClientError("The API key holds a character that no key has.\n  Check PASSTHROUGH_API_KEY or --api-key.")
    return Secret(text)


def _proxy(endpoint: Endpoint) -> str | None:
    """Return the HTTP proxy that the environment names for an API, as curl does. Raises ClientError for one of another kind.

    aiohttp's `trust_env` would do it too, and send what ~/.netrc holds for the host beside, or instead of, the key.
    """
    if endpoint.is_loopback or proxy_bypass(endpoint.authority):
        return None
    named = getproxies().get(urlsplit(endpoint.base).scheme)
    if not named:
        return None
    url = named if "://" in named else f"http://{named}"
    if not url.startswith(("http://", "https://")):
        raise ClientError("The proxy that the environment names is no HTTP proxy.\n  Name one, or the API's host in NO_PROXY.")
    return url
