"""A collector of spans on loopback: OTLP over HTTP, decoded with OpenTelemetry's own messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WAIT_S = 30.0
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the collector answers: a status, fields, and how many spans it says that it rejects."""

    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    rejected: int = 0


GOOD = Answer()


@dataclass(slots=True)
class Collector:
    """What came, and what is answered: `answers` one after another, the last one from then on. `held`: nothing is answered."""

    port: int = 0
    scheme: str = "http"
    answers: list[Answer] = field(default_factory=lambda: [GOOD])
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    requests: list[web.BaseRequest] = field(default_factory=list)
    held: bool = False
    stop: Callable[[], Awaitable[None]] | None = None
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"{self.scheme}://localhost:{self.port}"

    async def has(self, count: int) -> list[Span]:
        """Wait until so many spans were taken, and return them."""
        async with asyncio.timeout(WAIT_S), self.news:
            await self.news.wait_for(lambda: len(self.spans) >= count)
        return self.spans

    async def was_asked(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(WAIT_S), self.news:
            await self.news.wait_for(lambda: len(self.requests) >= count)

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one export."""
        body = await request.read()  # aiohttp undoes the coding
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        sent = ExportTraceServiceRequest.FromString(body)
        async with self.news:
            self.requests.append(request)
            if answer.status == 200 and not self.held:
                for resource in sent.resource_spans:
                    self.resources.append(attributes(resource.resource))
                    self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.news.notify_all()
        if self.held:
            await asyncio.Event().wait()
        said = ExportTraceServiceResponse()
        if answer.rejected:
            said.partial_success.rejected_spans = answer.rejected
        return web.Response(
            status=answer.status, body=said.SerializeToString(), headers={"Content-Type": PROTOBUF, **answer.fields}
        )


def attributes(described: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in described.attributes}


@asynccontextmanager
async def collector(*answers: Answer, tls: SSLContext | None = None, port: int = 0) -> AsyncIterator[Collector]:
    """Run a collector."""
    made = Collector(scheme="http" if tls is None else "https")
    if answers:
        made.answers = list(answers)
    runner = web.ServerRunner(web.Server(made.take), shutdown_timeout=0.1)
    made.stop = runner.cleanup
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    made.port = int(runner.addresses[0][1])
    try:
        yield made
    finally:
        await runner.cleanup()
