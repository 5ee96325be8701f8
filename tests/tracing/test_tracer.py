"""Spans on their way to a collector that takes them, refuses them, is away, hangs, or comes back."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trustme

from passthrough.accounting.entry import Entry
from passthrough.accounting.pricing.offers import Offers
from passthrough.accounting.pricing.prices import shipped
from passthrough.tracing.attributes import SpanConventions, shared_of
from passthrough.tracing.settings import TracingSettings, tracing_settings
from passthrough.tracing.tracer import MAX_WAITING, LogAndSpans, Tracer
from tests.harness.collector import Answer, Collector, attributes, collector
from tests.harness.entries import booked
from tests.harness.ports import free_port
from tests.harness.tls import served_by

pytestmark = pytest.mark.wire

CONVENTIONS = SpanConventions("http", Offers(shipped()))
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUICK = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2"}  # so that the SDK gives up after two tries; each may take so long on a busy machine


@dataclass(slots=True)
class Running:
    """A tracer, and what it says."""

    tracer: Tracer
    said: list[str]
    news: Event

    async def says(self) -> str:
        """Wait for what is said first."""
        assert await asyncio.to_thread(self.news.wait, 30)
        return self.said[0]

    async def close(self, timeout_s: float = 10.0) -> None:
        """Export what waits."""
        await asyncio.to_thread(self.tracer.close, timeout_s)


def settings(endpoint: str, more: Mapping[str, str]) -> TracingSettings:
    """Return the settings that variables make."""
    found = tracing_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more}, Path("/"), lambda *_: None)
    assert found is not None
    return found


@asynccontextmanager
async def tracing(endpoint: str, **more: str) -> AsyncIterator[Running]:
    """Run a tracer."""
    said: list[str] = []
    news = Event()

    def warn(text: str) -> None:
        said.append(text)
        news.set()

    running = Running(Tracer(settings(endpoint, more), CONVENTIONS, warn), said, news)
    try:
        yield running
    finally:
        await running.close(0.1)


@pytest.fixture(autouse=True)
def _quiet_sdk() -> Iterator[None]:
    """The program silences the SDK's own messages; tests beside these find them as they were."""
    level = logging.getLogger("opentelemetry").level
    yield
    logging.getLogger("opentelemetry").setLevel(level)


def entries(count: int, **more: Any) -> list[Entry]:
    """Return entries of OCR calls."""
    return [replace(booked(), **more) for _ in range(count)]


async def test_spans_of_a_trace_and_roots_of_their_own() -> None:
    """A span is a child of the client's; without one its trace has the exchange's id. Times are the exchange's."""
    child = replace(booked(at=1.8e9), trace=(f"00-{TRACE}-{SPAN}-01".encode(), b"a=b,c=d"), total_s=1.5)
    root = replace(booked(at=1.8e9 + 1), trace=(b"nonsense", b"a=b"))
    async with collector() as there, tracing(there.url, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test") as running:
        running.tracer.put(child)
        running.tracer.put(root)
        await running.close()
    first, second = there.spans
    assert (TRACE, SPAN, "a=b,c=d") == (first.trace_id.hex(), first.parent_span_id.hex(), first.trace_state)
    assert (root.id, b"", "") == (second.trace_id.hex(), second.parent_span_id, second.trace_state)
    assert (8, 8) == (len(first.span_id), len(second.span_id))
    assert first.span_id not in (second.span_id, bytes.fromhex(SPAN))
    assert (2, 2) == (first.kind, second.kind)  # SPAN_KIND_SERVER
    assert (1_800_000_000 * 10**9, 1_500_000_000) == (
        first.start_time_unix_nano,
        first.end_time_unix_nano - first.start_time_unix_nano,
    )
    name, shared, _ = CONVENTIONS.shared(shared_of(child))
    assert (name, {**shared, **CONVENTIONS.own(child)}) == (first.name, attributes(first))
    (resource,) = there.resources
    assert ("passthrough", "test") == (resource["service.name"], resource["deployment.environment.name"])
    assert {"service.version", "service.instance.id", "telemetry.sdk.name"} <= resource.keys()
    (request,) = there.requests
    assert "/v1/traces" == request.path
    assert (2, 0, []) == (running.tracer.exported, running.tracer.dropped, running.said)


async def test_what_failed_is_an_error_with_its_reason() -> None:
    """The status has the reason that the log has, else the code; a refusal is none."""
    failed = {"status": 502, "outcome": "upstream_failed", "error": "connect_failed"}
    made = [*entries(1, why="azure-1: refused", **failed), *entries(1, **failed), *entries(1, status=404, outcome="refused")]
    async with collector() as there, tracing(there.url) as running:
        for each in made:
            running.tracer.put(each)
        await running.close()
    assert [(2, "azure-1: refused"), (2, "connect_failed"), (0, "")] == [
        (span.status.code, span.status.message) for span in there.spans
    ]


async def test_only_what_is_sampled_is_exported() -> None:
    """The client's flag is kept. What is not sampled is not dropped: it was not wanted."""
    no = entries(1, trace=(f"00-{TRACE}-{SPAN}-00".encode(), b""))
    async with collector() as there, tracing(there.url) as running:
        for each in [*no, *entries(1), *no]:
            running.tracer.put(each)
        await running.close()
    assert (1, 1, 0) == (len(there.spans), running.tracer.exported, running.tracer.dropped)


async def test_nothing_sampled_is_no_request() -> None:
    """The collector is not asked to take nothing."""
    async with collector() as there, tracing(there.url, OTEL_TRACES_SAMPLER="always_off") as running:
        running.tracer.put(booked())
        await running.close()
    assert ([], 0, 0) == (there.requests, running.tracer.exported, running.tracer.dropped)


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
async def test_headers_and_compression(compression: str) -> None:
    """They are as the variables say."""
    more = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b", "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    async with collector() as there, tracing(there.url, **more) as running:
        running.tracer.put(booked())
        await running.close()
    (request,) = there.requests
    assert "a b" == request.headers["api-key"]
    assert (None if compression == "none" else compression) == request.headers.get("Content-Encoding")
    assert (1, "application/x-protobuf") == (len(there.spans), request.headers["Content-Type"])


async def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy for other programs, and a password in .netrc, are not for the collector."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login user password secret\n")
    for name, value in (("NETRC", str(netrc)), ("HTTP_PROXY", "http://127.0.0.1:9"), ("ALL_PROXY", "http://127.0.0.1:9")):
        monkeypatch.setenv(name, value)
    async with collector() as there, tracing(there.url) as running:
        running.tracer.put(booked())
        await running.close()
    assert (1, None) == (len(there.spans), there.requests[0].headers.get("Authorization"))


async def test_variables_that_only_the_sdk_knows_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No detector tells of the machine or the command line, and a header that was left out is not sent after all."""
    for name, value in (
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process,os,host"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "b%C3%A4d=1"),
    ):
        monkeypatch.setenv(name, value)
    async with collector() as there, tracing(there.url, OTEL_EXPORTER_OTLP_HEADERS="b%C3%A4d=1") as running:
        running.tracer.put(booked())
        await running.close()
    told = {"service.name", "service.version", "service.instance.id"}
    told |= {"telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"}
    assert told == there.resources[0].keys()
    assert [] == [name for name in there.requests[0].headers if name.lower().startswith("b")]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
async def test_a_refusal_drops_the_batch_and_is_said(status: int) -> None:
    """It is not sent again: the collector would refuse it again. The message names the collector, and nothing secret."""
    more = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=very-secret"}
    answer = Answer(status, {"Location": "http://127.0.0.1:9/"})
    async with collector(answer) as there, tracing(there.url.replace("//", "//user:pass@"), **more) as running:
        for each in entries(3):
            running.tracer.put(each)
        said = await running.says()
        await running.close()
    assert f"Spans are dropped, 3 so far, by the collector at localhost:{there.port}: it answered {status}." == said
    assert (1, 0, 3) == (len(there.requests), running.tracer.exported, running.tracer.dropped)
    assert 1 == len(running.said)


async def test_a_refusal_for_now_is_tried_again() -> None:
    """A collector that is too busy gets the same spans later (OTLP: 429, 502, 503, 504)."""
    at_once = {"Retry-After": "0"}
    async with collector(Answer(503, at_once), Answer(429, at_once), Answer()) as there, tracing(there.url) as running:
        running.tracer.put(booked())
        await there.has(1)
        await running.close()
    assert (3, 1, 1, 0, []) == (
        len(there.requests),
        len(there.spans),
        running.tracer.exported,
        running.tracer.dropped,
        running.said,
    )


async def test_spans_that_the_collector_rejects_are_counted() -> None:
    """A partial success is none for them (OTLP, "Partial Success")."""
    async with collector(Answer(rejected=2)) as there, tracing(there.url) as running:
        for each in entries(5):
            running.tracer.put(each)
        said = await running.says()
        await running.close()
    assert said.endswith(": it rejects some of the spans.")
    assert (3, 2) == (running.tracer.exported, running.tracer.dropped)


async def test_a_collector_that_is_away_and_comes_back() -> None:
    """What could not be sent is dropped, counted and said; what comes later is exported."""
    port = free_port()
    async with tracing(f"http://localhost:{port}", **QUICK) as running:
        running.tracer.put(booked())
        said = await running.says()
        assert f"Spans are dropped, 1 so far, by the collector at localhost:{port}: Connection refused." == said
        async with collector(port=port) as there:
            later = booked()
            running.tracer.put(later)
            (span,) = await there.has(1)
            await running.close()
    assert later.id == span.trace_id.hex()
    assert (1, 1, [said]) == (running.tracer.exported, running.tracer.dropped, running.said)


async def test_a_name_that_does_not_resolve() -> None:
    """It is said in the system's words."""
    async with tracing("http://collector.invalid:4318", **QUICK) as running:
        running.tracer.put(booked())
        said = await running.says()
    assert "by the collector at collector.invalid:4318: " in said
    assert "HTTP" not in said


async def test_a_collector_that_hangs_holds_up_nothing() -> None:
    """What waits is bounded, what is beyond is dropped and counted, and the stop does not wait for it."""
    async with collector() as there:
        there.held = True
        async with tracing(there.url) as running:
            running.tracer.put(booked())
            await there.was_asked(1)  # the thread waits for its answer
            for each in [booked()] * (MAX_WAITING + 5):
                running.tracer.put(each)
            assert 5 == running.tracer.dropped
            await running.close(0.0)
            assert (0, MAX_WAITING + 6) == (running.tracer.exported, running.tracer.dropped)
            assert [
                f"{MAX_WAITING + 6} spans in all were not exported to the collector at localhost:{there.port}."
            ] == running.said


async def test_a_stop_cuts_the_pause_between_two_tries() -> None:
    """A collector that says that it is busy for an hour does not hold up the end."""
    async with collector(Answer(503, {"Retry-After": "9"})) as there, tracing(there.url) as running:
        running.tracer.put(booked())
        await there.was_asked(1)
        await running.close(0.0)
    assert (0, 1) == (running.tracer.exported, running.tracer.dropped)


async def test_a_response_that_does_not_end_in_bounds() -> None:
    """Of a response only the beginning is read; spans that a collector took were taken."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n" + b"\xff" * 100_000)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server, tracing(f"http://localhost:{server.sockets[0].getsockname()[1]}") as running:
        running.tracer.put(booked())
        await running.close()
        assert (1, 0, []) == (running.tracer.exported, running.tracer.dropped, running.said)


async def test_what_is_no_http() -> None:
    """A port of another protocol is said to be one."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00 of HTTP/2\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server, tracing(f"http://localhost:{server.sockets[0].getsockname()[1]}", **QUICK) as running:
        running.tracer.put(booked())
        assert (await running.says()).endswith(": it sent no whole HTTP response.")


async def test_a_collector_with_tls(tmp_path: Path) -> None:
    """Its certificate must be of an authority that is trusted: the system's, or the variable's."""
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    async with collector(tls=served_by(authority, "localhost")) as there:
        async with tracing(there.url, OTEL_EXPORTER_OTLP_CERTIFICATE=str(file)) as trusting:
            trusting.tracer.put(booked())
            await there.has(1)
            await trusting.close()
        async with tracing(there.url, **QUICK) as wary:
            wary.tracer.put(booked())
            said = await wary.says()
    assert (1, 0) == (trusting.tracer.exported, trusting.tracer.dropped)
    assert "its certificate is not trusted" in said
    assert said.endswith("OTEL_EXPORTER_OTLP_CERTIFICATE.")
    assert (0, 1) == (wary.tracer.exported, wary.tracer.dropped)


async def test_a_collector_that_asks_for_a_certificate(tmp_path: Path) -> None:
    """The client's certificate and key are shown."""
    authority = trustme.CA()
    context = served_by(authority, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    own = authority.issue_cert("passthrough")
    files = {"CERTIFICATE": tmp_path / "ca.pem", "CLIENT_CERTIFICATE": tmp_path / "own.pem", "CLIENT_KEY": tmp_path / "key.pem"}
    authority.cert_pem.write_to_path(files["CERTIFICATE"])
    own.cert_chain_pems[0].write_to_path(files["CLIENT_CERTIFICATE"])
    own.private_key_pem.write_to_path(files["CLIENT_KEY"])
    more = {f"OTEL_EXPORTER_OTLP_{name}": str(file) for name, file in files.items()}
    async with collector(tls=context) as there, tracing(there.url, **more) as running:
        running.tracer.put(booked())
        await there.has(1)
        await running.close()
    assert (1, 0) == (running.tracer.exported, running.tracer.dropped)


async def test_a_file_that_cannot_be_used_is_said_at_once() -> None:
    """Nothing is exported, all is counted, and nothing else happens."""
    async with tracing("https://localhost:9", OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such.pem") as running:
        said = await running.says()
        running.tracer.put(booked())
        await running.close()
    assert (
        "No spans are exported: No such file or directory. Check the OTEL_EXPORTER_OTLP_… variables and the extra 'otel'." == said
    )
    assert (0, 1) == (running.tracer.exported, running.tracer.dropped)


async def test_a_connection_that_the_collector_closed_is_opened_again() -> None:
    """Between two batches it may have been restarted."""
    async with collector() as there, tracing(there.url) as running:
        running.tracer.put(booked())
        await there.has(1)
        port = there.port
        async with _restarted(there) as again:
            assert port == again.port
            running.tracer.put(booked())
            await again.has(1)
            await running.close()
    assert (2, 0, []) == (running.tracer.exported, running.tracer.dropped, running.said)


@asynccontextmanager
async def _restarted(there: Collector) -> AsyncIterator[Collector]:
    """End a collector's connections and port, and run another one in its place."""
    assert there.stop is not None
    await there.stop()
    async with collector(port=there.port) as again:
        yield again


async def test_many_spans_go_in_batches() -> None:
    """All of them arrive once."""
    made = entries(1200)
    async with collector() as there, tracing(there.url) as running:
        for each in made:
            running.tracer.put(each)
        await there.has(len(made))
        await running.close()
    assert sorted(each.id for each in made) == sorted(span.trace_id.hex() for span in there.spans)
    assert (1200, 0) == (running.tracer.exported, running.tracer.dropped)
    assert 3 == len(there.requests)


async def test_log_and_spans_get_the_same_entries() -> None:
    """The log comes first, also at the end."""
    seen: list[tuple[str, object]] = []

    class Log:
        def put(self, entry: Entry) -> None:
            seen.append(("put", entry))

        def close(self, timeout_s: float) -> None:
            seen.append(("close", timeout_s))

    made = booked()
    async with collector() as there, tracing(there.url) as running:
        both = LogAndSpans(Log(), running.tracer)
        both.put(made)
        await asyncio.to_thread(both.close, 10.0)
        (span,) = await there.has(1)
    assert made.id == span.trace_id.hex()
    assert [("put", made), ("close", 10.0)] == seen


async def test_after_the_end_entries_are_dropped_and_counted() -> None:
    """None of them waits for a thread that has ended."""
    async with collector() as there, tracing(there.url) as running:
        await running.close()
        running.tracer.put(booked())
    assert (0, 1) == (running.tracer.exported, running.tracer.dropped)
