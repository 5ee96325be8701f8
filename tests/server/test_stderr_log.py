"""The program's own messages: in order, on a stderr that is slow, blocked or gone, and never in anybody's way."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from passthrough.server.stderr_log import DirectHandler, StderrHandler
from tests.harness.process import clean_environment
from tests.harness.terminal import terminal
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import WAIT_S, eventually

MANY = 5000


def log_to(handler: logging.Handler, text: str, *args: object) -> None:
    """Log one message."""
    handler.handle(logging.LogRecord("passthrough", logging.WARNING, "", 0, text, args, None))


def test_messages_are_written_whole_and_in_order() -> None:
    """What is logged is there when the handler is closed, one line each, in the order in which it was logged."""
    stream = io.StringIO()
    messages = StderrHandler(stream)
    for number in range(200):
        log_to(messages, "number %d", number)
    messages.close()
    assert [f"WARNING number {number}" for number in range(200)] == re.findall(r"WARNING number \d+", stream.getvalue())
    assert 200 == stream.getvalue().count("\n")


def test_a_blocked_stream_does_not_hold_up_the_end() -> None:
    """Closing ends although no reader is left."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb"):
        messages = StderrHandler(stream)
        for _ in range(MANY):
            log_to(messages, "x" * 200)
        messages.close(0.1)
        log_to(messages, "behind the end")


def test_messages_that_nobody_reads_are_dropped_and_their_number_is_said() -> None:
    """With a blocked pipe logging returns at once; once it is read, a number stands for each gap, and nothing else is missing."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        with os.fdopen(writing, "w") as stream:
            messages = StderrHandler(stream)
            for number in range(MANY):
                log_to(messages, "number %d %s", number, "x" * 200)
            lines: list[bytes] = []
            reader = threading.Thread(target=lambda: lines.extend(pipe))
            reader.start()
            messages.close(WAIT_S)
        reader.join()
    accounted = 0
    for line in lines:
        if found := re.search(rb"WARNING number (\d+) x{200}\n", line):
            assert accounted == int(found[1])
            accounted += 1
        else:
            dropped = re.fullmatch(rb"(\d+) messages were dropped here: nobody read them in time.\n", line)
            assert dropped is not None
            accounted += int(dropped[1])
    assert MANY == accounted > len(lines)


def test_a_message_whose_arguments_do_not_fit_ends_nothing() -> None:
    """It is reported as logging reports it; the next one is written."""
    stream = io.StringIO()
    messages = StderrHandler(stream)
    log_to(messages, "%d pages", "no number")
    log_to(messages, "next")
    messages.close()
    assert stream.getvalue().endswith("WARNING next\n")


def test_a_message_has_its_time_in_utc() -> None:
    """In a pipe or a file it is RFC 3339 with milliseconds and Z, whatever the machine's time zone is."""
    stream = io.StringIO()
    messages = StderrHandler(stream, "worker 1")
    record = logging.LogRecord("passthrough", logging.WARNING, "", 0, "No\nHint: %s", ("a",), None)
    record.created = 1_795_176_184.1239
    messages.handle(record)
    messages.close()
    assert stream.getvalue() == "2026-11-20T12:03:04.123Z WARNING worker 1: No\nHint: a\n"


@pytest.mark.parametrize("kind", [StderrHandler, DirectHandler])
def test_messages_fit_a_terminal(kind: type[StderrHandler | DirectHandler]) -> None:
    """Lines break between words; INFO goes without saying; a level that is not it is coloured; an address stays whole."""
    address = f"http://127.0.0.1:4000/{'x' * 90}"
    with terminal(80, TERM="xterm") as (stream, shown):
        handler = kind(stream)
        for level, text in ((logging.INFO, "Listening."), (logging.WARNING, f"{'word ' * 30}{address}\n  {'hint ' * 20}")):
            record = logging.LogRecord("passthrough", level, "", 0, text, (), None)
            record.created = 1_795_176_184.1239
            handler.handle(record)
        handler.close()
    lines = re.sub(r"\x1b\[\d*m", "", shown()).splitlines()
    assert lines[0] == "12:03:04Z Listening."
    assert lines[1].startswith("12:03:04Z WARNING word word ")
    assert "\x1b[33m12:03:04Z WARNING\x1b[0m word" in shown()
    assert "\x1b[2m12:03:04Z\x1b[0m Listening." in shown()
    assert address in [line.strip() for line in lines]
    assert all(len(line) <= 80 for line in lines if address not in line)
    assert [20, 30] == [" ".join(lines).split().count(word) for word in ("hint", "word")]


async def told_ports(pipe: IO[bytes]) -> tuple[int, int]:
    """Read stderr up to the line that names the ports of traffic and admin."""
    async with asyncio.timeout(WAIT_S):
        while line := await asyncio.to_thread(pipe.readline):
            if found := re.search(rb":(\d+), admin on \S+:(\d+)\.", line):
                return int(found[1]), int(found[2])
    raise AssertionError("It ended before it listened.")


@pytest.mark.wire
@pytest.mark.process
async def test_a_stderr_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """Flooded with messages into a full pipe, the program still answers and reloads, and SIGTERM ends it with 0."""
    place = tmp_path / "routes.yaml"
    reading, writing = os.pipe()
    async with upstream(answering(ok(b"fine"))) as above, aiohttp.ClientSession() as session:

        async def got(port: int, path: str) -> str:
            async with session.get(f"http://127.0.0.1:{port}{path}", timeout=aiohttp.ClientTimeout(WAIT_S)) as answer:
                return await answer.text()

        good = f"ledger: none\npass_through_endpoints:\n  - {{path: /m, target: 'http://127.0.0.1:{above.port}'}}\n"
        place.write_text(good)
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "passthrough", "serve", "--port", "0", "--admin-port", "0"),
            cwd=tmp_path,
            env=clean_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=writing,
        )
        os.close(writing)
        try:
            with os.fdopen(reading, "rb", buffering=0) as pipe:
                port, admin = await told_ports(pipe)
                for turn in range(3):  # Each is far more than a pipe holds.
                    place.write_text(good + "".join(f"nonsense_{turn}_{number}: 1\n" for number in range(2000)))
                    program.send_signal(signal.SIGHUP)
                    await eventually(lambda: got(admin, "/readyz"), lambda text: f"nonsense_{turn}_1999" in text)  # noqa: B023
                    assert "fine" == await got(port, "/m")
                place.write_text(good)
                program.send_signal(signal.SIGHUP)
                await eventually(lambda: got(admin, "/readyz"), lambda text: '"ok"' in text)
                assert "fine" == await got(port, "/m")
                program.send_signal(signal.SIGTERM)
                async with asyncio.timeout(WAIT_S):
                    assert 0 == await program.wait()
        finally:
            if program.returncode is None:
                program.kill()
            await program.wait()
