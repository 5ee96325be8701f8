"""Tokens and what proves identities are searched for in everything that leaves the program, as keys and documents are."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.harness.process import Program, program
from tests.harness.token_servers import ASSERTION, CLIENT, CLIENT_SECRET, IDENTITY_HEADER, TENANT, Answer, Asked, token_server
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import eventually
from tests.scenarios.test_fetched_credentials import Issuer, degraded, federated_file, key_file
from tests.scenarios.test_secrets_never_leak import found_in, ledger_of

pytestmark = [pytest.mark.process, pytest.mark.wire]

DOCUMENT = "document-canary-4d2c9b11"
QUERY = "query-canary-e09f31ab52"
CLIENT_KEY = "client-canary-3c1f0a77e2-of-a-test"
PATHS = ("account", "federated", "secret", "machine", "pooled")


async def echoing(peer: Peer) -> None:
    """Answer with an echo of all fields, in fields of every kind; `reject` in the path: with a 401 that has them too."""
    while True:
        received = await peer.request()
        seen = b"; ".join(value for _, value in received.fields)
        status = b"401 " + seen if b"reject" in received.line else b"200 " + seen
        await peer.send(
            ok(b'{"pages": []}', b"X-Seen: " + seen, b"X-Request-Id: " + seen, b"Set-Cookie: a=" + seen, status=status)
        )


def echoes(servers: list[Issuer]) -> None:
    """Have the token servers fail, and repeat in their errors all that they were shown and gave."""

    def answer(asked: Asked) -> Answer:
        said = " ".join([*asked.form.values(), asked.headers.get("X-IDENTITY-HEADER", ""), *servers[0].server.issued])
        return Answer(400, {"error": "invalid_grant", "error_description": said, **asked.form})

    for each in servers:
        each.server.answer = answer


async def responses(running: Program, *names: str) -> tuple[list[int], bytes]:
    """Send requests to each route; return their statuses, and all that came back."""
    statuses, found = [], b""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for path in PATHS:
            for name in names:
                url = f"{running.url}/{path}/v1/{name}?token={QUERY}"
                headers = {"Authorization": f"Bearer {CLIENT_KEY}", "x-api-key": CLIENT_KEY}
                async with session.post(url, data=DOCUMENT.encode() * 3, headers=headers) as answer:
                    statuses.append(answer.status)
                    found += b"\n".join([str(answer.reason).encode(), *map(b": ".join, answer.raw_headers), await answer.read()])
    return statuses, found


async def admin(running: Program) -> bytes:
    """Return what the admin port tells."""
    found = b""
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/readyz", "/exchanges", "/usage", "/deployments", "/"):
            async with session.get(f"http://127.0.0.1:{running.admin_port}{path}") as answer:
                assert 200 == answer.status
                found += await answer.read()
    return found


async def test_tokens_and_proofs_stay_where_they_belong(tmp_path: Path) -> None:
    """No token, client secret, private key, assertion or identity header is in log, messages, ledger, metrics, health or errors.

    Nor in what `check` prints, and in no response, though providers and token servers echo them. The token's servers see nothing
    of documents, queries and clients; the providers see tokens alone, not what stands behind them.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    with token_server() as google, token_server(authority) as entra:
        issuers = [Issuer(google), Issuer(entra, authority)]
        google.life_s = entra.life_s = 8
        application = {"tenant_id": TENANT, "client_id": CLIENT, "authority": entra.url}
        identities: dict[str, Any] = {
            "account": key_file(google, tmp_path),
            "federated": federated_file(entra, tmp_path),
            "secret": {"entra": {**application, "client_secret": "os.environ/AZURE_CLIENT_SECRET"}},
            "machine": {"entra": {"managed_identity": True}},
        }
        key = google.service_account()["private_key"]
        # Pieces of the key: any line of it is enough to know where it went.
        proofs = [CLIENT_SECRET, ASSERTION, IDENTITY_HEADER, *key.splitlines()[1:-1:7], key.replace("\n", "\\n")]
        (tmp_path / ".env").write_text(f"AZURE_CLIENT_SECRET={CLIENT_SECRET}\n")
        environment = {"HOME": str(tmp_path), "SSL_CERT_FILE": str(tmp_path / "authority.pem"), **google.azure_machine()}
        async with upstream(echoing) as raw:
            shared = {"include_subpath": True, "forward_headers": True}
            target = f"http://127.0.0.1:{raw.port}"
            endpoints = [
                {"path": f"/{name}", "target": target, "upstream_auth": auth, **shared} for name, auth in identities.items()
            ]
            targets = [{"target": target, "id": "one", "upstream_auth": identities["account"]}]
            targets += [{"target": target, "id": "two", "upstream_auth": identities["secret"]}]
            endpoints.append({"path": "/pooled", "targets": targets, **shared})
            keys = [{"name": "someone", "key": CLIENT_KEY}]
            config = json.dumps({"pass_through_endpoints": endpoints, "client_keys": keys})
            async with program(tmp_path, config, "--log-level", "debug", env=environment) as running:
                statuses, came = await responses(running, "ocr", "reject")
                assert [200, 401] * len(PATHS) == statuses
                came += await admin(running)
                echoes(issuers)
                await eventually(lambda: degraded(running), lambda found: found.get("credentials", "").count("\n") == 3)
                came += await admin(running)
                async with aiohttp.ClientSession() as session:

                    async def ended() -> int:
                        async with session.post(
                            f"{running.url}/account/v1/ocr", headers={"x-api-key": CLIENT_KEY}, data=b"{}"
                        ) as answer:
                            return answer.status

                    await eventually(ended, lambda status: status == 502)
                statuses, late = await responses(running, "ocr")
                assert 502 in statuses
                came += late + await admin(running)
                code, out, err = await running.command("check", **environment)
                assert 0 == code, err
                came += (out + err).encode()
                code, out, err = await running.command("check", "--live", **environment)
                assert (True, True) == (code != 0, "invalid_grant" in out + err)
                came += (out + err).encode()
                assert 0 == await running.stop()
        tokens = [*google.issued, *entra.issued]
        assert len(tokens) >= 4
        said = "".join(running.said).encode()
        assert b"No new token for" in said
        places = {
            "responses, admin port and check": came,
            "stderr": said,
            "log": b"".join(running.raw_log),
            **{file.name: file.read_bytes() for file in await asyncio.to_thread(ledger_of, tmp_path)},
        }
        assert {name: [] for name in places} == {name: found_in(place, *tokens, *proofs) for name, place in places.items()}
        for received in raw.received:
            assert [] == found_in(received.raw_head + received.body, *proofs, CLIENT_KEY)
            assert 1 == len(received.values(b"authorization"))
            assert received.values(b"authorization")[0].removeprefix(b"Bearer ").decode() in tokens
        for asked in [*google.asked, *entra.asked]:
            whole = json.dumps([asked.path, dict(asked.headers), dict(asked.form)]).encode() + asked.body
            assert [] == found_in(whole, DOCUMENT, QUERY, CLIENT_KEY)
