"""The HTTP session through which google-auth and azure-identity ask token servers: bounded, and with our words for what fails.

Both libraries take a session of requests. By themselves they wait for minutes, read bodies of any size, follow redirects with a
secret in the body, take proxies and passwords from variables and .netrc, and trust other authorities than the rest of the
program. Here (1) each call has a time-out and all calls of a fetch together a deadline; (2) a body is read up to a bound;
(3) redirects are not followed; (4) nothing is taken from the environment but SSL_CERT_FILE and SSL_CERT_DIR, as for targets;
(5) what fails is a FetchError, and is kept in `trouble`, as the libraries wrap it in errors of their own. Imported with the first
fetch, as it needs requests, which comes with the extras.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
import ssl
import time
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, NameResolutionError

from ..causes import causes
from ..verifying_adapter import VerifyingAdapter
from .messages import secrets_in, server_words
from .time_limit import OpenConnections, TimeLimit
from .token import FetchError

CALL_S: Final = 10.0
FETCH_S: Final = 25.0
"""How long one call, and all calls of a fetch, may take."""
MAX_BODY_BYTES: Final = 262_144

_PIECE_BYTES: Final = 16_384
# Their answers are of no use, and the libraries would ask again after pauses of their own: the token source does that.
_NOT_NOW: Final = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_MALFORMED: Final = ("sent no whole HTTP response", "malformed")
_OF_THE_MACHINE: Final = ("localhost", "metadata", "metadata.google.internal")


class BoundedSession(requests.Session):
    """The session of one fetch.

    `secrets` is what must not be shown; what is sent and received adds to it. `trouble` is what went wrong with the last call,
    None where it was answered with success; then `useless` is the error of such an answer that turns out to hold no token.
    """

    def __init__(self, secrets: set[str], proxy: str | None) -> None:
        super().__init__()
        self.trust_env = False
        self.secrets = secrets
        self.trouble: FetchError | None = None
        self.useless: FetchError | None = None
        self.proxy = proxy
        self.deadline = time.monotonic() + FETCH_S
        self.connections = OpenConnections()
        adapter = _Adapter(self)
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: it could carry a secret to anywhere."""

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self.connections.close()


class _Adapter(VerifyingAdapter):
    """Sends what the session is given."""

    def __init__(self, session: BoundedSession) -> None:
        self._session = session
        super().__init__(ssl.create_default_context())

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """Have connections that can be closed from outside (requests calls this)."""
        super().init_poolmanager(*args, **named)
        self.poolmanager.pool_classes_by_scheme = self._session.connections.pools

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Trust them behind a proxy, too (requests calls this)."""
        manager = super().proxy_manager_for(proxy, ssl_context=self.context, **named)
        manager.pool_classes_by_scheme = self._session.connections.pools
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request and read its response. Raises FetchError where there is none, or where it says to come again."""
        session = self._session
        where = _Server(request.url or "", session)
        left_s = min(CALL_S, session.deadline - time.monotonic())
        if left_s <= 0:
            where.fails(f"did not answer within {FETCH_S:.0f} s", "timeout")
        request.headers["Accept-Encoding"] = "identity"  # A few bytes of gzip can be a gigabyte.
        session.secrets |= _sent_secrets(request.body)
        through = {} if session.proxy is None or where.is_near else dict.fromkeys(("http", "https"), session.proxy)
        try:
            with TimeLimit(session.connections, left_s):
                response = super().send(request, stream=True, timeout=left_s, verify=True, cert=cert, proxies=through)
                body = self._body(response, where)
        except requests.exceptions.ProxyError:
            where.fails("cannot be reached: the proxy on the way to it refuses or cannot be reached", "proxy")
        except requests.exceptions.SSLError as error:
            where.fails(_tls_trouble(error), "TLS")
        except (requests.exceptions.Timeout, TimeoutError):
            where.fails(f"did not answer within {left_s:.0f} s", "timeout")
        except requests.exceptions.ConnectionError as error:
            where.fails(*_trouble(error))
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError):
            where.fails(*_MALFORMED)
        where.judge(response.status_code, body)
        session.secrets |= _received_secrets(body)
        head = dict(response.headers)
        response.raw = HTTPResponse(io.BytesIO(body), headers=head, status=response.status_code, preload_content=False)
        return response

    def _body(self, response: requests.Response, where: _Server) -> bytes:
        """Read a body, up to a bound."""
        found = bytearray()
        with response.raw as raw:
            while piece := raw.read1(_PIECE_BYTES, decode_content=False):
                found += piece
                if len(found) > MAX_BODY_BYTES:
                    where.fails(f"sent more than {MAX_BODY_BYTES // 1024} KB", "too large")
        return bytes(found)


class _Server:
    """Who is asked, as messages name it, and what is said of it."""

    def __init__(self, url: str, session: BoundedSession) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._name = f"The token server {self._host}" + (f":{parts.port}" if parts.port else "")
        self._session = session

    @property
    def is_near(self) -> bool:
        """Tell whether this machine or its link is asked, which no proxy reaches."""
        if self._host in {*_OF_THE_MACHINE, os.environ.get("GCE_METADATA_HOST", "").partition(":")[0]}:
            return True
        try:
            return not ipaddress.ip_address(self._host).is_global
        except ValueError:
            return False

    def fails(self, what: str, sort: str) -> NoReturn:
        """Raise the FetchError that says this of the server."""
        self._session.trouble = FetchError(f"{self._name} {what}.", f"{self._name} {sort}")
        raise self._session.trouble from None

    def judge(self, status: int, body: bytes) -> None:
        """Keep what is wrong with a response; raise it where the libraries must not come again by themselves."""
        if status < HTTPStatus.MULTIPLE_CHOICES:
            self._session.trouble = None
            what = "sent no token that can be used: access_token or expires_in is missing or wrong"
            self._session.useless = FetchError(f"{self._name} {what}.")
            return
        code, description = server_words(body, self._session.secrets)
        words = "".join((f", {code}" if code else "", f": {description.rstrip('.')}" if description else ""))
        self._session.trouble = FetchError(f"{self._name} answered {status}{words}.", f"{self._name} {status} {code}")
        if status in _NOT_NOW:
            raise self._session.trouble


def _sent_secrets(body: Any) -> set[str]:
    """Return what is secret in a form that goes up."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return secrets_in(dict(parse_qsl(text))) if isinstance(text, str) else set()


def _received_secrets(body: bytes) -> set[str]:
    """Return what is secret in a response: its tokens."""
    try:
        return secrets_in(json.loads(body))
    except (ValueError, RecursionError):
        return set()


def _tls_trouble(error: BaseException) -> str:
    """Say what is wrong with TLS."""
    for each in causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return (
                f"has a certificate that is not trusted: {each.verify_message}; add its authority to the system's, "
                "or name a file of authorities in SSL_CERT_FILE"
            )
    return "does not speak TLS as it should"


def _trouble(error: BaseException) -> tuple[str, str]:
    """Say why there is no connection, in the system's words, or what came over it."""
    for each in causes(error):
        if isinstance(each, NameResolutionError):
            return "cannot be reached: its name cannot be resolved", "unreachable"
        if isinstance(each, OSError) and each.strerror and each.errno is not None:
            return f"cannot be reached: {each.strerror}", "unreachable"
    return _MALFORMED
