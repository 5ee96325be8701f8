"""Uploads to a target that answers behind their head and closes with input unread: what it said reaches the client."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from passthrough.proxy.routes import Retries
from tests.harness.client import RawClient, asking, client
from tests.harness.proxy import road, route_to
from tests.harness.upstream import chunk

pytestmark = [pytest.mark.faults, pytest.mark.wire]

SAID = b'{"message":"Request size limit exceeded"}'
BODY = b"x" * 6_000_000
CHUNKS = b"".join(chunk(BODY[:30_000]) for _ in range(100)) + chunk(b"")
TRIES = 10


def refuse(sock: socket.socket, context: ssl.SSLContext | None, answer: bytes) -> None:
    """Answer behind the head, and close: the kernel resets the connection, for more has come than was read."""
    # With Nagle's algorithm the answer would wait for the client's acknowledgement, and the reset would take it away.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    speaking = sock if context is None else context.wrap_socket(sock, server_side=True)
    with speaking, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head and (piece := speaking.recv(4096)):
            head += piece
        speaking.sendall(answer)


@contextmanager
def refusing(context: ssl.SSLContext | None, answer: bytes) -> Iterator[int]:
    """Run such a target; yields its port. It is no event loop's: that would read what has come before it closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listening.accept()
                    threading.Thread(target=refuse, args=(sock, context, answer), daemon=True).start()

        serving = threading.Thread(target=serve)
        serving.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


async def send(raw: RawClient, request: bytes) -> None:
    """Send a request as far as it is taken."""
    with suppress(ConnectionError):
        await raw.send(request)


async def refusal(port: int, request: bytes) -> tuple[int, bytes]:
    """Return the status and the body that one upload is answered with."""
    async with client(port) as raw:
        sending = asyncio.create_task(send(raw, request))
        head, body = await raw.answer()
        sending.cancel()
        await asyncio.wait({sending})
        return int(head[9:12]), body


UPLOADS = {
    "past the parser": (asking(b"POST /a HTTP/1.1", body=BODY), {}),
    "held for a retry": (asking(b"POST /a HTTP/1.1", body=BODY), {"retries": Retries(attempts=1, held_bytes=10**8)}),
    "in chunks": (asking(b"POST /a HTTP/1.1", b"Transfer-Encoding: chunked") + CHUNKS, {}),
}


@pytest.mark.parametrize("status", [413, 401, 400])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_the_target_said_before_it_closed_is_relayed(
    make_loop: Callable[[], asyncio.AbstractEventLoop], upload: str, encrypted: bool, status: int, tmp_path: Path
) -> None:
    """The write that meets the reset fails first, and the answer is read behind it (seen: 28 of 30 were our 502)."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    answer = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(SAID)) + SAID
    request, settings = UPLOADS[upload]
    target: dict[str, Any] = {"tls": encrypted, "host": "localhost" if encrypted else "127.0.0.1"}

    async def talk() -> list[tuple[int, bytes]]:
        with refusing(context if encrypted else None, answer) as port:
            own = route_to(port, target={**target, "ca_file": str(tmp_path / "ca.pem")}, **settings)
            async with road(own) as house:
                return [await refusal(house.port, request) for _ in range(TRIES)]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert [(status, SAID)] * TRIES == runner.run(talk())


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_that_the_reset_cut_does_not_look_whole(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Behind a reset the kernel may call the end a clean one: an answer that only the close would end stays broken."""
    cut = b"HTTP/1.1 413 No\r\nContent-Type: text/plain\r\n\r\n" + SAID

    async def talk() -> set[bytes | None]:
        ends: set[bytes | None] = set()
        with refusing(None, cut) as port:
            async with road(route_to(port)) as house:
                for _ in range(TRIES):
                    async with client(house.port) as raw:
                        sending = asyncio.create_task(send(raw, UPLOADS["in chunks"][0]))
                        try:
                            ends.add(b"whole" if (await raw.rest()).endswith(b"0\r\n\r\n") else None)
                        except ConnectionError:
                            ends.add(None)
                        sending.cancel()
                        await asyncio.wait({sending})
        return ends

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert {None} == runner.run(talk())
