"""Token servers on loopback: Google's for service accounts, Entra's over TLS, the metadata servers of both clouds.

One server is all of them, told apart by the path. It checks what it is shown, gives a new token each time, and notes what it was
asked. `TokenServer.answer` puts another answer in the place of its own; `hold()` lets no call end.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trustme

from tests.harness.tls import served_by
from tests.harness.waiting import WAIT_S

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-aaaaaaaaaaaa"
CLIENT_SECRET = "client-secret~canary.0123456789abcdef"
ASSERTION = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnktYXNzZXJ0aW9uLTAxMjM0NSJ9.canary"
IDENTITY_HEADER = "identity-header-canary-0123456789"
ACCOUNT = "ocr@canary-project.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Asked:
    """One request that came. `form` holds the fields of the query and of the body."""

    method: str
    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes

    @property
    def wants_token(self) -> bool:
        """Tell whether a token is asked for, rather than where there are some, or who one is."""
        return self.path.endswith("/token")


@dataclass(frozen=True)
class Answer:
    """What is sent back: `body` is JSON where it is no bytes; `head` is added to the head."""

    status: int = 200
    body: Any = b""
    content_type: str = "application/json"
    head: Mapping[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """Return the body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class TokenServer:
    """A running one. `life_s` is how long its tokens live; `issued` are those that it gave."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.life_s: Any = 3600
        self.asked: list[Asked] = []
        self.issued: list[str] = []
        self.answer: Callable[[Asked], Answer | None] = lambda asked: None
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._free.set()

    @property
    def host(self) -> str:
        """Host and port, as GCE_METADATA_HOST has them."""
        return urlsplit(self.url).netloc

    @property
    def token_uri(self) -> str:
        """Where a service account gets its tokens."""
        return f"{self.url}/google/token"

    @property
    def fetches(self) -> int:
        """How many tokens were asked for."""
        return sum(each.wants_token for each in self.asked)

    def hold(self) -> None:
        """Let calls that come from now on wait."""
        self._free.clear()

    def release(self) -> None:
        """Let all go on."""
        self._free.set()

    def service_account(self, **more: Any) -> dict[str, Any]:
        """Return the content of the key file of a service account whose tokens are here."""
        key = {"type": "service_account", "client_email": ACCOUNT, "token_uri": self.token_uri, "private_key": _private_key()}
        return {**key, "project_id": "canary-project", "private_key_id": "0123", **more}

    def azure_machine(self) -> dict[str, str]:
        """Return the variables by which App Service tells its programs where they get a token."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": IDENTITY_HEADER}

    def serve(self, asked: Asked) -> Answer:
        """Answer a request."""
        with self._lock:
            self.asked.append(asked)
        self._free.wait(WAIT_S)
        try:
            return self.answer(asked) or self._own(asked)
        except Exception as error:  # noqa: BLE001 - what is wrong with a request is seen by who sent it
            return Answer(400, {"error": "bad_in_test", "error_description": repr(error)})

    def token(self) -> str:
        """Return a new token."""
        with self._lock:
            # As Google's, which dots may end: a bearer token may have them.
            self.issued.append(
                f"ya29.canary-token-{len(self.issued)}-{base64.b32encode(str(self.url).encode()).decode().rstrip('=')}.."
            )
            return self.issued[-1]

    def _own(self, asked: Asked) -> Answer:
        path, form = asked.path, asked.form
        if path == "/token":  # oauth2.googleapis.com/token
            return self._given()
        if path == "/google/token":
            _check_assertion(form["assertion"])
            return self._given()
        if path.startswith("/computeMetadata/v1/"):
            assert "Google" == asked.headers["Metadata-Flavor"]
            if path.endswith("/token"):
                return self._given(head={"Metadata-Flavor": "Google"})
            return Answer(body={"email": ACCOUNT, "scopes": [], "aliases": ["default"]}, head={"Metadata-Flavor": "Google"})
        if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.url}/{TENANT}/oauth2/v2.0"
            places = {"token_endpoint": f"{base}/token", "authorization_endpoint": f"{base}/authorize"}
            return Answer(body={**places, "issuer": f"{self.url}/{TENANT}/v2.0"})
        if path == f"/{TENANT}/oauth2/v2.0/token":
            assert CLIENT == form["client_id"]
            if form.get("client_secret") == CLIENT_SECRET or form.get("client_assertion") == ASSERTION:
                return self._given()
            what = "AADSTS7000215: Invalid client secret provided. Trace ID: 0 Correlation ID: 1 Timestamp: 2026-11-29 10:00:00Z"
            return Answer(401, {"error": "invalid_client", "error_description": what, "error_codes": [7000215]})
        if path == "/msi/token":
            assert IDENTITY_HEADER == asked.headers["X-IDENTITY-HEADER"]
            expires = int(time.time()) + self.life_s
            return Answer(
                body={"access_token": self.token(), "expires_on": str(expires), "token_type": "Bearer", "resource": "r"}
            )
        return Answer(404, {"error": "not_found"})

    def _given(self, head: Mapping[str, str] | None = None) -> Answer:
        body = {"access_token": self.token(), "expires_in": self.life_s, "token_type": "Bearer"}
        return Answer(body=body, head=head or {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer, whatever the method."""
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        form = dict(parse_qsl(parts.query)) | dict(parse_qsl(body.decode("utf-8", "replace")))
        answer = self.server.serves.serve(Asked(self.command, parts.path, self.headers, form, body))
        sent = answer.bytes()
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.content_type, "Content-Length": str(len(sent)), **answer.head}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    serves: TokenServer

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that leave."""


@contextmanager
def token_server(authority: trustme.CA | None = None, *names: str) -> Iterator[TokenServer]:
    """Run one on a free port of 127.0.0.1; over TLS, as `localhost` and these names, where an authority is given."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if authority is None:
        server.serves = TokenServer(f"http://127.0.0.1:{server.server_port}")
    else:
        server.serves = TokenServer(f"https://localhost:{server.server_port}")
        server.socket = served_by(authority, "localhost", *names).wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.serves
    finally:
        server.serves.release()
        server.shutdown()
        server.server_close()
        thread.join()


class Tunnel:
    """An HTTP proxy that leads every CONNECT to one server; `heads` are those of the requests that it got."""

    def __init__(self, port: int) -> None:
        self.heads: list[bytes] = []
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(near,), daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(65_536)
            self.heads.append(head)
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            there = threading.Thread(target=_copy, args=(near, far), daemon=True)
            there.start()
            _copy(far, near)
            there.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def tunnel_to(server: TokenServer) -> Iterator[Tunnel]:
    """Run a proxy behind which a server has every name."""
    tunnel = Tunnel(urlsplit(server.url).port or 0)
    try:
        yield tunnel
    finally:
        tunnel.close()


@cache
def _keys() -> tuple[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), key.public_key()


def _private_key() -> str:
    return _keys()[0]


def _check_assertion(assertion: str) -> None:
    """Check that the account's own key signed it, for an hour at most. It names Google's server, wherever it goes."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    signed, _, signature = assertion.rpartition(".")
    _keys()[1].verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
    claims = json.loads(_decoded(signed.split(".")[1]))
    assert (ACCOUNT, "https://oauth2.googleapis.com/token") == (claims["iss"], claims["aud"])
    assert claims["exp"] - claims["iat"] <= 3600
    assert "https://www.googleapis.com/auth/" in claims["scope"]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
