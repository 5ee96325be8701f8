"""The program and a collector: spans beside traffic, log and ledger, which are the same with and without them."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mistralai.client import Mistral

from tests.harness.collector import Answer, attributes, collector
from tests.harness.documents import pdf
from tests.harness.ports import free_port
from tests.harness.process import Program, program
from tests.harness.upstream import RawUpstream, answering, upstream

pytestmark = pytest.mark.process

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "TraceState": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}
KEY = "pt-client-key-of-a-test"
BODY = b'{"model": "mistral-ocr-2512", "pages": [], "usage_info": {"pages_processed": 3, "doc_size_bytes": 9}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SANDBOX = f"""\
client_keys: [{{name: tester, key: {KEY}}}]
pass_through_endpoints:
  - path: /mistral
    target: https://api.mistral.ai
    include_subpath: true
    headers: {{Authorization: Bearer of-this-file-0123456789}}
"""


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration whose one route leads to an upstream."""
    return SANDBOX.replace("https://api.mistral.ai", f"http://127.0.0.1:{raw.port}") + more


async def post(running: Program, headers: Mapping[str, str] = PARENT) -> int:
    """Ask for an OCR and return the status."""
    given = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{running.url}/mistral/v1/ocr", data=b"{}", headers=given) as response,
    ):
        await response.read()
        return response.status


async def metrics(running: Program) -> dict[str, float]:
    """Return the figures of spans."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as response,
    ):
        found = re.findall(r"^(passthrough_spans_\w+_total) (\S+)$", await response.text(), re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_the_sdk_s_trace_goes_on_here(tmp_path: Path) -> None:
    """A program that traces calls by the real SDK: its span is the parent of ours, which has pages and cost as the log has."""
    async with collector() as there:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, "OTEL_SERVICE_NAME": "ocr-proxy"}
        async with program(tmp_path, SANDBOX, "--sandbox", env=env) as running:
            async with Mistral(api_key=KEY, server_url=f"{running.url}/mistral") as sdk:
                document = {"document_url": f"data:application/pdf;base64,{base64.b64encode(pdf(3)).decode()}"}
                answer = await sdk.ocr.process_async(
                    model="mistral-ocr-2512", document={"type": "document_url", **document}, http_headers=dict(PARENT)
                )
            assert 3 == len(answer.pages)
            (span,) = await there.has(1)
            assert 0 == await running.stop()
    (line,) = running.log
    found = attributes(span)
    assert (TRACE, SPAN) == (span.trace_id.hex(), span.parent_span_id.hex())
    assert "POST /mistral" == span.name
    assert (line["id"], line["client"], line["pages"], line["cost_usd"], line["model"], True) == tuple(
        found[name]
        for name in (
            *("passthrough.id", "passthrough.client", "passthrough.pages", "passthrough.cost_usd"),
            *("gen_ai.response.model", "passthrough.sandbox"),
        )
    )
    assert "ocr-proxy" == there.resources[0]["service.name"]


async def test_fields_of_a_trace_pass_as_they_came(tmp_path: Path) -> None:
    """Nothing is changed in them or added to them, whether spans are exported or not."""
    seen: list[list[tuple[bytes, bytes]]] = []
    for endpoint in (True, False):
        async with upstream(answering(ANSWER)) as raw, collector() as there:
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url} if endpoint else {}
            (folder := tmp_path / str(endpoint)).mkdir()
            routes = configured(raw).replace("include_subpath", "forward_headers: true\n    include_subpath")
            async with program(folder, routes, env=env) as running:
                assert 200 == await post(running)
                assert 200 == await post(running, {"traceparent": "00-of-an-odd-client"})
                assert 200 == await post(running, {})
                await there.has(3 if endpoint else 0)  # a stop waits only so long for spans
                assert 0 == await running.stop()
            seen += [
                [(name, value) for name, value in received.fields if name.lower() in (b"traceparent", b"tracestate")]
                for received in raw.received
            ]
            assert (3 if endpoint else 0) == len(there.spans)
    sent = [(name.encode(), value.encode()) for name, value in PARENT.items()]
    assert [sent, [(b"traceparent", b"00-of-an-odd-client")], []] * 2 == seen


async def test_the_variables_may_stand_in_env_files(tmp_path: Path) -> None:
    """`.env` beside the configuration counts, as for keys; a change of it takes a restart, and says so."""
    async with upstream(answering(ANSWER)) as raw, collector() as there:
        env = tmp_path / ".env"
        env.write_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={there.url}\nOTEL_TRACES_SAMPLER=parentbased_always_off\n")
        async with program(tmp_path, configured(raw)) as running:
            assert 200 == await post(running)
            assert 200 == await post(running, {})  # a root: not sampled
            (span,) = await there.has(1)
            env.write_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={there.url}\n")
            await running.says("WARNING routes.yaml: 'OTEL_…' has changed; that takes a restart")
            assert 0 == await running.stop()
    assert (TRACE, 1) == (span.trace_id.hex(), len(there.spans))


async def test_workers_export_each_their_own(tmp_path: Path) -> None:
    """Each has an exporter of its own; /metrics has their sum."""
    count = 20
    async with upstream(answering(ANSWER)) as raw, collector() as there:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, "TMPDIR": "/tmp"}
        async with program(tmp_path, configured(raw), "--workers", "2", env=env) as running:
            assert [200] * count == await asyncio.gather(*(post(running, {}) for _ in range(count)))
            await there.has(count)
            async with asyncio.timeout(30):
                while (found := await metrics(running)) != {
                    "passthrough_spans_exported_total": count,
                    "passthrough_spans_dropped_total": 0,
                }:
                    assert found.keys() <= {"passthrough_spans_exported_total", "passthrough_spans_dropped_total"}
            assert 0 == await running.stop()
    assert sorted(line["id"] for line in running.log) == sorted(span.trace_id.hex() for span in there.spans)


@pytest.mark.parametrize("state", ["away", "refusing", "hanging"])
async def test_a_collector_in_trouble_changes_nothing_else(tmp_path: Path, state: str) -> None:
    """Responses, log, ledger and exit code are the same; spans are dropped, and that is counted and said once."""
    async with upstream(answering(ANSWER)) as raw, collector(Answer(401)) as there:
        there.held = state == "hanging"
        url = f"http://localhost:{free_port()}" if state == "away" else there.url
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "key=very-secret"}
        if state != "refusing":  # a refusal is given up at once, however late it comes
            env["OTEL_EXPORTER_OTLP_TIMEOUT"] = "0.5"
        async with program(tmp_path, configured(raw), env=env) as running:
            assert [200] * 5 == [await post(running) for _ in range(5)]
            why = {"away": "Connection refused", "refusing": "it answered 401", "hanging": "it does not answer in time"}[state]
            await running.says(rf"WARNING Spans are dropped, \d so far, by the collector at localhost:\d+: {why}\.")
            assert 0 == await running.stop()
    assert (5, 15) == (len(running.log), sum(line["pages"] for line in running.log))
    assert "very-secret" not in "".join(running.said)
    code, out, err = await running.command("usage", "--format", "json")
    assert (0, "") == (code, err)
    assert '"requests": 5, "pages": 15' in re.sub(r"\s+", " ", out)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, r"environment OTEL_EXPORTER_OTLP_PROTOCOL: .*http/protobuf only: no spans"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, r"environment OTEL_EXPORTER_OTLP_ENDPOINT: This is no URL"),
        (
            {"PYTHONPATH": "."},
            r"OTEL_EXPORTER_OTLP_ENDPOINT: .*not installed\.\s+Run: .* -m pip install 'passthrough-ocr\[otel\]'",
        ),
    ],
)
async def test_mistakes_are_said_and_traffic_is_served(tmp_path: Path, env: dict[str, str], said: str) -> None:
    """Also without the extra: a package of the same name stands in for its absence."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    async with upstream(answering(ANSWER)) as raw, collector() as there:
        environ: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, **env}
        async with program(tmp_path, configured(raw), env=environ) as running:
            await running.says(said)
            assert 200 == await post(running)
            assert {} == await metrics(running)
            assert 0 == await running.stop()
            code, out, err = await running.command("check", **environ)
    assert (0, []) == (code, there.requests)
    assert re.search(said, re.sub(r"\s*\n\s*", " ", out + err)), out + err


async def test_a_batch_is_one_span_with_the_sums_of_its_lines(tmp_path: Path) -> None:
    """As in the log: one exchange, one line, one span."""
    lines = b"".join(
        b'{"id": "batch-%d", "custom_id": "%d", "response": {"status_code": 200, "body": '
        b'{"model": "mistral-ocr-2512", "pages": [], "usage_info": {"pages_processed": %d}}}}\n' % (number, number, number)
        for number in (1, 2, 3)
    )
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nContent-Length: %d\r\n\r\n%b" % (len(lines), lines)
    env = {}
    async with upstream(answering(answer)) as raw, collector() as there:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = there.url
        async with (
            program(tmp_path, configured(raw), env=env) as running,
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        ):
            await (await session.get(f"{running.url}/mistral/v1/files/f1/content")).read()
            (span,) = await there.has(1)
            assert 0 == await running.stop()
    (line,) = running.log
    assert (6, line["cost_usd"]) == (line["pages"], attributes(span)["passthrough.cost_usd"])
    assert line["pages"] == attributes(span)["passthrough.pages"]
