"""Told to stop, the program serves on for a while that it is given, not ready any more: balancers lag behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.harness.client import asking, client, once
from tests.harness.configs import ROUTE, problems
from tests.harness.process import WAIT_S, Program, program
from tests.harness.upstream import Peer, RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

ANSWER = ok(
    b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 1}}', b"Content-Type: application/json"
)
POST = b"POST /m/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration with one route to the raw upstream."""
    return f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}', include_subpath: true}}]\n{more}"


async def readyz(running: Program) -> tuple[int, str]:
    """Return the status of /readyz, and its word."""
    raw = await once(running.admin_port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["status"]


def pages(folder: Path) -> int:
    """Return how many pages are in the ledger."""
    with closing(sqlite3.connect(folder / "passthrough.db")) as ledger:
        return int(ledger.execute("SELECT sum(pages) FROM charges").fetchone()[0])


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("named", ["flag", "file", "variable"])
async def test_new_connections_are_served_while_it_is_not_ready(tmp_path: Path, workers: str, named: str) -> None:
    """Behind SIGTERM /readyz is 503 and the port serves all the same; when the delay is over, it refuses, and ends with 0."""
    flags = ("--drain-delay", "2s") if named == "flag" else ()
    async with upstream(answering(ANSWER)) as raw:
        config = configured(raw, "drain_delay: 2\n" if named == "file" else "")
        env = {"PASSTHROUGH_DRAIN_DELAY": "2000ms"} if named == "variable" else {}
        async with program(tmp_path, config, "--workers", workers, *flags, env=env) as running:
            # One worker asks the others, which may still be busy with their start.
            await eventually(lambda: readyz(running), lambda seen: seen == (200, "ok"))
            running.signal(signal.SIGTERM)
            for number in range(1, int(workers) + 1):
                await running.says((f"worker {number}: " if workers != "1" else "") + r"Not ready any more: serving on for 2 s\.")
            served = 0
            while "Stopping" not in "".join(running.said):
                try:
                    ready, answer = await readyz(running), await once(running.port, POST)
                except (OSError, IndexError):  # The delay is over: a connection is refused, or ends without an answer.
                    break
                assert (503, "draining") == ready
                if not answer:
                    break
                assert answer.startswith(b"HTTP/1.1 200")
                served += 1
            assert served > 10
            assert 0 == await running.ended()
    assert served == pages(tmp_path)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_second_signal_ends_the_delay(tmp_path: Path, workers: str) -> None:
    """Whoever asks twice waits neither for the delay nor for what is in flight."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begun.set()
        await never.wait()

    async with upstream(script) as raw:
        config = configured(raw, "drain_delay: 1h\ndrain_timeout: 1h\n")
        async with program(tmp_path, config, "--workers", workers) as running:
            asked = asyncio.create_task(once(running.port, POST))
            async with asyncio.timeout(WAIT_S):
                await begun.wait()
            running.signal(signal.SIGTERM)
            for number in range(1, int(workers) + 1):
                await running.says((f"worker {number}: " if workers != "1" else "") + r"Not ready any more")
            running.signal(signal.SIGTERM)
            assert 0 == await running.ended()
            with pytest.raises(ConnectionResetError):
                await asked


async def test_in_the_delay_each_response_closes_its_connection(tmp_path: Path) -> None:
    """A client that keeps its connection would send the next request on it just when it is closed: it turns to others before."""
    async with (
        upstream(answering(ANSWER)) as raw,
        program(tmp_path, configured(raw, "drain_delay: 1h\n")) as running,
        client(running.port) as kept,
    ):
        await kept.send(asking(b"POST /m/v1/ocr HTTP/1.1", body=b"{}"))
        head, _ = await kept.answer()
        assert b"\r\nconnection: close\r\n" not in head.lower()
        running.signal(signal.SIGTERM)
        await running.says("Not ready any more")
        await kept.send(asking(b"POST /m/v1/ocr HTTP/1.1", body=b"{}"))
        head, _ = await kept.answer()
        assert head.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in head.lower()
        assert b"" == await kept.rest()
        assert b"HTTP/1.1 200" == (await once(running.port, POST))[:12]
        running.signal(signal.SIGTERM)
        assert 0 == await running.ended()
    assert 3 == pages(tmp_path)


async def test_without_a_delay_the_port_is_closed_at_once(tmp_path: Path) -> None:
    """0 is the default, and may be written."""
    async with upstream(answering(ANSWER)) as raw, program(tmp_path, configured(raw), "--drain-delay", "0") as running:
        assert 0 == await running.stop()
        assert "Not ready" not in "".join(running.said)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_serves_what_has_connected_already(tmp_path: Path, workers: str) -> None:
    """The system takes connections, and requests on them, before the program does: a balancer sends no POST a second time."""
    async with (
        upstream(answering(ANSWER)) as raw,
        program(tmp_path, configured(raw), "--workers", workers) as running,
        AsyncExitStack() as stack,
    ):
        main = psutil.Process(running.process.pid)
        serving = main.children() if workers != "1" else [main]
        for process in serving:
            process.suspend()
        clients = [await stack.enter_async_context(client(running.port)) for _ in range(50)]
        for each in clients:
            await each.send(POST)
        running.signal(signal.SIGTERM)
        for process in serving:
            process.resume()
        answers = [await each.answer() for each in clients]
        assert {b"HTTP/1.1 200"} == {head[:12] for head, _ in answers}
        assert 0 == await running.ended()
    assert 50 == pages(tmp_path) == len(raw.received)


@pytest.mark.parametrize("wrong", ["soon", "-1", "1y", "nan", "''"])
def test_what_is_no_delay_is_said(tmp_path: Path, wrong: str) -> None:
    """It is a duration, or 0."""
    (problem,) = problems(tmp_path, ROUTE + f"drain_delay: {wrong}\n")
    assert (6, "drain_delay", "This is not a duration.") == (problem.line, problem.key, problem.what)
