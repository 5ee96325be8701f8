"""The tokens of a running instance: they outlive a reload, hinder no start, and the admin port tells of them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest

from tests.harness.client import asking
from tests.harness.process import Program, program
from tests.harness.token_servers import Answer, TokenServer, token_server
from tests.harness.upstream import RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.process, pytest.mark.faults]

NAME = r"google: account\.json \(ocr@canary-project\.iam\.gserviceaccount\.com\)"


def configured(server: TokenServer, folder: Path, raw: RawUpstream) -> str:
    """Return a file with a route whose token is fetched, and one without; write the key of the service account."""
    (folder / "account.json").write_text(json.dumps(server.service_account()))
    target = f"http://127.0.0.1:{raw.port}"
    fetched = {"path": "/fetched", "target": target, "upstream_auth": {"google": {"credentials": "account.json"}}}
    return json.dumps({"pass_through_endpoints": [fetched, {"path": "/plain", "target": target}]})


async def admin(running: Program, path: str) -> tuple[int, str]:
    """Return what the admin port says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}{path}") as answer:
        return answer.status, await answer.text()


async def status(running: Program, path: str) -> int:
    """Send a request; return its status."""
    async with aiohttp.ClientSession() as session, session.post(running.url + path, data=b"{}") as answer:
        await answer.read()
        return answer.status


def figure(metrics: str, name: str, labels: str) -> float | None:
    """Return the value of a series, None where it is not there; `labels` is a pattern."""
    found = re.search(rf"^{name}\{{{labels}\}} (\S+)$", metrics, re.MULTILINE)
    return None if found is None else float(found[1])


async def test_a_token_server_that_is_away_hinders_no_start(tmp_path: Path) -> None:
    """Other routes are served, /readyz and metrics say what is the matter; once it is back, all goes well by itself."""
    with token_server() as server:
        server.answer = lambda asked: Answer(503, {"error": "temporarily_unavailable"})
        async with upstream(answering(ok())) as raw:
            config = configured(server, tmp_path, raw)
            async with program(tmp_path, config, env={"HOME": str(tmp_path)}) as running:
                code, said = await eventually(lambda: admin(running, "/readyz"), lambda found: "credentials" in found[1])
                assert (200, "degraded") == (code, json.loads(said)["status"])
                assert re.search(NAME, json.loads(said)["degraded"]["credentials"])
                assert (200, 502) == (await status(running, "/plain"), await status(running, "/fetched"))
                _, metrics = await admin(running, "/metrics")
                fetches, end = "passthrough_credentials_fetches_total", "passthrough_credentials_end_timestamp_seconds"
                assert 1.0 == figure(metrics, "passthrough_degraded", 'part="credentials"')
                assert (figure(metrics, fetches, f'identity="{NAME}",result="failed"') or 0) >= 1
                assert figure(metrics, end, f'identity="{NAME}"') is None
                server.answer = lambda asked: None
                await eventually(lambda: status(running, "/fetched"), lambda found: found == 200)
                _, metrics = await admin(running, "/metrics")
                assert 1.0 == figure(metrics, fetches, f'identity="{NAME}",result="good"')
                assert figure(metrics, end, f'identity="{NAME}"')
                assert 0.0 == figure(metrics, "passthrough_degraded", 'part="credentials"')
                assert 0 == await running.stop()
    assert not any(token in metrics + said + "".join(running.said) for token in server.issued)


async def test_each_worker_fetches_for_itself(tmp_path: Path) -> None:
    """Two workers, two tokens; a worker's port shows the fetches of both."""
    with token_server() as server:
        async with upstream(answering(ok())) as raw:
            config = configured(server, tmp_path, raw)
            async with program(tmp_path, config, "--workers", "2", env={"HOME": str(tmp_path)}) as running:

                async def fetched() -> float | None:
                    _, metrics = await admin(running, "/metrics")
                    return figure(metrics, "passthrough_credentials_fetches_total", f'identity="{NAME}",result="good"')

                assert 2.0 == await eventually(fetched, lambda found: found == 2)
                assert {200} == {await status(running, "/fetched") for _ in range(8)}
                assert 0 == await running.stop()
    assert 2 == server.fetches


async def test_a_request_under_way_has_the_token_of_an_identity_that_a_reload_drops(tmp_path: Path) -> None:
    """Its deployment is known only when its body has come, after the reload: it still goes by the rules that it began with."""
    done = ok(b'{"pages": [], "model": "m", "usage_info": {"pages_processed": 1}}')
    with token_server() as server:
        async with upstream(answering(done)) as raw:
            (tmp_path / "account.json").write_text(json.dumps(server.service_account()))
            api_base = f"http://127.0.0.1:{raw.port}"
            vertex = {"vertex_credentials": "account.json", "vertex_project": "p", "api_base": api_base}
            fetched = {"model_name": "m", "litellm_params": {"model": "vertex_ai/mistral-ocr-2505", **vertex}}
            plain = {
                "model_name": "m",
                "litellm_params": {"model": "mistral/mistral-ocr-latest", "api_base": api_base, "api_key": "0123456789"},
            }
            config = json.dumps({"model_list": [fetched]})
            async with program(tmp_path, config, env={"HOME": str(tmp_path)}) as running:
                await until(lambda: bool(server.issued))
                document = {"document_url": "data:application/pdf;base64,JVBERi0xLjQK"}
                body = json.dumps({"document": document, "model": "m"}).encode()
                reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
                request = asking(b"POST /v1/ocr HTTP/1.1", b"Content-Type: application/json", body=body)
                writer.write(request[:-20])
                await eventually(
                    lambda: admin(running, "/metrics"), lambda found: "\npassthrough_requests_in_flight 1.0\n" in found[1]
                )
                (tmp_path / "routes.yaml").write_text(json.dumps({"model_list": [plain]}))

                async def is_adopted() -> bool:
                    return "mistral/mistral-ocr-latest" in (await admin(running, "/deployments"))[1]

                assert await eventually(is_adopted, bool)
                assert not re.search(NAME, (await admin(running, "/metrics"))[1])
                writer.write(request[-20:])
                assert b"HTTP/1.1 200 OK\r\n" == await asyncio.wait_for(reader.readline(), 30)
                writer.close()
                assert 0 == await running.stop()
    assert [f"Bearer {server.issued[0]}".encode()] == raw.received[0].values(b"authorization")
