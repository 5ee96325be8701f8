"""Tokens are fetched by the clouds' own libraries; a token server that means ill gets neither a head nor a log to write in."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from passthrough.credentials import bounded_session
from passthrough.credentials.fetchers import MAX_TOKEN, fetcher, missing_extra
from passthrough.credentials.identity import EntraIdentity, GoogleIdentity, Identity
from passthrough.credentials.token import FetchError, Token
from passthrough.secret import Secret
from tests.harness.process import clean_environment
from tests.harness.token_servers import (
    ASSERTION,
    CLIENT,
    CLIENT_SECRET,
    IDENTITY_HEADER,
    TENANT,
    Answer,
    Asked,
    TokenServer,
    token_server,
    tunnel_to,
)
from tests.harness.waiting import WAIT_S

pytestmark = pytest.mark.wire

NO_VARIABLES: dict[str, str] = {}


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """A token server without TLS."""
    with token_server() as running:
        yield running


@pytest.fixture
def entra(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    """Entra, by an authority that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with token_server(authority, "login.example.com") as running:
        yield running


@pytest.fixture
def google_itself(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TokenServer, Secret]]:
    """Google's own servers, and the proxy behind which they are."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with (
        token_server(authority, "oauth2.googleapis.com", "iamcredentials.googleapis.com") as running,
        tunnel_to(running) as tunnel,
    ):
        yield running, Secret(tunnel.url)


def google(server: TokenServer, **more: Any) -> GoogleIdentity:
    """Return a service account of this server."""
    return GoogleIdentity(Secret(json.dumps(server.service_account(**more))))


def by_secret(server: TokenServer, secret: str = CLIENT_SECRET) -> EntraIdentity:
    """Return an app of this Entra."""
    return EntraIdentity(TENANT, CLIENT, Secret(secret), authority=server.url)


def fetched(identity: Identity, environ: dict[str, str] = NO_VARIABLES) -> Token:
    """Fetch a token, and check that no repr shows it."""
    token = fetcher(identity, environ)()
    assert token.secret.reveal() not in repr(token)
    return token


def failure(identity: Identity, environ: dict[str, str] = NO_VARIABLES) -> str:
    """Return what is said where no token is fetched; the error leads to nothing that says more."""
    with pytest.raises(FetchError) as caught:
        fetcher(identity, environ)()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 500
    return said


# ── tokens ──


def test_google_service_account(server: TokenServer) -> None:
    """Its key signs the request; the token and its end are what the server says."""
    before = time.time()
    token = fetched(google(server))
    assert (server.issued[0], 3600) == (token.secret.reveal(), pytest.approx(token.good_until_utc - before, abs=WAIT_S))
    assert f"Authorization: Bearer {server.issued[0]}".encode() == token.line
    assert ["/google/token"] == [each.path for each in server.asked]


def test_each_fetch_brings_a_new_token(server: TokenServer, entra: TokenServer) -> None:
    """No library keeps one: a renewal is one."""
    for identity, asked in ((google(server), server), (by_secret(entra), entra)):
        fetch = fetcher(identity, NO_VARIABLES)
        assert [fetch().secret.reveal() for _ in range(3)] == asked.issued


def test_google_authorized_user(google_itself: tuple[TokenServer, Secret]) -> None:
    """What `gcloud auth application-default login` writes: Google's own server is asked."""
    server, proxy = google_itself
    user = {"type": "authorized_user", "client_id": "id", "client_secret": "secret-canary", "refresh_token": "refresh-canary-1"}
    token = fetched(GoogleIdentity(Secret(json.dumps(user)), proxy=proxy))
    assert server.issued == [token.secret.reveal()]
    assert "refresh-canary-1" == server.asked[0].form["refresh_token"]


def test_google_external_account(server: TokenServer, tmp_path: Path) -> None:
    """Workload identity federation: a file's token is exchanged; here the file is read at each fetch."""
    (tmp_path / "subject").write_text("subject-token-canary-1", "ascii")
    server.answer = lambda asked: Answer(
        body={
            "access_token": server.token(),
            "expires_in": 3600,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
        }
    )
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.url}/sts/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    fetched(GoogleIdentity(Secret(json.dumps(info))))
    assert "subject-token-canary-1" == server.asked[0].form["subject_token"]


def test_google_impersonation(google_itself: tuple[TokenServer, Secret], server: TokenServer) -> None:
    """An account's token is fetched first, and shown to who gives the one of the other account."""
    itself, proxy = google_itself
    itself.answer = lambda asked: Answer(body={"accessToken": "impersonated-canary-1", "expireTime": "2100-01-01T00:00:00Z"})
    name = (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/other@x.iam.gserviceaccount.com:generateAccessToken"
    )
    info = {"type": "impersonated_service_account", "service_account_impersonation_url": name}
    identity = GoogleIdentity(Secret(json.dumps({**info, "source_credentials": server.service_account()})), proxy=proxy)
    assert "impersonated-canary-1" == fetched(identity).secret.reveal()
    assert f"Bearer {server.issued[0]}" == itself.asked[0].headers["Authorization"]
    itself.answer = lambda asked: Answer(
        403, {"error": {"status": "PERMISSION_DENIED", "message": f"No: {asked.headers['Authorization']}"}}
    )
    said = failure(identity)
    assert "The token server iamcredentials.googleapis.com answered 403, PERMISSION_DENIED: No: Bearer …." == said


def test_google_machine(server: TokenServer, tmp_path: Path) -> None:
    """The metadata server by GCE_METADATA_HOST, where no file is named and gcloud wrote none."""
    said = in_a_process("GoogleIdentity()", GCE_METADATA_HOST=server.host, CLOUDSDK_CONFIG=str(tmp_path))
    assert 1 == server.fetches
    assert said == f"{server.issued[0]}\n"


def test_google_machine_that_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was tried is said."""
    said = failure(GoogleIdentity(), {"CLOUDSDK_CONFIG": str(tmp_path)})
    assert said.startswith(
        "Neither GOOGLE_APPLICATION_CREDENTIALS nor gcloud gives credentials here, and the token server metadata.google.internal "
    )


def test_google_machine_is_asked_past_a_proxy(server: TokenServer, tmp_path: Path) -> None:
    """What is on the machine's link is not reached by a proxy, and no proxy sees its token."""
    identity = "GoogleIdentity(proxy=Secret('http://127.0.0.1:9'))"
    assert in_a_process(identity, GCE_METADATA_HOST=server.host, CLOUDSDK_CONFIG=str(tmp_path)) == f"{server.issued[0]}\n"


@pytest.mark.parametrize("variable", ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "HOME"])
def test_google_default_file(server: TokenServer, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named file, or what gcloud wrote; it is read at each fetch."""
    place = {
        "GOOGLE_APPLICATION_CREDENTIALS": tmp_path / "key.json",
        "CLOUDSDK_CONFIG": tmp_path / "application_default_credentials.json",
        "HOME": tmp_path / ".config/gcloud/application_default_credentials.json",
    }[variable]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(server.service_account()), "utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {variable: str(place if variable.startswith("GOOGLE") else tmp_path)}
    assert fetched(GoogleIdentity(), environ).secret.reveal() == server.issued[0]


def test_google_default_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named; nothing else is tried."""
    said = failure(GoogleIdentity(), {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")})
    assert f"{tmp_path}/key.json, the file of GOOGLE_APPLICATION_CREDENTIALS, cannot be read: No such file or directory." == said
    (tmp_path / "key.json").write_bytes(b"\xff")
    assert failure(GoogleIdentity(), {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}).endswith("it is not UTF-8.")


def test_entra_secret(entra: TokenServer) -> None:
    """An app with its secret, and its scope."""
    token = fetched(by_secret(entra))
    assert entra.issued == [token.secret.reveal()]
    assert "https://cognitiveservices.azure.com/.default" == entra.asked[-1].form["scope"].split()[0]
    assert f"/{TENANT}/oauth2/v2.0/token" == entra.asked[-1].path


def test_entra_workload_identity(entra: TokenServer, tmp_path: Path) -> None:
    """The file is read at each fetch, without the line feed at its end."""
    path = tmp_path / "token"
    identity = EntraIdentity(TENANT, CLIENT, federated_token_file=str(path), authority=entra.url)
    assert f"{path}, the federated token file, cannot be read: No such file or directory." == failure(identity)
    path.write_text("\n", "ascii")
    assert f"{path}, the federated token file, is empty." == failure(identity)
    path.write_bytes(b"\xff")
    assert f"{path}, the federated token file, cannot be read: it holds no token." == failure(identity)
    path.write_text(f"{ASSERTION}\n", "ascii")
    assert fetched(identity).secret.reveal() == entra.issued[0]


@pytest.mark.parametrize("client_id", [None, CLIENT])
def test_entra_managed_identity(server: TokenServer, client_id: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own, or one that is assigned to it."""
    for name, value in server.azure_machine().items():
        monkeypatch.setenv(name, value)
    identity = EntraIdentity(client_id=client_id, managed_identity=True, proxy=Secret("http://127.0.0.1:9"))
    assert fetched(identity).secret.reveal() == server.issued[0]
    assert client_id == server.asked[0].form.get("client_id")
    server.answer = lambda asked: Answer(400, {"statusCode": 400, "message": f"No such identity for {IDENTITY_HEADER}"})
    assert IDENTITY_HEADER not in failure(identity, server.azure_machine())


def test_entra_authority_of_the_environment(entra: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """AZURE_AUTHORITY_HOST names it where the configuration does not."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", entra.url)
    fetched(replace(by_secret(entra), authority=None))


# ── what goes wrong ──


def test_a_wrong_secret(entra: TokenServer) -> None:
    """Entra's own words, without what differs each time."""
    said = failure(by_secret(entra, "wrong-secret-canary-0123456789"))
    where = entra.url.removeprefix("https://")
    assert f"The token server {where} answered 401, invalid_client: AADSTS7000215: Invalid client secret provided." == said


def test_trouble_is_of_a_sort(entra: TokenServer) -> None:
    """The same sort, however the words differ."""
    numbers = iter(range(9))
    entra.answer = lambda asked: Answer(400, {"error": "invalid_grant", "error_description": f"Request {next(numbers)}"})
    caught = []
    for _ in range(2):
        with pytest.raises(FetchError) as error:
            fetcher(by_secret(entra), NO_VARIABLES)()
        caught.append(error.value)
    assert str(caught[0]) != str(caught[1])
    assert caught[0].sort == caught[1].sort


def test_a_server_that_is_not_there(server: TokenServer) -> None:
    """Nor its name."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}/token"
    assert f"The token server 127.0.0.1:{port} cannot be reached: Connection refused." == failure(google(server, token_uri=uri))
    said = failure(google(server, token_uri="http://nowhere.invalid/token"))
    assert "The token server nowhere.invalid cannot be reached: its name cannot be resolved." == said


def test_a_certificate_that_is_not_trusted(authority: trustme.CA) -> None:
    """Nothing was sent."""
    with token_server(authority) as running:
        said = failure(by_secret(running))
        assert [] == running.asked
    assert "has a certificate that is not trusted: unable to get local issuer certificate; add its authority" in said


def test_no_variable_changes_what_is_trusted(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the system's, as for targets; and no proxy comes from a variable, no password from .netrc."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, ca_file)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with token_server(authority) as running:
        assert "not trusted" in failure(by_secret(running))
        monkeypatch.setenv("SSL_CERT_FILE", ca_file)
        fetched(by_secret(running))


def test_no_tls(server: TokenServer) -> None:
    """A port that speaks something else."""
    said = failure(replace(by_secret(server), authority=server.url.replace("http:", "https:")))
    assert "does not speak TLS as it should" in said


@contextmanager
def raw_server(conversation: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that says what it likes; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65_536)
                        conversation(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def says(text: bytes) -> Callable[[socket.socket], None]:
    """Return a server's part: it says this, and leaves."""
    return lambda connection: connection.sendall(text)


def never(connection: socket.socket) -> None:
    """Answer nothing, until the other one leaves."""
    while connection.recv(65_536):
        pass


def dripping_head(connection: socket.socket) -> None:
    """Send a head, a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(10_000):
        connection.sendall(b"x")
        time.sleep(0.01)


def endless(connection: socket.socket) -> None:
    """Send a body whose end is that of the connection, a byte now and then."""
    connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"access_token": "canary", "expires_in": 3600}')
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(0.01)


def dripping(connection: socket.socket) -> None:
    """Send a body, a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(0.01)


def dripping_handshake(connection: socket.socket) -> None:
    """Begin a TLS record, a byte now and then."""
    connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")
    for _ in range(10_000):
        connection.sendall(b"x")
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        (never, "did not answer within"),
        (dripping, "did not answer within"),
        (dripping_head, "did not answer within"),
        (endless, "did not answer within"),
        (says(b""), "sent no whole HTTP response"),
        (says(b"SSH-2.0-OpenSSH_9\r\n"), "sent no whole HTTP response"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nshort"), "sent no whole HTTP response"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "sent no whole HTTP response"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "sent no whole HTTP response"),
    ],
    ids=["never", "dripping", "dripping head", "endless", "nothing", "ssh", "short", "chunks", "head"],
)
def test_odd_servers(
    server: TokenServer, conversation: Callable[[socket.socket], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is said in words, within a bounded time."""
    monkeypatch.setattr(bounded_session, "CALL_S", 0.3)
    with raw_server(conversation) as port:
        assert said in failure(google(server, token_uri=f"http://127.0.0.1:{port}/token"))


@pytest.mark.parametrize("conversation", [never, dripping_handshake])
def test_odd_servers_of_tls(conversation: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake has no more time than the rest."""
    monkeypatch.setattr(bounded_session, "CALL_S", 0.3)
    with raw_server(conversation) as port:
        said = failure(EntraIdentity(TENANT, CLIENT, Secret(CLIENT_SECRET), authority=f"https://127.0.0.1:{port}"))
    assert "did not answer within 0 s" in said


def test_a_deadline_for_all_calls(entra: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch of several calls ends in time."""
    monkeypatch.setattr(bounded_session, "FETCH_S", 0.0)
    assert "did not answer within 0 s" in failure(by_secret(entra))
    assert [] == entra.asked


def test_by_a_proxy(entra: TokenServer) -> None:
    """It is asked for a tunnel, with its password, and sees no more."""
    with tunnel_to(entra) as tunnel:
        proxy = Secret(tunnel.url.replace("//", "//user:proxy%2Dcanary@"))
        fetched(replace(by_secret(entra), authority=entra.url.replace("localhost", "login.example.com"), proxy=proxy))
    assert all(head.startswith(b"CONNECT login.example.com:") for head in tunnel.heads)
    assert all(base64.b64encode(b"user:proxy-canary") in head for head in tunnel.heads)


def test_a_proxy_that_refuses(server: TokenServer) -> None:
    """It is said that it is the proxy, without its password."""
    with raw_server(says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")) as port:
        proxy = Secret(f"http://user:proxy-canary@127.0.0.1:{port}")
        said = failure(EntraIdentity(TENANT, CLIENT, Secret(CLIENT_SECRET), authority="https://login.example.com", proxy=proxy))
    assert (
        "The token server login.example.com cannot be reached: the proxy on the way to it refuses or cannot be reached." == said
    )


# ── servers that mean ill ──

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiJ0b2tlbi1jYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"


def echo(asked: Asked) -> Answer | None:
    """Return in an error's description all that was sent."""
    if not asked.wants_token:
        return None
    text = " ".join([*asked.form.values(), *asked.headers.values(), JWT])
    return Answer(400, {"error": "invalid_grant", "error_description": text})


def echo_in_pieces(asked: Asked) -> Answer | None:
    """Return it with blanks between all characters."""
    text = " ".join(asked.form.get("client_secret", asked.form.get("assertion", "")))
    return Answer(400, {"error": "invalid_grant", "error_description": text}) if asked.wants_token else None


def echo_as_code(asked: Asked) -> Answer | None:
    """Return it in the place of the error's code."""
    code = asked.form.get("client_secret", asked.form.get("assertion", ""))
    return Answer(400, {"error": code, "error_description": code}) if asked.wants_token else None


def answers(status: int, body: Any, content_type: str = "application/json", **head: str) -> Callable[[Asked], Answer | None]:
    """Return a server's part: it answers a request for a token like this."""
    return lambda asked: Answer(status, body, content_type, head) if asked.wants_token else None


def gives(**fields: Any) -> Callable[[Asked], Answer | None]:
    """Return a server's part: it gives a token with these fields."""
    body = {"access_token": JWT, "expires_in": 3600, "token_type": "Bearer", **fields}
    return answers(200, {name: value for name, value in body.items() if value is not ...})


HOSTILE: dict[str, Callable[[Asked], Answer | None]] = {
    "echo": echo,
    "echo in pieces": echo_in_pieces,
    "echo as code": echo_as_code,
    "html": answers(400, f"<html><script>{JWT}</script>{CLIENT_SECRET}</html>".encode(), "text/html"),
    "html 200": answers(200, f"<html>{JWT}{CLIENT_SECRET}</html>".encode(), "text/html"),
    "control characters": answers(400, {"error": "invalid_grant", "error_description": "\x1b]0;x\x07\r\nline\u202e\x00"}),
    "control characters in the code": answers(400, {"error": "invalid\r\ngrant", "error_description": 1}),
    "10 MB": answers(200, b" " * 10_000_000),
    "10 MB error": answers(400, b'{"error":"' + b"x" * 10_000_000 + b'"}'),
    "gzip bomb": answers(200, gzip.compress(b" " * 10_000_000), **{"Content-Encoding": "gzip"}),
    "nothing": answers(200, b""),
    "not json": answers(200, b"{"),
    "deep json": answers(200, b"[" * 100_000),
    "not utf-8": answers(200, b"\xff\xfe"),
    "list": answers(200, []),
    "text": answers(200, "text"),
    "null": answers(200, b"null"),
    "number": answers(200, b"7"),
    "no token": answers(200, {"expires_in": 3600, "token_type": "Bearer"}),
    "no end": gives(expires_in=...),
    "end is text": gives(expires_in="soon"),
    "end is null": gives(expires_in=None),
    "end is a list": gives(expires_in=[3600]),
    "end is huge": gives(expires_in=10**400),
    "end is infinite": answers(200, f'{{"access_token": "{JWT}", "expires_in": 1e999}}'.encode()),
    "end is no number": answers(200, f'{{"access_token": "{JWT}", "expires_in": NaN}}'.encode()),
    "empty token": gives(access_token=""),
    "token is null": gives(access_token=None),
    "token is a number": gives(access_token=7),
    "token is an object": gives(access_token={"a": JWT}),
    "token with CR LF": gives(access_token=f"{JWT}\r\nX-Injected: yes"),
    "token ends with LF": gives(access_token=f"{JWT}\n"),
    "token with NUL": gives(access_token=f"{JWT}\x00"),
    "token with a blank": gives(access_token=f"{JWT} x"),
    "token is not ASCII": gives(access_token=f"{JWT}é"),
    "token is long": gives(access_token="a" * (MAX_TOKEN + 1)),
    "redirect": answers(307, b"", Location="http://127.0.0.1:9/elsewhere"),
    "redirect 302": answers(302, b"", Location="https://elsewhere.example/"),
    "204": answers(204, b""),
    "401": answers(401, b""),
    "403": answers(403, {"error": {"status": "PERMISSION_DENIED", "message": f"{JWT} has no right"}}),
    "408": answers(408, b""),
    "429": answers(429, b"", **{"Retry-After": "3600"}),
    "500": answers(500, {"error": "server_error"}),
    "502": answers(502, b"<html>"),
    "503": answers(503, {"error": "temporarily_unavailable"}),
    "504": answers(504, b""),
    "599": answers(599, b""),
}


@pytest.mark.parametrize("kind", ["google", "entra"])
@pytest.mark.parametrize("evil", HOSTILE)
def test_a_hostile_server(
    server: TokenServer,
    entra: TokenServer,
    kind: str,
    evil: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No token comes of it; neither the message nor a log at any level has what it was sent, or what it sent."""
    caplog.set_level(logging.DEBUG)
    asked, identity = (server, google(server)) if kind == "google" else (entra, by_secret(entra))
    asked.answer = HOSTILE[evil]
    said = failure(identity)
    sent = {value for each in asked.asked for value in each.form.values() if len(value) > 20}
    shown = "".join([said, caplog.text, *capfd.readouterr()])
    key = (
        json.loads(identity.info.reveal())["private_key"]
        if isinstance(identity, GoogleIdentity) and identity.info
        else CLIENT_SECRET
    )
    for secret in (JWT, key, CLIENT_SECRET, *(each for each in sent if each != "urn:ietf:params:oauth:grant-type:jwt-bearer")):
        assert secret not in shown
        assert secret[:25] not in shown
    assert "" == caplog.text
    assert asked.fetches <= (1 if kind == "google" else 2)
    asked.answer = lambda asked: None
    fetched(identity)


def test_the_token_before_is_a_secret(server: TokenServer) -> None:
    """A server that echoes what it gave, in words that look like none, is not shown."""
    token = "all-lower-case-words-as-a-token"
    server.answer = gives(access_token=token)
    fetch = fetcher(google(server), NO_VARIABLES)
    assert token == fetch().secret.reveal()
    server.answer = answers(400, {"error": "invalid_grant", "error_description": f"There is one: {token}"})
    with pytest.raises(FetchError) as caught:
        fetch()
    assert str(caught.value).endswith("invalid_grant: There is one: ….")


@pytest.mark.parametrize("life_s", [1, 3600, "3600", 10**9])
def test_ends_of_tokens(server: TokenServer, entra: TokenServer, life_s: Any) -> None:
    """A number, or one in a text."""
    for asked, identity in ((server, google(server)), (entra, by_secret(entra))):
        asked.life_s = life_s
        assert int(life_s) == pytest.approx(fetched(identity).good_until_utc - time.time(), abs=WAIT_S)


@pytest.mark.parametrize("life_s", [0, -3600])
def test_tokens_that_have_ended(server: TokenServer, life_s: Any) -> None:
    """It is the source that judges: it knows the time."""
    server.life_s = life_s
    assert life_s == pytest.approx(fetched(google(server)).good_until_utc - time.time(), abs=WAIT_S)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("", "The Google credentials are not JSON."),
        ("{", "The Google credentials are not JSON."),
        ("[" * 100_000, "The Google credentials are not JSON."),
        ("[]", "The Google credentials are no JSON object."),
        ("{}", "The Google credentials have no 'type' that is known here: download the account's key file again."),
        ('{"type": "gdch_service_account"}', "The Google credentials have no 'type' that is known here: download"),
        ('{"type": "service_account"}', "No token was fetched: "),
        ('{"type": "authorized_user"}', "No token was fetched: "),
        ('{"type": "external_account"}', "No token was fetched"),
        ('{"type": "external_account", "credential_source": {"executable": {}}}', "No token was fetched"),
        (
            '{"type": "external_account", "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}',
            "No token was fetched",
        ),
        ('{"type": "external_account_authorized_user"}', "No token was fetched"),
        ('{"type": "impersonated_service_account"}', "No token was fetched"),
    ],
)
def test_credentials_that_are_none(info: str, said: str) -> None:
    """What google-auth does not understand is said, not raised."""
    assert failure(GoogleIdentity(Secret(info))).startswith(said)


def test_a_broken_key_is_not_shown(server: TokenServer) -> None:
    """Nor a part of it."""
    key = server.service_account()["private_key"]
    said = failure(google(server, private_key=key[:200] + "!" + key[200:]))
    assert "The private key of the Google credentials cannot be read: download the account's key file again." == said
    assert not any(line in said for line in key.splitlines() if line)


@pytest.mark.parametrize(
    "identity",
    [
        EntraIdentity(TENANT, CLIENT, Secret(CLIENT_SECRET), authority="http://login.example.com"),
        EntraIdentity("bad tenant/..", CLIENT, Secret(CLIENT_SECRET)),
        EntraIdentity(TENANT, CLIENT, Secret("")),
        EntraIdentity(),
    ],
)
def test_identities_that_are_none(identity: EntraIdentity) -> None:
    """What azure-identity does not accept is said, not raised."""
    assert CLIENT_SECRET not in failure(identity)


# ── the libraries ──

PRINTS = """
import sys
from passthrough.credentials.fetchers import fetcher
from passthrough.credentials.identity import *
from passthrough.secret import Secret
print(fetcher({identity})().secret.reveal())
"""


def in_a_process(identity: str, **environ: str) -> str:
    """Fetch a token in another process, where the libraries see these variables when they are imported; return stdout."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTS.format(identity=identity)],
        env=clean_environment(**environ),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout


def test_the_libraries_are_imported_with_the_first_fetch() -> None:
    """Who needs none of them has none of them in memory."""
    script = (
        "import sys, passthrough.server.instance, passthrough.credentials.token_sources\n"
        "print({'google.auth', 'azure.identity', 'azure.core', 'msal', 'requests', 'urllib3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert "set()\n" == done.stdout


def test_what_is_installed() -> None:
    """Nothing is missing here."""
    assert [None, None] == [missing_extra(GoogleIdentity()), missing_extra(EntraIdentity())]


@pytest.mark.parametrize(("identity", "extra"), [("GoogleIdentity()", "google"), ("EntraIdentity()", "azure")])
def test_a_missing_extra(identity: str, extra: str) -> None:
    """It is said which one, and how to install it."""
    script = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("google", "azure"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
from passthrough.credentials.fetchers import fetcher, missing_extra
from passthrough.credentials.identity import *
from passthrough.credentials.token import FetchError
print(missing_extra({identity}))
try:
    fetcher({identity})()
except FetchError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert (
        f"{extra}\nThe extra '{extra}' is not installed: {sys.executable} -m pip install 'passthrough-ocr[{extra}]'\n"
        == done.stdout
    )
