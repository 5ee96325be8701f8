"""A folder of documents, and an API that runs batch jobs: a real sandbox, with a front before it that makes trouble."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.pauses import Timing
from passthrough.client.batch.run import begin, resume
from passthrough.client.inputs.discovery import find
from passthrough.client.options import OcrOptions, RenderOptions
from passthrough.client.output.disk import Step, no_step
from passthrough.client.output.manifest import Manifest
from passthrough.client.output.places import places
from passthrough.client.runs.document_run import RunContext
from passthrough.client.runs.results import DocumentResult, Sums
from passthrough.client.runs.run import run
from passthrough.client.runs.settings import RunSettings
from tests.harness.sandbox_caller import Caller, sandbox

MODEL = "mistral-ocr-2512"
_OF_A_CONNECTION = frozenset({"Content-Length", "Transfer-Encoding", "Connection", "Date", "Server"})


def price(model: str | None, pages: int, annotated: int, in_batch: bool) -> int:
    """Return the price of pages: 2 each, in a batch 1."""
    return (pages + annotated) * (1 if in_batch else 2)


@dataclass(slots=True)
class Heard:
    """What a listener heard."""

    sums: Sums = field(default_factory=Sums)
    results: list[DocumentResult] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    expected: int = 0
    pages: int | None = 0

    def expect(self, documents: int, pages: int | None) -> None:
        """Hear it."""
        self.expected += documents
        self.pages = None if pages is None or self.pages is None else self.pages + pages

    def wait(self, seconds: float, why: str) -> None:
        """Hear it."""

    def watch(self, status: str, done: int, total: int) -> None:
        """Hear it."""
        self.statuses.append(status)

    def advance(self, pages: int, cost_nano: int | None) -> None:
        """Hear it."""
        self.sums.advance(pages, cost_nano)

    def end(self, result: DocumentResult) -> None:
        """Hear it."""
        self.results.append(result)
        self.sums.end(result)

    @property
    def failures(self) -> dict[str, str]:
        """Why documents failed, by their files' names."""
        return {each.document.relative.name: each.failure.why for each in self.results if each.failure is not None}


@dataclass(slots=True)
class Desk:
    """A folder of documents, and an API for them. `overrides` are settings of its runs, `urls` documents beside those in it.

    `home` is where the job is kept, None: with the outputs.
    """

    folder: Path
    caller: Caller
    overrides: dict[str, Any] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)
    home: Path | None = None

    def write(self, **contents: bytes) -> None:
        """Write PDFs by these names."""
        for name, content in contents.items():
            (self.folder / "in").mkdir(exist_ok=True)
            (self.folder / f"in/{name}.pdf").write_bytes(content)

    @property
    def out(self) -> Path:
        """Where outputs and the job are."""
        return self.folder / "out"

    @property
    def settings(self) -> RunSettings:
        """The settings of its runs."""
        settings = RunSettings(OcrOptions(MODEL), RenderOptions(), price, out=self.out, upload_above=100_000)
        return replace(settings, **self.overrides)

    def outputs(self) -> list[str]:
        """Return the names of everything in the folder of outputs."""
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*"))

    async def begin(self, step: Step = no_step) -> Heard:
        """Order all documents, and wait for the results."""
        return await self._with(lambda documents, context: begin(documents, context, self.home or self.out, step))

    async def resume(self) -> Heard:
        """Go on with the job."""
        return await self._with(lambda _, context: resume(context, self.home or self.out))

    async def run(self) -> Heard:
        """Run all documents without a batch."""
        return await self._with(run)

    async def stored(self) -> list[str]:
        """Return the names of the files that are at the API."""
        _, listed = await self.caller.call("GET", "/v1/files?page_size=1000")
        return [each["filename"] for each in listed["data"]]

    async def jobs(self) -> list[Any]:
        """Return the jobs that are at the API."""
        return list((await self.caller.call("GET", "/v1/batch/jobs?page_size=1000"))[1]["data"])

    async def _with(self, work: Callable[[Any, RunContext], Any]) -> Heard:
        heard = Heard()
        await self.work(work, heard)
        return heard

    async def work(self, work: Callable[[Any, RunContext], Any], heard: Heard) -> None:
        """Do something with all documents, and with a context whose listener is this one."""
        manifests = cache(Manifest.of)
        inputs = [str(each) for each in [self.folder / "in"] if each.is_dir()] + self.urls
        documents = find(inputs, Path, lambda _: False).documents
        placed = list(zip(documents, places(documents, self.out, manifests), strict=True))
        timing = Timing(sleep=lambda seconds: asyncio.sleep(seconds / 100), chance=lambda: 0.0)
        async with Connection(Endpoint.of(self.caller.base, None), timing) as connection:
            await work(placed, RunContext(self.settings, connection, heard, manifests))


Forward = Callable[[], Awaitable[web.Response]]
"""Has the sandbox answer a request."""

Trouble = Callable[[web.Request, Forward], Awaitable[web.Response | None]]
"""Does something to a request; returns what its client gets, None: the connection is cut."""


@asynccontextmanager
async def front_of(caller: Caller, trouble: Trouble) -> AsyncIterator[Caller]:
    """A server before a sandbox, which does to each call what `trouble` says."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in ("Content-Type",) if name in request.headers}

        async def forward() -> web.Response:
            async with caller.session.request(
                request.method, caller.base + request.path_qs, data=io.BytesIO(body), headers=headers
            ) as response:
                kept = {name: value for name, value in response.headers.items() if name not in _OF_A_CONNECTION}
                return web.Response(body=await response.read(), status=response.status, headers=kept)

        made = await trouble(request, forward)
        if made is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return made

    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Caller(caller.session, f"http://127.0.0.1:{runner.addresses[0][1]}", caller.clock)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def desk_at(folder: Path, **options: Any) -> AsyncIterator[Desk]:
    """A desk whose API is a sandbox with these options."""
    async with sandbox(**options) as caller:
        yield Desk(folder, caller)
