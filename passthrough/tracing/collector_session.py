"""The HTTP session through which OpenTelemetry's exporter posts spans: bounded, and with our words for what fails.

By itself the exporter's session takes proxies and passwords from variables and .netrc, trusts another list of authorities than
the rest of the program, and reads responses of any size. Here nothing is taken from the environment but SSL_CERT_FILE and
SSL_CERT_DIR, as for targets. Imported by the thread that exports, as it needs requests, which comes with the extra `otel`.
"""

from __future__ import annotations

import gzip
import io
import ssl
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf brings no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from ..causes import causes
from ..verifying_adapter import VerifyingAdapter
from .settings import TracingSettings

_PROTOBUF: Final = "application/x-protobuf"
_OWN: Final = frozenset(
    {"accept", "authorization", "connection", "content-encoding", "content-length", "content-type", "host", "user-agent"}
)
"""Fields that requests and the exporter send by themselves."""
_MAX_BODY_BYTES: Final = 65_536
_MULTIPLE_CHOICES: Final = 300
_COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"none": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


class CollectorSession(requests.Session):
    """A session with one collector. `trouble` is what went wrong with the last call; `rejected` counts spans that it refused.

    `is_taken`: the batch that was begun last was posted, and answered with success.
    """

    def __init__(self, settings: TracingSettings) -> None:
        """Raises OSError, ssl.SSLError among them, where a certificate or a key cannot be used."""
        super().__init__()
        self.trust_env = False
        self.trouble: str | None = None
        self.rejected = 0
        self.is_taken = False
        self.payload = b""
        self._compress = _COMPRESSORS[settings.compression]
        self.fields = _OWN | settings.headers.keys()
        adapter = _Adapter(self, _context(settings))
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)

    def begin(self, payload: bytes) -> None:
        """Post this request of OTLP from now on, whatever the exporter gives."""
        self.payload, self.trouble, self.is_taken = self._compress(payload), None, False

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: it could carry the headers to anywhere."""


class _Adapter(VerifyingAdapter):
    """Sends what the session is given, and notes what comes of it."""

    def __init__(self, session: CollectorSession, context: ssl.SSLContext) -> None:
        self._session = session
        super().__init__(context)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request and read its response, up to a bound. Raises what requests raises."""
        request.prepare_body(self._session.payload, None)  # with its length
        # The exporter reads OTEL_EXPORTER_OTLP_HEADERS itself, too, with what the settings leave out.
        for name in [name for name in request.headers if name.lower() not in self._session.fields]:
            del request.headers[name]
        request.headers["Accept-Encoding"] = "identity"  # A few bytes of gzip can be a gigabyte.
        try:
            response = super().send(request, stream=True, timeout=timeout, verify=True, cert=None, proxies={})
            body = response.raw.read(_MAX_BODY_BYTES, decode_content=False)
            if len(body) == _MAX_BODY_BYTES:
                response.raw.close()
        except requests.exceptions.SSLError as error:
            self._session.trouble = _tls_trouble(error)
            raise
        except (requests.exceptions.Timeout, TimeoutError):
            self._session.trouble = "it does not answer in time"
            raise
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:
            self._session.trouble = _trouble(error)
            raise
        self._judge(response, body)
        head = dict(response.headers)
        response.raw = HTTPResponse(io.BytesIO(body), headers=head, status=response.status_code, preload_content=False)
        return response

    def _judge(self, response: requests.Response, body: bytes) -> None:
        """Note a refusal of all spans, or of some of them (OTLP, "Partial Success")."""
        session, status = self._session, response.status_code
        if status >= _MULTIPLE_CHOICES:
            session.trouble = f"it answered {status}"
            return
        session.trouble, session.is_taken = None, True
        if body and response.headers.get("Content-Type", "").startswith(_PROTOBUF):
            try:
                rejected = ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans
            except DecodeError:  # all spans were taken, by the status
                return
            if rejected > 0:
                session.rejected += rejected
                session.trouble = "it rejects some of the spans"


def _context(settings: TracingSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.certificate)
    if settings.client_certificate is not None:
        context.load_cert_chain(settings.client_certificate, settings.client_key, password="")
    return context


def _tls_trouble(error: BaseException) -> str:
    for each in causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {each.verify_message}; name its authority in OTEL_EXPORTER_OTLP_CERTIFICATE"
    return "it does not speak TLS as it should"


def _trouble(error: BaseException) -> str:
    """Say why there is no connection, in the system's words, or what came over it."""
    for each in causes(error):
        if isinstance(each, OSError) and each.strerror and each.errno is not None:
            return each.strerror
    return "it sent no whole HTTP response"
