"""`check --live`: whether targets take their keys, by their lists of models; what is asked, and of whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme

from tests.harness.configs import written
from tests.harness.process import command
from tests.harness.tls import served_by
from tests.harness.token_servers import token_server
from tests.harness.upstream import Peer, RawUpstream, Script, answering, ok, upstream

KEY = "key-canary-0123456789"
MODELS = json.dumps({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}).encode()
REFUSED = ok(b'{"message":"key-canary-0123456789 is wrong"}', status=b"401 Unauthorized")


def route(port: int, path: str = "/a", more: str = "", *, base: str = "") -> str:
    """Return a route to a local port, with a key."""
    target = f"target: 'http://127.0.0.1:{port}{base}'"
    return f"- {{path: {path}, {target}, include_subpath: true, headers: {{Authorization: Bearer os.environ/KEY}}{more}}}\n"


async def live(folder: Path, routes: str, more: str = "ledger: none\n") -> tuple[int, list[str]]:
    """Return the exit code of `check --live`, and its last lines; the key is in none of its words."""
    written(folder, f"pass_through_endpoints:\n{routes}{more}")
    code, out, err = await command(folder, "check", "--live", KEY=KEY, HTTPS_PROXY="http://127.0.0.1:1")
    assert KEY not in out + err
    return code, out.rpartition("\n\n")[2].splitlines()


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (answering(ok(MODELS)), 0, "accepts the key: 2 models"),
        (answering(ok(b'[{"id": "a"}]')), 0, "accepts the key: 1 model"),
        (answering(REFUSED), 1,
         "401: does not accept the key. Check what the route's headers send: Authorization (KEY), and 'Bearer' before it."),
        (answering(ok(b"", status=b"403 Forbidden")), 1, "403: does not accept the key"),
        (answering(ok(b"", status=b"503 Service Unavailable")), 1, "503: no list of models came"),
        (answering(ok(b"<html>", status=b"404 Not Found")), 0,
         "can be reached, and has no list of models (404): the key was not tried"),
        (answering(ok(b"<html>Sign in</html>")), 0, "can be reached, and has no list of models (200): the key was not tried"),
        (answering(ok(b"[" * 100_000)), 0, "can be reached, and has no list of models (200): the key was not tried"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"), 1, "sent no response: "),
    ],
)  # fmt: skip
async def test_what_a_response_means(tmp_path: Path, script: Script, code: int, said: str) -> None:
    """A list is a good sign; a refusal, and a server that fails, are not. Nothing of a body is shown."""
    async with upstream(script) as there:
        found, (line,) = await live(tmp_path, route(there.port))
        assert (code, True) == (found, line.startswith(f"/a/* (127.0.0.1:{there.port}): {said}")), line


def heads(there: RawUpstream) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the request lines and fields that reached an upstream."""
    return [(each.line, {name.lower(): value for name, value in each.fields}) for each in there.received]


@pytest.mark.process
async def test_what_is_asked(tmp_path: Path) -> None:
    """One GET for each account, with what the route sends, its query's key too; by the version that the target has."""
    async with upstream(answering(ok(MODELS))) as there:
        routes = route(there.port, "/a", ", meter: ocr") + route(there.port, "/b", base="/v1")
        routes += route(there.port, "/c", base="/api/v1/ocr?team=b") + route(
            there.port, "/d", ", meter: {shape: json, constant: 1}"
        )
        code, lines = await live(tmp_path, routes)
        where = f"(127.0.0.1:{there.port})"
    assert 0 == code
    assert [
        f"/a/*, /b/* {where}: accepts the key: 2 models",
        f"/c/* {where}: accepts the key: 2 models",
        f"/d/* {where}: can be reached; its key was not tried: it is not known whether it has a list of models",
    ] == lines
    asked = sorted(heads(there))
    assert [b"GET /api/v1/models?team=b HTTP/1.1", b"GET /v1/models HTTP/1.1"] == [line for line, _ in asked]
    assert {f"Bearer {KEY}".encode()} == {fields[b"authorization"] for _, fields in asked}
    assert {b"identity"} == {fields[b"accept-encoding"] for _, fields in asked}


@pytest.mark.process
async def test_who_cannot_be_reached(tmp_path: Path) -> None:
    """Why is said: nothing listens, the name is unknown, or the certificate is of an unknown authority; with it, all is well."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with upstream(answering(ok(MODELS)), ssl=served_by(authority, "localhost")) as there:
        secure = route(there.port).replace("http://127.0.0.1", "https://localhost")
        refused = route(1, "/gone") + route(9, "/name").replace("http://127.0.0.1:9", "https://nonesuch.invalid")
        code, lines = await live(tmp_path, secure + refused)
        assert (1, 3) == (code, sum(": cannot be reached: " in line for line in lines))
        assert "certificate" in lines[0]
        assert lines[0].endswith("Name the authority that signed it in 'upstream_tls: {ca_file: …}'.")
        assert "refused" in lines[1]
        assert lines[1].endswith("Check the target's host and port.")
        assert "nonesuch.invalid" in lines[2]
        assert lines[2].endswith("Check the spelling of the target's host.")
        trusted = secure.replace("/a,", "/a, upstream_tls: {ca_file: ca.pem},")
        assert (0, [f"/a/* (localhost:{there.port}): accepts the key: 2 models"]) == await live(tmp_path, trusted)


async def plain_at_once(peer: Peer) -> None:
    """Greet as a server that does not speak TLS."""
    await peer.send(REFUSED)


@pytest.mark.process
async def test_a_server_without_tls_and_a_key_that_is_no_variable(tmp_path: Path) -> None:
    """Each is said with what to do about it."""
    async with upstream(plain_at_once) as there:
        secure = route(there.port, "/tls").replace("http://127", "https://127")
        code, lines = await live(tmp_path, secure)
    assert (1, True) == (code, lines[0].endswith(" Write http:// in the target where it speaks no TLS.")), lines
    async with upstream(answering(REFUSED)) as there:
        own = route(there.port).replace("Authorization: Bearer os.environ/KEY", "api-key: a-key-that-is-written-here")
        code, lines = await live(tmp_path, own)
    assert (1, True) == (code, lines[0].endswith(" Check what the route's headers send: api-key.")), lines


@pytest.mark.process
async def test_a_proxy_is_used_and_other_providers_are_only_connected_to(tmp_path: Path) -> None:
    """Azure has no list to ask: a tunnel by the route's own proxy is all. A client's own key is not there to be tried."""
    async with upstream(answering(ok(MODELS))) as proxy:
        azure = f"""\
- {{path: /az, target: 'https://r.services.ai.azure.com', include_subpath: true, headers: {{api-key: os.environ/KEY}},
   proxy: 'http://127.0.0.1:{proxy.port}'}}
- {{path: /own, target: 'http://127.0.0.1:{proxy.port}', include_subpath: true, auth: false, forward_credentials: true}}
- {{path: /none, target: 'http://127.0.0.1:{proxy.port}', include_subpath: true}}
"""
        code, lines = await live(tmp_path, azure)
    assert (1, b"CONNECT r.services.ai.azure.com:443 HTTP/1.1") == (code, heads(proxy)[0][0])
    assert lines[0].startswith("/az/* (r.services.ai.azure.com): cannot be reached: ")
    own, none = (line.partition(": ")[2] for line in lines[1:])
    assert "can be reached; its key was not tried: the key is each client's own" == own
    assert "2 models; no key is sent" == none


@pytest.mark.process
async def test_a_fetched_token_is_sent(tmp_path: Path) -> None:
    """As requests carry it; where none could be fetched, the target is not asked."""
    with token_server() as server:
        (tmp_path / "account.json").write_text(json.dumps(server.service_account()))
        async with upstream(answering(ok(MODELS))) as there:
            routes = f"- {{path: /t, target: 'http://127.0.0.1:{there.port}/v1', include_subpath: true, "
            routes += "upstream_auth: {google: {credentials: account.json}}}\n"
            code, lines = await live(tmp_path, routes)
            assert (0, True) == (code, lines[-1].endswith("accepts the key: 2 models"))
            assert f"Bearer {server.issued[0]}".encode() == heads(there)[0][1][b"authorization"]


@pytest.mark.process
async def test_targets_and_deployments_are_asked_too(tmp_path: Path) -> None:
    """By the ids that the log has."""
    async with upstream(answering(ok(MODELS))) as there:
        base = f"http://127.0.0.1:{there.port}"
        one = f"{{target: '{base}', id: one, headers: {{Authorization: Bearer a}}}}"
        two = f"{{target: '{base}', headers: {{Authorization: Bearer b}}}}"
        routes = f"- {{path: /p, include_subpath: true, targets: [{one}, {two}]}}\n"
        models = f"- {{model_name: m, litellm_params: {{model: mistral/mistral-ocr-2512, api_key: c, api_base: '{base}'}}}}\n"
        code, lines = await live(tmp_path, routes, f"ledger: none\nmodel_list:\n{models}")
        where = f"(127.0.0.1:{there.port}): accepts the key: 2 models"
    assert (0, [f"one {where}", f"/p#2 {where}", f"mistral/mistral-ocr-2512 {where}"]) == (code, lines)
    assert {b"Bearer a", b"Bearer b", b"Bearer c"} == {fields[b"authorization"] for _, fields in heads(there)}
