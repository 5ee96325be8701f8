"""The program listens, drains and ends: signals, deadlines, TLS, IPv6, blocked output, memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.bench.uploads import peak_rss, said
from tests.harness.client import client, once
from tests.harness.process import WAIT_S, Program, clean_environment, program
from tests.harness.upstream import Peer, RawUpstream, answering, ok, upstream

pytestmark = [pytest.mark.wire, pytest.mark.process]

OCR = b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 1, "doc_size_bytes": 3}}'
OK = answering(ok(OCR, b"Content-Type: application/json"))
POST = b"POST /mistral/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration with one route to the raw upstream."""
    route = f"{{path: /mistral, target: 'http://127.0.0.1:{raw.port}', include_subpath: true}}"
    return f"pass_through_endpoints:\n  - {route}\n{more}"


def booked(folder: Path) -> list[tuple[str, int | None, str, int | None]]:
    """Return id, status, outcome and pages of everything in the ledger."""
    ledger = sqlite3.connect(folder / "passthrough.db")
    try:
        return ledger.execute(
            "SELECT e.id, e.status, e.outcome, c.pages FROM exchanges e LEFT JOIN charges c ON c.exchange_id = e.id ORDER BY e.id"
        ).fetchall()
    finally:
        ledger.close()


class Gate:
    """An upstream that sends half of a response, and the rest when the test lets it."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            await peer.request()
            self.begun.release()
            await self.go.wait()
            await peer.send(ok(OCR, b"Content-Type: application/json"))

    async def reached(self, count: int) -> None:
        """Wait until `count` requests have come."""
        for _ in range(count):
            await self.begun.acquire()


async def readiness(running: Program) -> tuple[int, str]:
    """Return the status of /readyz and the word that it says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        return answer.status, (await answer.json())["status"]


async def refuses(port: int) -> bool:
    """Tell whether no process listens on the port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def serving(folder: Path, *flags: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    """Start `passthrough serve` and return at once."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", "serve", *flags),
        cwd=folder,
        env=clean_environment(),
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_is_in_flight_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """After a signal no new client is let in, /readyz is 503, requests in flight end with close, all is booked, exit 0."""
    gate = Gate()
    async with upstream(gate) as raw, program(tmp_path, configured(raw)) as running, client(running.port) as idle:
        asked = [asyncio.create_task(once(running.port, POST)) for _ in range(20)]
        await gate.reached(20)
        running.signal(number)
        assert b"" == await idle.rest()
        await running.says("Stopping: 20 requests in flight, at most 25 s for them")
        assert (503, "draining") == await readiness(running)
        assert await refuses(running.port)
        gate.go.set()
        for answer in await asyncio.gather(*asked):
            head, _, body = answer.partition(b"\r\n\r\n")
            assert (True, True, OCR) == (head.startswith(b"HTTP/1.1 200"), b"\r\nConnection: close" in head, body)
        assert 0 == await running.ended()
    assert [(200, "completed", 1)] * 20 == [row[1:] for row in booked(tmp_path)]
    assert sorted(line["id"] for line in running.log) == [row[0] for row in booked(tmp_path)]
    assert not (tmp_path / "passthrough.db-wal").exists()


async def test_a_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    """Sixteen clients keep asking while SIGTERM comes: every answer that a client has got is in the ledger."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        got: list[int] = []
        enough = asyncio.Event()

        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                while True:
                    try:
                        async with session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
                            assert OCR == await answer.read()
                    except aiohttp.ClientConnectionError:
                        return
                    got.append(answer.status)
                    if len(got) == 400:
                        enough.set()

        asking = [asyncio.create_task(ask()) for _ in range(16)]
        await enough.wait()
        assert 0 == await running.stop()
        await asyncio.gather(*asking)
    completed = [row for row in booked(tmp_path) if row[1:] == (200, "completed", 1)]
    assert {200} == set(got)
    assert len(got) == len(completed)
    assert "cut off" not in "".join(running.said)


async def test_the_deadline_cuts_off(tmp_path: Path) -> None:
    """What is not answered within the drain time-out is broken off, booked as cut_off, and the exit code is still 0."""
    gate = Gate()
    async with upstream(gate) as raw, program(tmp_path, configured(raw), "--drain-timeout", "300ms") as running:
        asked = asyncio.create_task(once(running.port, POST))
        await gate.reached(1)
        assert 0 == await running.stop()
        with pytest.raises(ConnectionResetError):
            await asked
        await running.says("1 requests were cut off")
    assert [(None, "cut_off")] == [row[1:3] for row in booked(tmp_path)]
    assert [("cut_off", "cancelled")] == [(line["outcome"], line["unmetered"]) for line in running.log]


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """Whoever asks twice does not wait for the drain time-out; what was half sent is broken off, not ended."""
    half, never = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        half.set()
        await never.wait()

    config = "drain_timeout: 1h\n"
    async with upstream(script) as raw, program(tmp_path, configured(raw, config)) as running, client(running.port) as one:
        await one.send(POST)
        assert (await one.head()).startswith(b"HTTP/1.1 200")
        await half.wait()
        running.signal(signal.SIGTERM)
        await running.says("Stopping: 1 requests in flight, at most 3600 s")
        running.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            await one.rest()
        assert 0 == await running.ended()
    assert [(200, "cut_off")] == [row[1:3] for row in booked(tmp_path)]


async def test_settling_calls_are_awaited(tmp_path: Path) -> None:
    """A call whose client has left is read to its end before the program ends, and its pages are booked."""
    gate = Gate()
    async with upstream(gate) as raw, program(tmp_path, configured(raw)) as running:
        async with client(running.port) as one:
            await one.send(POST)
            await gate.reached(1)
        running.signal(signal.SIGTERM)
        await running.says("Stopping")
        gate.go.set()
        assert 0 == await running.ended()
    assert [(None, "client_gone", 1)] == [row[1:] for row in booked(tmp_path)]


async def test_an_idle_program_stops_at_once(tmp_path: Path) -> None:
    """Without requests the end does not wait for the drain time-out, even where connections are open on both ports."""
    async with (
        upstream(OK) as raw,
        program(tmp_path, configured(raw), "--drain-timeout", "1h") as running,
        client(running.port) as one,
        client(running.admin_port) as two,
    ):
        await one.send(POST)
        assert OCR == (await one.answer())[1]
        await two.send(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf a body")
        assert (await two.head()).startswith(b"HTTP/1.1 405")
        assert 0 == await running.stop()


async def test_tls(tmp_path: Path) -> None:
    """With a certificate and its key the traffic port speaks TLS 1.2 or better, HTTP/1.1 by ALPN, and plain HTTP no more."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    flags = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    async with upstream(OK) as raw, program(tmp_path, configured(raw), *flags) as running:
        assert f"https://127.0.0.1:{running.port}" in "".join(running.said)
        async with client(running.port, ssl=trusting, server_hostname="localhost") as one:
            tunnel = one.writer.get_extra_info("ssl_object")
            assert "http/1.1" == tunnel.selected_alpn_protocol()
            assert tunnel.version() in {"TLSv1.2", "TLSv1.3"}
            await one.send(POST)
            assert OCR == (await one.answer())[1]
        assert not (await once(running.port, POST)).startswith(b"HTTP/1.1 200")
        assert 0 == await running.stop()


async def test_ipv6(tmp_path: Path) -> None:
    """It listens on an IPv6 address, and says so as a URL is written."""
    flags = ("--host", "::1", "--admin-host", "::1")
    async with upstream(OK) as raw, program(tmp_path, configured(raw), *flags) as running:
        await running.says(rf"Listening on http://\[::1\]:{running.port}, admin on http://\[::1\]:{running.admin_port}\.")
        async with aiohttp.ClientSession() as session:
            async with session.post(f"http://[::1]:{running.port}/mistral/v1/ocr", data=b"{}") as answer:
                assert OCR == await answer.read()
            async with session.get(f"http://[::1]:{running.admin_port}/readyz") as answer:
                assert 200 == answer.status
        arguments = ("health", "--admin-host", "::1", "--admin-port", str(running.admin_port))
        assert 0 == (await running.command(*arguments))[0]


def full_pipe() -> tuple[int, int]:
    """Return the two ends of a pipe that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    os.set_blocking(writing, True)
    return reading, writing


async def test_a_blocked_output_stops_nothing(tmp_path: Path) -> None:
    """Nobody reads the log and its pipe is full: requests are served all the same, and the ledger has every one of them."""
    reading, writing = full_pipe()
    async with upstream(OK) as raw:
        (tmp_path / "routes.yaml").write_text(configured(raw))
        process = await serving(tmp_path, "--port", "0", "--admin-port", "0", stdout=writing)
        assert process.stderr is not None
        found = re.search(rb"Listening on http://127\.0\.0\.1:(\d+)", await process.stderr.readline())
        assert found is not None
        async with aiohttp.ClientSession() as session:
            for _ in range(300):
                async with session.post(f"http://127.0.0.1:{int(found[1])}/mistral/v1/ocr", data=b"{}") as answer:
                    assert OCR == await answer.read()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.communicate()
    os.close(reading)
    os.close(writing)
    assert 0 == process.returncode
    assert [(200, "completed", 1)] * 300 == [row[1:] for row in booked(tmp_path)]


async def test_a_reader_that_goes_stops_nothing(tmp_path: Path) -> None:
    """The log's reader ends: the next requests are served and booked, and the program ends in peace."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        async with aiohttp.ClientSession() as session:
            assert running.process.stdout is not None
            running.process.stdout._transport.close()  # type: ignore[attr-defined]
            for _ in range(5):
                async with session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
                    assert OCR == await answer.read()
        assert 0 == await running.stop()
    assert 5 == len(booked(tmp_path))


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Each port that another holds is exit 1, with the port, why, and what to do; no traceback, and nothing left behind."""
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    async with upstream(OK) as raw:
        (tmp_path / "routes.yaml").write_text(configured(raw))
        for flags in (("--port", port, "--admin-port", "0"), ("--port", "0", "--admin-port", port)):
            process = await serving(tmp_path, *flags)
            out, err = await process.communicate()
            assert (1, b"") == (process.returncode, out)
            assert (
                f"passthrough: Cannot listen on 127.0.0.1 port {port}: Address already in use.\n"
                "  Is another instance running? Stop it, or choose another --port / --admin-port.\n"
            ) == err.decode()
    taken.close()


async def test_a_log_is_one_object_a_line(tmp_path: Path) -> None:
    """Every exchange, refused ones too, is one JSON object on stdout; refusals before admission are not in the ledger."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw)) as running:
        lost = POST.replace(b"/mistral", b"/nowhere").replace(b"localhost\r", b"localhost\r\nConnection: close\r")
        assert b"404" == (await once(running.port, lost))[9:12]
        assert (await once(running.port, b"GARBAGE\r\n\r\n"))[9:12] == b"400"
        async with client(running.port) as one:
            await one.send(POST)
            await one.answer()
        await running.logs(3)
        assert 0 == await running.stop()
    assert [("refused", 404), ("refused", 400), ("completed", 200)] == [(line["outcome"], line["status"]) for line in running.log]
    assert all(json.loads(line) for line in running.raw_log)
    assert 1 == len(booked(tmp_path))


async def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    """Forty uploads at once to a slow target need as much memory at 40 MB each as at 20 MB: a few buffers for each.

    Smaller bodies would fit into the kernel's socket buffers, and say nothing.
    """
    grown = []
    for size in (20 << 20, 40 << 20):
        before, most = await peak_rss(tmp_path, uploads=40, size=size)
        sys.stdout.write(said(40, size, before, most))
        grown.append(most - before)
    assert grown[1] < grown[0] + 40_000_000
    assert max(grown) < 40 * 4_000_000


# Takes standard input as its terminal and becomes the program. Not pty.fork(): the tests' own process may have threads.
# The tests themselves may have been started with nohup: so the signal is given back its meaning.
ON_ITS_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


async def test_the_end_of_its_terminal_is_the_end_of_the_program(tmp_path: Path) -> None:
    """SIGHUP reloads while there is a terminal, or never was one; when the terminal itself goes, so does the program."""
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: [{path: /a, target: http://127.0.0.1:9}]\nledger: none\n")
    control, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ON_ITS_TERMINAL, "-m", "passthrough", "serve", "--port", "0", "--admin-port", "0"),
        cwd=tmp_path,
        env=clean_environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    overdue = asyncio.get_running_loop().call_later(WAIT_S, process.kill)
    said = b""
    while b"Listening on" not in said:
        said += await asyncio.to_thread(os.read, control, 4096)
    process.send_signal(signal.SIGHUP)
    while b"Reloaded" not in said:
        said += await asyncio.to_thread(os.read, control, 4096)
    os.close(control)
    assert 0 == await process.wait()
    overdue.cancel()
