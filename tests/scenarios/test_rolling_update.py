"""Processes behind a balancer as Kubernetes has it: they are replaced while requests are under way, stopped, and killed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.harness.balancer import Balancer, balancer
from tests.harness.client import RawClient, asking, client
from tests.harness.postgres import Postgres
from tests.harness.process import Program, command, program
from tests.harness.upstream import Peer, chunk, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process]

OCR, CHAT = b"POST /m/v1/ocr HTTP/1.1", b"POST /m/v1/chat/completions HTTP/1.1"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"delta": {"content": "one"}}]}\n\n'
LAST = b'data: {"model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\ndata: [DONE]\n\n'
UPLOAD = 4 * 2**20


@dataclass
class Street:
    """A target that knows each request by its number, and what the callers got. What is `held` is responded to at `go`."""

    numbers: Iterator[int] = field(default_factory=count)
    times: Counter[int] = field(default_factory=Counter)
    held: set[int] = field(default_factory=set)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    responses: int = 0
    pages: int = 0

    async def answer(self, peer: Peer) -> None:
        """Respond to every request, and count it by its number."""
        while True:
            received = await peer.request()
            asked = json.loads(received.body)
            self.times[asked["number"]] += 1
            if asked["kind"] == "stream":
                await peer.send(STREAM, chunk(EVENT))
            if asked["kind"] in {"held", "stream"}:
                self.held.add(asked["number"])
                await self.go.wait()
            if asked["kind"] == "stream":
                await peer.send(chunk(LAST), chunk(b""))
            else:
                body = {"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 1 + asked["number"] % 3}}
                await peer.send(ok(json.dumps(body).encode(), b"Content-Type: application/json"))

    def request(self, kind: str = "short", line: bytes = OCR, padding: int = 0) -> tuple[int, bytes]:
        """Return a new request's number and its bytes."""
        number = next(self.numbers)
        body = json.dumps({"number": number, "kind": kind, "padding": "a" * padding}).encode()
        return number, asking(line, body=body)

    def note(self, head: bytes, body: bytes) -> None:
        """Count a response that a caller got; it must be whole, and good."""
        assert head.startswith(b"HTTP/1.1 200 "), head
        self.responses += 1
        if b"text/event-stream" in head:
            assert EVENT + LAST == body
        else:
            self.pages += json.loads(body)["usage_info"]["pages_processed"]

    async def ask(self, port: int) -> None:
        """Send one request on a connection of its own."""
        async with client(port) as raw:
            await raw.send(self.request()[1])
            self.note(*await raw.answer())

    async def ask_on_new_connections(self, port: int, until_set: asyncio.Event) -> None:
        """Ask again and again."""
        while not until_set.is_set():
            await self.ask(port)
            await asyncio.sleep(0.01)

    async def ask_on_kept_connections(self, port: int, until_set: asyncio.Event) -> None:
        """Ask again and again on one connection, and on a new one where a response said that it is the last."""
        while not until_set.is_set():
            async with client(port) as raw:
                closes = False
                while not closes and not until_set.is_set():
                    await raw.send(self.request()[1])
                    head, body = await raw.answer()
                    self.note(head, body)
                    closes = b"\r\nconnection: close\r\n" in head.lower()
                    await asyncio.sleep(0.01)


@dataclass
class Long:
    """What is under way at each of the first replicas when it is told to stop, and a connection that waits for nothing."""

    street: Street
    stack: AsyncExitStack
    half: list[tuple[RawClient, bytes]] = field(default_factory=list)
    waiting: list[RawClient] = field(default_factory=list)
    idle: list[RawClient] = field(default_factory=list)

    async def begin(self, port: int, replicas: int) -> None:
        """Begin one of each at every replica, which take turns: an upload, a response that comes late, and a stream."""
        connections = [[await self.stack.enter_async_context(client(port)) for _ in range(replicas)] for _ in range(4)]
        for uploading, held, streaming, idle in zip(*connections, strict=True):
            _, upload = self.street.request(padding=UPLOAD)
            await uploading.send(upload[: UPLOAD // 2])
            self.half.append((uploading, upload[UPLOAD // 2 :]))
            for raw, request in ((held, self.street.request("held")), (streaming, self.street.request("stream", CHAT))):
                await raw.send(request[1])
                await until(lambda number=request[0]: number in self.street.held)  # type: ignore[misc]
                self.waiting.append(raw)
            await idle.send(self.street.request()[1])
            self.street.note(*await idle.answer())
            self.idle.append(idle)

    async def finish(self) -> None:
        """Send the uploads' other halves, have all responses, and see that connections without a request have ended well."""
        self.street.go.set()
        for raw, rest in self.half:
            await raw.send(rest)
            self.street.note(*await raw.answer())
        for raw in self.waiting:
            self.street.note(*await raw.answer())
        for raw in self.idle:
            assert b"" == await raw.rest()


def configured(port: int, ledger_url: str) -> str:
    """Return a configuration with one route, which waits for as long as a busy machine takes."""
    more = "include_subpath: true, min_upload_rate: none, timeouts: {idle: 1h, header: 1h}"
    return f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{port}', {more}}}]\nledger: {ledger_url}\n"


async def booked(folder: Path, ledger_url: str) -> tuple[int, int]:
    """Return requests and pages, as `passthrough usage` tells them."""
    code, out, err = await command(folder, "usage", "--ledger", ledger_url, "--format", "json")
    assert 0 == code, err
    total: dict[str, Any] = json.loads(out)["total"]
    return total["requests"], total["pages"]


class Pods:
    """Programs, each in a folder of its own, as Pods have volumes of their own."""

    def __init__(self, folder: Path, config: str, stack: AsyncExitStack, *flags: str) -> None:
        self._folder = folder
        self._config = config
        self._stack = stack
        self._flags = flags
        self.all: list[Program] = []

    async def start(self, name: str = "") -> Program:
        """Start one, in a new folder, or in the one that is named."""
        folder = self._folder / (name or f"pod-{len(self.all)}")
        folder.mkdir(exist_ok=True)
        self.all.append(await self._stack.enter_async_context(program(folder, self._config, *self._flags)))
        return self.all[-1]


async def replaced(pods: Pods, old: Program, service: Balancer) -> None:
    """Start a new one, tell the old one to stop when the new one is ready, and wait until no new connections go to the old."""
    service.replicas.append(await pods.start())
    await until(lambda: pods.all[-1] in service.ready)
    old.signal(signal.SIGTERM)
    await old.says("Not ready any more")
    await until(lambda: old not in service.ready)


async def test_a_rolling_update_fails_no_request(tmp_path: Path, postgres_url: str) -> None:
    """One after the other is replaced under traffic: every request gets its response, reaches the target once, and is booked."""
    street, over = Street(), asyncio.Event()
    async with upstream(street.answer) as raw, AsyncExitStack() as stack:
        flags = ("--drain-delay", "5s", "--drain-timeout", "60s")
        pods = Pods(tmp_path, configured(raw.port, postgres_url), stack, *flags)
        old = [await pods.start(), await pods.start()]
        service = await stack.enter_async_context(balancer(old))
        long = Long(street, stack)
        await long.begin(service.port, len(old))
        callers = [
            asyncio.create_task(each(service.port, over))
            for each in (street.ask_on_new_connections, street.ask_on_kept_connections)
            for _ in range(2)
        ]
        for each in old:
            await replaced(pods, each, service)
            before = street.responses
            await until(lambda before=before: street.responses >= before + 20 or any(map(asyncio.Task.done, callers)))  # type: ignore[misc]
        in_flight = [int((await each.says(r"Stopping: (\d+) requests in flight"))[1]) for each in old]
        await long.finish()
        assert [0, 0] == [await each.ended() for each in old]
        over.set()
        await asyncio.gather(*callers)
        assert ([3, 3], 0, 2) == (in_flight, service.refused, service.fewest)
        assert [0, 0] == [await each.stop() for each in pods.all[2:]]
    assert {1} == set(street.times.values())
    assert street.responses == len(street.times) == sum(len(each.log) for each in pods.all)
    assert (street.responses, street.pages) == await booked(tmp_path, postgres_url)


async def test_without_a_delay_connections_are_refused_until_the_balancer_looks(tmp_path: Path) -> None:
    """What is under way ends well. A new connection is reset before anything is sent on, so that it may be tried again."""
    street = Street()
    async with upstream(street.answer) as raw, AsyncExitStack() as stack:
        pods = Pods(tmp_path, configured(raw.port, f"sqlite:///{tmp_path}/books.db"), stack)
        old = await pods.start()
        service = await stack.enter_async_context(balancer([old], watching=False))
        held = await stack.enter_async_context(client(service.port))
        await held.send(street.request("held")[1])
        await until(lambda: bool(street.held))
        service.replicas.append(await pods.start())
        await service.look()
        old.signal(signal.SIGTERM)
        await old.says("Stopping: 1 requests in flight")
        refused = 0
        for _ in range(4):
            try:
                await street.ask(service.port)
            except (ConnectionError, asyncio.IncompleteReadError):
                refused += 1
        assert 2 == refused == service.refused
        await service.look()
        for _ in range(4):
            await street.ask(service.port)
        street.go.set()
        street.note(*await held.answer())
        assert [0, 0] == [await each.stop() for each in pods.all]
    assert {1} == set(street.times.values())
    assert (street.responses, street.pages) == await booked(tmp_path, f"sqlite:///{tmp_path}/books.db")


async def test_what_a_killed_pod_costs(tmp_path: Path, own_server: Postgres) -> None:
    """What was under way in it fails, and is not booked. What waited for the ledger is booked where the volume is still there."""
    street, url = Street(), own_server.create("books")

    async def held_at(port: int) -> RawClient:
        raw = await stack.enter_async_context(client(port))
        number, request = street.request("held")
        await raw.send(request)
        await until(lambda: number in street.held)
        return raw

    def lines(pod: Program) -> int:
        return sum(len(path.read_bytes().splitlines()) for path in (pod.folder / "passthrough.journal").glob("*.jsonl"))

    async with upstream(street.answer) as raw, AsyncExitStack() as stack:
        pods = Pods(tmp_path, configured(raw.port, url), stack)
        restarted, gone = await pods.start(), await pods.start()
        service = await stack.enter_async_context(balancer([restarted, gone]))
        under_way = [await held_at(restarted.port), await held_at(gone.port)]
        for _ in range(2):
            await street.ask(service.port)
        await eventually(lambda: booked(tmp_path, url), lambda found: found[0] == 2)
        kept = street.pages
        await asyncio.to_thread(own_server.kill)
        for pod in (restarted, gone):
            before = lines(pod)
            await street.ask(pod.port)
            await until(lambda pod=pod, before=before: lines(pod) > before)  # type: ignore[misc]
            pod.signal(signal.SIGKILL)
            await pod.ended()
        lost = street.pages - kept
        for each in under_way:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await each.answer()
        await asyncio.to_thread(own_server.start)
        again = await pods.start("pod-0")  # the container starts again in its Pod, and has the Pod's volume
        another = await pods.start()  # the Pod was replaced: its emptyDir went with it
        await eventually(lambda: booked(tmp_path, url), lambda found: found[0] == 3)
        street.go.set()
        service.replicas = [again, another]
        await until(lambda: service.ready == [again, another])
        for _ in range(2):
            await street.ask(service.port)
        assert [0, 0] == [await again.stop(), await another.stop()]
    assert {1} == set(street.times.values())
    assert street.responses == len(street.times) - len(under_way)  # the target was asked, and bills them
    requests, pages = await booked(tmp_path, url)
    assert street.responses - 1 == requests
    assert 0 < street.pages - pages < lost
