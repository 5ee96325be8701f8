"""LiteLLM's files whose deployments fetch tokens: at Vertex and at Azure, in one pool, with documents that are fetched too."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.harness.ocr_upstreams import AZURE, VERTEX, OcrUpstream, ocr_upstreams
from tests.harness.process import Program, command
from tests.harness.token_servers import CLIENT, CLIENT_SECRET, TENANT, Answer, token_server
from tests.harness.upstream import answering, ok, upstream
from tests.scenarios.test_fetched_credentials import CALLERS, Issuer
from tests.scenarios.test_litellm_traps import INLINE, entry, serving

pytestmark = [pytest.mark.process, pytest.mark.faults]


def vertex(above: OcrUpstream, **more: Any) -> dict[str, Any]:
    """Return an entry at Vertex, as LiteLLM's files have it."""
    found = entry(above, vertex_project="p", model="vertex_ai/mistral-ocr-2505", info={"id": "vertex"}, **more)
    del found["litellm_params"]["api_key"]
    return found


def azure(above: OcrUpstream, **more: Any) -> dict[str, Any]:
    """Return an entry at Azure, as LiteLLM's files have it."""
    found = entry(
        above,
        model="azure_ai/mistral-document-ai-2512",
        info={"id": "azure"},
        tenant_id=TENANT,
        client_id=CLIENT,
        client_secret="os.environ/AZURE_CLIENT_SECRET",
        **more,
    )
    del found["litellm_params"]["api_key"]
    return found


async def many(running: Program, document: dict[str, str] = INLINE) -> Counter[tuple[int, str | None]]:
    """Send OCR calls at once; return their statuses, and the deployments that answered."""

    async def one() -> tuple[int, str | None]:
        body = {"model": "mistral-ocr", "document": document}
        async with session.post(f"{running.url}/v1/ocr", json=body) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Passthrough-Deployment")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return Counter(await asyncio.gather(*(one() for _ in range(CALLERS))))


async def test_a_pool_with_tokens_of_google_and_entra(tmp_path: Path) -> None:
    """Each deployment gets its own provider's token, one fetch each; a document's host sees none, a token server no document.

    When one provider's tokens cannot be had, the other deployment serves, for nothing was sent.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    with token_server() as google, token_server(authority) as entra:
        tokens = {"vertex": Issuer(google), "azure": Issuer(entra, authority)}
        (tmp_path / "account.json").write_text(json.dumps(google.service_account()))
        at_vertex = OcrUpstream(VERTEX, admits=lambda value: tokens["vertex"].account(value) is not None)
        at_azure = OcrUpstream(AZURE, admits=lambda value: tokens["azure"].account(value) is not None)
        environment = {
            "HOME": str(tmp_path),
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
            "AZURE_AUTHORITY_HOST": entra.url,
            "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        }
        entries = vertex(at_vertex, vertex_credentials="account.json"), azure(at_azure)
        async with (
            upstream(answering(ok(b"%PDF-1.4 document-canary", b"Content-Type: application/pdf"))) as host,
            ocr_upstreams(at_vertex, at_azure),
        ):
            allowed = {"user_url_allowed_hosts": [f"127.0.0.1:{host.port}"]}
            async with serving(tmp_path, *entries, litellm_settings=allowed, environment=environment) as running:
                by_url = {"type": "document_url", "document_url": f"http://127.0.0.1:{host.port}/document-canary.pdf"}
                found = await many(running) + await many(running, by_url)
                assert {(200, "vertex"), (200, "azure")} == set(found)
                assert (1, 1) == (google.fetches, entra.fetches)
                assert 0 == await running.stop()
            calls = [*at_vertex.calls, *at_azure.calls]
            assert {200} == {call.status for call in calls}
            assert len(host.received) == CALLERS
            for received in host.received:
                assert [] == received.values(b"authorization")
                assert not any(token.encode() in received.raw_head for token in [*google.issued, *entra.issued])
            for asked in [*google.asked, *entra.asked]:
                assert b"canary.pdf" not in asked.body + asked.path.encode()

            # The other way: one provider's token server is down from the start, and its deployment comes first.
            google.answer = lambda asked: Answer(503)
            first = vertex(at_vertex, vertex_credentials="account.json", order=1), azure(at_azure, order=2)
            seen = len(at_vertex.calls)
            (tmp_path / "passthrough.db").unlink(missing_ok=True)
            async with serving(tmp_path, *first, environment=environment) as running:
                assert {(200, "azure")} == set(await many(running))
                log = await running.logs(CALLERS)
                assert 0 == await running.stop()
            assert seen == len(at_vertex.calls)
            assert {None, "vertex: credentials"} == {line["why"] for line in log} | {None}


async def test_vertex_without_credentials_is_the_machines_own(tmp_path: Path) -> None:
    """An entry without any credential uses the metadata server; `check` says by name whose tokens are used."""
    with token_server() as google:
        issuer = Issuer(google)
        above = OcrUpstream(VERTEX, admits=lambda value: issuer.account(value) is not None)
        environment = {"HOME": str(tmp_path), "GCE_METADATA_HOST": google.host}
        async with ocr_upstreams(above), serving(tmp_path, vertex(above), environment=environment) as running:
            assert {(200, "vertex")} == set(await many(running))
            code, out, err = await command(tmp_path, "check", **environment)
            assert (0, True) == (code, "machine" in out), out + err
            assert 0 == await running.stop()
        assert 1 == google.fetches
