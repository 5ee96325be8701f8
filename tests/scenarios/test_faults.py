"""Every fault at every moment, over raw sockets: no broken message looks whole, one exchange is booked, the next one is right.

The table (faults.py) has 768 combinations: 16 faults, 4 moments, 2 sides, 3 framings, 2 starts. 305 of them are tried, as 586
cases (for clients of HTTP/1.1 and 1.0, and with the answer's count before and behind the break); for the other 463 the table says
why they make no sense. 218 of the cases are tried again with TLS on both connections.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import trustme

from passthrough.exchange import Exchange
from passthrough.proxy.routes import Timeouts
from tests.harness.client import RawClient, asking
from tests.harness.proxy import Road, road, route_to
from tests.harness.tables.faults import (
    PAGES,
    UNCOUNTED,
    Case,
    Ends,
    Fault,
    Framing,
    Moment,
    Seen,
    Sent,
    Side,
    Start,
    cases,
    combinations,
    ends_of,
)
from tests.harness.upstream import Peer, RawUpstream, chunk, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = [pytest.mark.faults, pytest.mark.wire]

CASES = tuple(cases())
TLS_FAULTS = {
    (Side.UPSTREAM, Moment.HEAD): {Fault.HANG, Fault.RESET, Fault.CLOSE},
    (Side.UPSTREAM, Moment.BODY): set(Fault) - {Fault.DRIP, Fault.EARLY_413, Fault.EARLY_401, *UNCOUNTED},
    (Side.UPSTREAM, Moment.AFTER): {Fault.RESET, Fault.CLOSE, Fault.GARBAGE},
    (Side.CLIENT, Moment.BODY): {Fault.HANG, Fault.RESET, Fault.GARBAGE},
    (Side.CLIENT, Moment.AFTER): {Fault.HANG, Fault.RESET},
}
"""What is tried under TLS too: it has no half-close, and the rest is the same bytes."""

TLS_CASES = tuple(case for case in CASES if case.fault in TLS_FAULTS.get((case.side, case.moment), ()))
PATH = b"/v1/ocr"
DOCUMENT = b'{"document": "' + b"d" * 400 + b'"}'
MAX_BODY_BYTES = 10**7
HUGE_BYTES = 12 * 2**20
LATE_S = 3.0
"""A time-out that a case waits for."""

GARBAGE = b"\x16\x03\x01\xff\x00garbage\r\n\r\n"
DRIP_S = 0.5
"""Between two pieces of what drips, far below `SLOW_S`; eight of them take longer than that."""

SLOW_S = 3.5


def timeouts_of(case: Case) -> Timeouts:
    """Return the route's time-outs: short where the case waits for one, long where it must not meet one."""
    match case.side, case.fault, case.moment:
        case _, Fault.HANG, Moment.CONNECT:
            return Timeouts(connect_s=LATE_S)
        case _, Fault.HANG | Fault.DRIP, Moment.HEAD:
            return Timeouts(header_s=LATE_S)
        case _, Fault.HANG, _:
            return Timeouts(idle_s=LATE_S)
        case _, Fault.DRIP, _:
            return Timeouts(idle_s=SLOW_S)
        case Side.UPSTREAM, Fault.ENDLESS, Moment.BODY:
            return Timeouts(total_s=LATE_S)
    return Timeouts()


def body_of(case: Case) -> bytes:
    """Return the body of the target's answer; its middle is inside a string, its count before that or behind."""
    if case.side is Side.UPSTREAM and case.fault in UNCOUNTED:
        whole = json.dumps({"pages": [{"markdown": f"{n * n:x}"} for n in range(400)], "usage_info": {"pages_processed": PAGES}})
        packed = gzip.compress(whole.encode(), mtime=0)
        return {
            Fault.NOT_JSON: b'{"usage_info": {"pages_processed": 3,',
            Fault.NULL: b"null",
            Fault.EMPTY: b"",
            Fault.CUT_GZIP: packed[: len(packed) // 2],
        }[case.fault]
    huge = case.at == (Side.CLIENT, Fault.HANG, Moment.AFTER)
    pages = '"pages": [{"markdown": "' + "x" * (HUGE_BYTES if huge else 1000) + '"}]'
    count = f'"usage_info": {{"pages_processed": {PAGES}}}'
    return ("{" + ", ".join([count, pages] if case.counted_first else [pages, count]) + "}").encode()


def document_of(case: Case) -> bytes:
    """Return the body of the request."""
    if case.side is Side.CLIENT:
        return {
            Fault.NOT_JSON: b'{"document": ',
            Fault.NULL: b"null",
            Fault.EMPTY: b"",
            Fault.CUT_GZIP: gzip.compress(DOCUMENT, mtime=0)[:-9],
        }.get(case.fault, DOCUMENT)
    return DOCUMENT


def framed(framing: Framing, body: bytes, *, declared: int | None = None) -> tuple[bytes, bytes, bytes]:
    """Return the line that frames a body, and its halves as they are framed, the second one with its end."""
    half = len(body) // 2
    if framing is Framing.CHUNKED:
        first, second = (chunk(piece) if piece else b"" for piece in (body[:half], body[half:]))
        return b"Transfer-Encoding: chunked\r\n", first, second + chunk(b"")
    line = b"Content-Length: %d\r\n" % (len(body) if declared is None else declared) if framing is Framing.LENGTH else b""
    return line, body[:half], body[half:]


async def dripping(send: Callable[[bytes], Awaitable[None]], data: bytes, pieces: int, pause_s: float) -> None:
    """Send data in so many pieces, with a pause before each."""
    size = -(-len(data) // pieces)
    for at in range(0, len(data), size):
        await asyncio.sleep(pause_s)
        await send(data[at : at + size])


async def for_ever(send: Callable[[bytes], Awaitable[None]], data: bytes, pause_s: float = 0) -> None:
    """Send the same bytes again and again until nobody takes them."""
    with suppress(ConnectionError):
        while True:
            await send(data)
            await asyncio.sleep(pause_s)


@dataclass(slots=True)
class Target:
    """The upstream of a case: it answers the request to `PATH` as the case wants it, once `armed`, and every other one well."""

    case: Case
    armed: bool = False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    peers: list[Peer] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def script(self, peer: Peer) -> None:
        """Serve one connection."""
        self.peers.append(peer)
        if self.armed and (self.case.side, self.case.moment, self.case.start) == (Side.UPSTREAM, Moment.CONNECT, Start.FRESH):
            await self.strike(peer)
            if self.case.fault in {Fault.GARBAGE, Fault.ENDLESS}:
                await peer.ended()
                return
        while True:
            line, fields, _ = await peer.head()
            lower = {name.lower(): value for name, value in fields}
            if PATH not in line:
                await self._body(peer, lower)
                await peer.send(ok(b"the answer to " + line.split()[1]))
                continue
            self.sent.append(Sent.BROKEN)
            if self._early:
                await self._answer_early(peer, lower)
                return
            try:
                self.bodies.append(await self._body(peer, lower))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.sent[-1] = Sent.WHOLE
            await self._answer(peer)

    @staticmethod
    async def _body(peer: Peer, lower: dict[bytes, bytes]) -> bytes:
        if b"transfer-encoding" in lower:
            assert lower[b"transfer-encoding"] == b"chunked"
            assert b"content-length" not in lower
            return await peer.chunks()
        return await peer.reader.readexactly(int(lower[b"content-length"]))

    @property
    def _early(self) -> bool:
        case = self.case
        return case.fault in {Fault.EARLY_413, Fault.EARLY_401} and case.moment in {Moment.HEAD, Moment.BODY}

    @property
    def _status(self) -> bytes:
        if self.case.moment is Moment.CONNECT:
            return b"200 OK"
        if self.case.fault is Fault.EARLY_413:
            return b"413 Content Too Large"
        return b"401 Unauthorized" if self.case.fault is Fault.EARLY_401 else b"200 OK"

    async def _answer_early(self, peer: Peer, lower: dict[bytes, bytes]) -> None:
        """Answer before the upload's end, then read what else comes; a lie about the upload's end would show here."""
        if self.case.moment is Moment.BODY:
            await peer.reader.readexactly(10)
        line, first, second = framed(self.case.framing, body_of(self.case))
        await peer.send(b"HTTP/1.1 " + self._status + b"\r\n" + line + b"\r\n" + first)
        await self.go_on.wait()
        await peer.send(second)
        if self.case.framing is Framing.CLOSE and peer.writer.can_write_eof():
            peer.writer.write_eof()
        rest = await peer.ended()
        if rest.endswith(b"0\r\n\r\n") or len(rest) >= int(lower.get(b"content-length", sys.maxsize)) - 10:
            self.sent[-1] = Sent.WHOLE

    async def _answer(self, peer: Peer) -> None:
        """Answer a whole request as the case wants it."""
        case = self.case
        line, first, second = framed(case.answer_framing, body_of(case))
        coding = b"Content-Encoding: gzip\r\n" if case.side is Side.UPSTREAM and case.fault is Fault.CUT_GZIP else b""
        head = b"HTTP/1.1 " + self._status + b"\r\nContent-Type: application/json\r\n" + coding + line + b"\r\n"
        if case.side is Side.UPSTREAM and case.moment is Moment.HEAD:
            await self._break_head(peer, head)
        if case.side is Side.UPSTREAM and case.moment is Moment.BODY:
            await self._break_body(peer, head)
        else:
            await peer.send(head + first)
            if case.at[0] is Side.CLIENT and case.moment is Moment.AFTER:
                await self.go_on.wait()
            more = case.at == (Side.UPSTREAM, Fault.LONG, Moment.AFTER)
            await peer.send(second + ok(b'{"usage_info": {"pages_processed": 99}}') if more else second)
        if case.answer_framing is Framing.CLOSE:
            peer.writer.close()
            raise EOFError

    async def _break_head(self, peer: Peer, head: bytes) -> None:
        """Break in the middle of the head, or go on where the fault allows it."""
        match self.case.fault:
            case Fault.INTERIM:
                await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                return
            case Fault.HANG:
                await peer.send(head[: len(head) // 2])
            case Fault.RESET:
                await peer.send(head[: len(head) // 2])
                peer.reset()
            case Fault.CLOSE:
                await peer.send(head[: len(head) // 2])
                peer.writer.close()
            case Fault.GARBAGE:
                await peer.send(head[:-2] + GARBAGE)
            case Fault.DRIP:
                with suppress(ConnectionError):
                    await dripping(peer.send, head, len(head), LATE_S / 10)
            case Fault.ENDLESS:
                await for_ever(peer.send, b"X-Again: " + b"x" * 4000 + b"\r\n")
        await peer.ended()
        raise EOFError

    async def _break_body(self, peer: Peer, head: bytes) -> None:
        """Break in the middle of the body, once the client has what came before, or end it as the fault has it."""
        case, body = self.case, body_of(self.case)
        line, first, second = framed(case.framing, body)
        half = body[len(body) // 2 :]
        if case.framing is Framing.LENGTH and case.fault in {Fault.SHORT, Fault.LONG, Fault.ENDLESS}:
            declared = {Fault.SHORT: len(body) + 10, Fault.LONG: len(body), Fault.ENDLESS: 10**15}[case.fault]
            head = head.replace(line, b"Content-Length: %d\r\n" % declared)
        await peer.send(head + first)
        if case.fault in UNCOUNTED:
            await peer.send(second)
            return
        await self.go_on.wait()
        match case.fault:
            case Fault.DRIP:
                await dripping(peer.send, second, 8, DRIP_S)
                return
            case Fault.RESET:
                peer.reset()
            case Fault.CLOSE:
                peer.writer.close()
            case Fault.SHORT:
                await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(half) + 10, half) if case.framing is Framing.CHUNKED else second)
                peer.writer.close()
            case Fault.LONG:
                await peer.send(
                    b"%x\r\n%b\r\n0\r\n\r\n" % (len(half) - 5, half) if case.framing is Framing.CHUNKED else second + b"more"
                )
            case Fault.GARBAGE:
                await peer.send(GARBAGE)
            case Fault.ENDLESS:
                more = b"x" * 1000
                await for_ever(peer.send, chunk(more) if case.framing is Framing.CHUNKED else more, 0.001)
        await peer.ended()
        raise EOFError

    async def strike(self, peer: Peer) -> None:
        """Do on an idle connection what nobody expects there."""
        match self.case.fault:
            case Fault.RESET:
                peer.reset()
            case Fault.CLOSE:
                peer.writer.close()
            case Fault.GARBAGE:
                await peer.send(GARBAGE)
            case Fault.ENDLESS:
                await for_ever(peer.send, b"x" * 4000)
            case Fault.INTERIM:
                await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            case Fault.EARLY_413 | Fault.EARLY_401 if self.case.moment is Moment.CONNECT:
                await peer.send(ok(body_of(self.case), status=b"413 Content Too Large"))


@dataclass(slots=True)
class View:
    """What a client has seen of one answer so far; whole is only what came to its own end."""

    seen: Seen = Seen.NOTHING
    head: bytes = b""
    body: bytes = b""

    @property
    def status(self) -> int | None:
        """The status that it was sent."""
        return int(self.head[9:12]) if self.head else None

    @property
    def own_code(self) -> str | None:
        """The code of an answer of ours."""
        code = re.search(rb"\r\nX-Passthrough-Error: (\w+)\r\n", self.head)
        return code[1].decode() if code else None

    async def take_head(self, raw: RawClient) -> None:
        """Read the head."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            self.head = await raw.head()
            self.seen = Seen.BROKEN

    async def take_piece(self, raw: RawClient) -> bool:
        """Read some more of the body; tell whether that was the end. Raises where the connection breaks."""
        lower = self.head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in lower:
            size = int(await raw.reader.readuntil(b"\r\n"), 16)
            piece = await raw.reader.readexactly(size + 2)
            assert piece.endswith(b"\r\n")
            self.body += piece[:-2]
            return size == 0
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", lower)
        left = 65536 if length is None else int(length[1]) - len(self.body)
        piece = await raw.reader.read(min(left, 65536))
        self.body += piece
        if length is None:
            return not piece
        if not piece and left:
            raise EOFError
        return len(piece) == left

    async def take_body(self, raw: RawClient, *, pause_s: float = 0) -> None:
        """Read to the answer's end or the connection's."""
        with suppress(EOFError, ConnectionError, ssl.SSLError):  # IncompleteReadError is an EOFError.
            async with asyncio.timeout(WAIT_S):
                await asyncio.sleep(pause_s)
                while not await self.take_piece(raw):
                    if pause_s:
                        await asyncio.sleep(pause_s)
            self.seen = Seen.OWN if self.own_code else Seen.WHOLE


@dataclass(slots=True)
class Scene:
    """A case on the street: its target, the road, and its client on one connection."""

    case: Case
    target: Target
    above: RawUpstream
    house: Road
    raw: RawClient
    view: View = field(default_factory=View)
    helpers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def version(self) -> bytes:
        """What the client speaks; its connection persists in either case."""
        return b"HTTP/1.0" if self.case.http10 else b"HTTP/1.1"

    def beside(self, sending: Awaitable[None]) -> None:
        """Send something while the answer is read."""

        async def send() -> None:
            with suppress(ConnectionError):
                await sending

        self.helpers.append(asyncio.create_task(send()))

    async def stop(self) -> None:
        """End what is still being sent."""
        for helper in self.helpers:
            helper.cancel()
        await asyncio.gather(*self.helpers, return_exceptions=True)

    def simple(self, path: bytes) -> bytes:
        """Return a request that is answered well."""
        return asking(b"POST " + path + b" " + self.version, b"Connection: keep-alive", body=b"a small body")

    async def ask(self, raw: RawClient, path: bytes) -> None:
        """Ask for something else, and see that the answer is right."""
        await raw.send(self.simple(path))
        head, body = await raw.answer()
        assert (b"HTTP/1.1 200 OK", b"the answer to " + path) == (head[:15], body)

    def request(self) -> tuple[bytes, bytes, bytes]:
        """Return the request of the case: its head, and the halves of its body as they are framed."""
        case, document = self.case, document_of(self.case)
        framing = Framing.CHUNKED if case.chunked_request else Framing.LENGTH
        declared = None
        if case.side is Side.CLIENT and case.moment is Moment.BODY:
            declared = {Fault.SHORT: len(document) + 10, Fault.ENDLESS: 10**15}.get(case.fault)
        line, first, second = framed(framing, document, declared=declared)
        head = b"POST " + PATH + b" " + self.version + b"\r\nHost: proxy.test\r\nConnection: keep-alive\r\n" + line + b"\r\n"
        return head, first, second

    async def fail_upstream(self) -> None:
        """Send the request to a target that fails, and read what comes."""
        case = self.case
        head, first, second = self.request()
        if ends_of(case).sent is Sent.BROKEN:
            await self.raw.send(head, first)
        else:
            await self.raw.send(head + first + second)
        await self.view.take_head(self.raw)
        if ends_of(case).sent is Sent.BROKEN and case.moment is Moment.BODY:
            await self.raw.send(second)  # A client that does not stop: what it goes on sending must not reach the target.
        if case.moment is Moment.BODY and self.view.status == 200 and case.fault not in UNCOUNTED:
            await self.view.take_piece(self.raw)
        self.target.go_on.set()
        if self.view.head:
            await self.view.take_body(self.raw)

    async def fail_client(self) -> None:
        """Fail as the client, and read what comes."""
        match self.case.moment:
            case Moment.CONNECT:
                await self._fail_idle()
            case Moment.HEAD:
                await self._fail_in_head()
            case Moment.BODY:
                await self._fail_in_body()
            case Moment.AFTER:
                await self._fail_behind()
                return
        if self.case.fault is Fault.RESET or self.case.at[1:] == (Fault.HANG, Moment.CONNECT):
            return
        await self.view.take_head(self.raw)
        if self.view.head:
            await self.view.take_body(self.raw)

    async def _fail_idle(self) -> None:
        match self.case.fault:
            case Fault.RESET:
                self.raw.reset()
            case Fault.CLOSE:
                self.raw.writer.write_eof()
            case Fault.GARBAGE:
                await self.raw.send(GARBAGE)
            case Fault.ENDLESS:  # Empty lines before a request are skipped (RFC 9112 §2.2): there is never one.
                self.beside(dripping(self.raw.send, b"\r\n" * 1000, 5, LATE_S / 10))

    async def _fail_in_head(self) -> None:
        head, _, _ = self.request()
        half = head[: len(head) // 2]
        match self.case.fault:
            case Fault.DRIP:
                self.beside(dripping(self.raw.send, head, len(head), LATE_S / 10))
                return
            case Fault.GARBAGE:
                await self.raw.send(head[:-2] + GARBAGE)
                return
            case Fault.ENDLESS:
                await self.raw.send(head[:-2] + b"X: again\r\n" * 300)
                return
        await self.raw.send(half)
        if self.case.fault is Fault.RESET:
            self.raw.reset()
        elif self.case.fault is Fault.CLOSE:
            self.raw.writer.write_eof()

    async def _fail_in_body(self) -> None:
        case, fault = self.case, self.case.fault
        chunked = case.framing is Framing.CHUNKED
        head, first, second = self.request()
        if fault in UNCOUNTED:
            await self.raw.send(head + first + second)
            return
        await self.raw.send(head + first)
        if case.ends.status != 413 or chunked:
            await until(lambda: bool(self.target.sent))
        half = document_of(case)[len(document_of(case)) // 2 :]
        match fault:
            case Fault.RESET:
                self.raw.reset()
            case Fault.CLOSE:
                self.raw.writer.write_eof()
            case Fault.GARBAGE:
                await self.raw.send(GARBAGE)
            case Fault.SHORT:
                await self.raw.send(b"%x\r\n" % (len(half) + 10) + half + b"\r\n" + chunk(b"more") if chunked else second)
                await self.raw.send(b"" if chunked else self.simple(b"/hidden"))
            case Fault.LONG:
                await self.raw.send(b"%x\r\n" % (len(half) - 5) + half + b"\r\n" + chunk(b"") if chunked else second + GARBAGE)
            case Fault.DRIP:
                await dripping(self.raw.send, second, 8, DRIP_S)
            case Fault.ENDLESS if chunked:
                self.beside(for_ever(self.raw.send, chunk(b"x" * 65536)))

    async def _fail_behind(self) -> None:
        fault, raw, view = self.case.fault, self.raw, self.view
        await raw.send(b"".join(self.request()))
        await view.take_head(raw)
        await view.take_piece(raw)
        match fault:
            case Fault.RESET:
                raw.reset()
            case Fault.CLOSE:
                raw.writer.write_eof()
            case Fault.LONG:
                await raw.send(self.simple(b"/further"))
            case Fault.GARBAGE:
                await raw.send(GARBAGE)
            case Fault.ENDLESS:
                self.beside(for_ever(raw.send, GARBAGE * 1000))
        if fault in {Fault.RESET, Fault.CLOSE}:
            await until(lambda: not self.house.relay.active)
        self.target.go_on.set()
        if fault is Fault.HANG:
            await self.house.booked(2 if self.case.start is Start.KEPT else 1)
        if fault is not Fault.RESET:
            await view.take_body(raw, pause_s=DRIP_S if fault is Fault.DRIP else 0)
        if fault is Fault.LONG and ends_of(self.case).client_lives:
            head, body = await raw.answer()
            assert (b"HTTP/1.1 200 OK", b"the answer to /further") == (head[:15], body)

    def relayed(self) -> bytes:
        """Return all that the target said its body was."""
        body = body_of(self.case)
        if self.case.at == (Side.UPSTREAM, Fault.CLOSE, Moment.BODY):
            body = body[: len(body) // 2]
        if self.case.at == (Side.UPSTREAM, Fault.SHORT, Moment.BODY) and self.case.framing is Framing.CHUNKED:
            body += b"\r\n0\r\n\r\n"  # It belongs to the chunk, by the size that was declared.
        if self.case.at == (Side.UPSTREAM, Fault.ENDLESS, Moment.BODY):
            body = body[: len(body) // 2] + b"x" * len(self.view.body)
        return body

    def check_view(self, ends: Ends) -> None:
        """Compare what the client saw."""
        if ends.seen is None:
            return
        view = self.view
        assert (ends.seen, ends.status) == (view.seen, view.status)
        if ends.seen is Seen.OWN:
            assert view.own_code in ends.errors
            assert view.own_code == json.loads(view.body)["code"]
        elif ends.seen is Seen.WHOLE:
            assert self.relayed() == view.body
        elif ends.seen is Seen.BROKEN:
            assert self.relayed().startswith(view.body)

    async def check_end(self, ends: Ends) -> None:
        """See that the client's connection ends, where it must, with nothing on it but what it asked for."""
        if ends.client_lives or self.case.at[:2] == (Side.CLIENT, Fault.RESET):
            return
        if ends.seen is not Seen.NOTHING and (ends.sent is Sent.BROKEN or ends.errors == ("body_too_large",)):
            # While the client may still send, the connection stays open for a while, so that it reads the answer (RFC 9112 §9.6).
            assert b"\r\nConnection: close\r\n" in self.view.head
            return
        rest = b""
        with suppress(ConnectionError):
            rest = await self.raw.rest()
        if ends.seen is not None:
            assert ends.more == len(re.findall(rb"HTTP/1\.1 \d{3} ", rest)) == rest.count(b"X-Passthrough-Error")

    async def check_books(self, ends: Ends, before: int) -> None:
        """Compare what the books got: exactly one exchange, as it went."""
        expected = before + (ends.outcome is not None) + ends.more
        exchanges = await self.house.booked(expected)
        assert expected == len(exchanges)
        if ends.outcome is None:
            return
        exchange = exchanges[before]
        assert exchange.error in ends.errors
        if "upstream_unreachable" in ends.errors[1:] and exchange.attempts == 2:
            # What the target did overtook the request, once or twice: nothing was sent, so that it was tried again.
            ends = replace(ends, attempts=2, usage=None if exchange.error == "upstream_unreachable" else ends.usage)
        assert (ends.outcome, ends.status, ends.attempts) == (exchange.outcome, exchange.status, exchange.attempts)
        usage = await exchange.usage_source.usage()
        assert ends.usage == (usage.unmetered if usage.pages is None else usage.pages)
        assert exchange.admitted == (ends.attempts > 0 or ends.status == 413)
        for further in exchanges[before + 1 :]:
            await self._check_further(further)

    async def _check_further(self, exchange: Exchange) -> None:
        usage = await exchange.usage_source.usage()
        assert (None, None) == (usage.pages, usage.unmetered)
        well = self.case.fault is Fault.LONG and self.case.moment is Moment.AFTER
        assert ("completed" if well else "refused", well) == (exchange.outcome, exchange.admitted)

    async def check_next(self, ends: Ends, open_connection: Callable[[], object]) -> None:
        """Send the next request, on the client's connection if it lives, and see on which connection it reaches the target."""
        before = self.above.connections
        if self.case.start is Start.KEPT:
            renewed = self.case.side is Side.UPSTREAM and self.case.moment is Moment.CONNECT
            further = ends.more and ends.client_lives and self.case.answer_framing is Framing.CLOSE
            assert 1 + bool(renewed or further) == before
        count = len(self.house.exchanges)
        if ends.client_lives:
            await self.ask(self.raw, b"/next")
        else:
            async with open_connection() as raw:  # type: ignore[attr-defined]
                await self.ask(raw, b"/next")
        assert (before if ends.pool_lives and before else before + 1) == self.above.connections
        assert count + 1 == len(await self.house.booked(count + 1))
        assert ("completed", None) == (self.house.exchanges[-1].outcome, self.house.exchanges[-1].error)


@contextmanager
def unanswered_port() -> Iterator[int]:
    """Give a port that takes no connection: it listens, and its queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for each in waiting:
            each.close()


@contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port that refuses connections: it is bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@asynccontextmanager
async def connected(port: int, *, slow: bool, tls: ssl.SSLContext | None) -> AsyncIterator[RawClient]:
    """Connect a raw client; a slow one takes little ahead of what it reads."""
    sock = socket.socket()
    sock.setblocking(False)
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    options = {} if tls is None else {"ssl": tls, "server_hostname": "localhost"}
    reader, writer = await asyncio.open_connection(sock=sock, limit=8192 if slow else 2**20, **options)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


@dataclass(frozen=True, slots=True)
class Certificates:
    """TLS on both sides, from one authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_file: str


async def play(case: Case, tls: Certificates | None = None) -> None:
    """Run one case, and compare all that can be seen of it."""
    ends = ends_of(case)
    target = Target(case)
    to_target: dict[str, Any] = {} if tls is None else {"target": {"tls": True, "host": "localhost", "ca_file": tls.ca_file}}
    options: dict[str, Any] = {"timeouts": timeouts_of(case), "max_body_bytes": MAX_BODY_BYTES, **to_target}
    async with upstream(target.script, **({} if tls is None else {"ssl": tls.server})) as above:
        patient = route_to(above.port, **{**options, "timeouts": Timeouts()})
        async with road(patient, tls=None if tls is None else tls.server) as house:
            if case.side is Side.CLIENT and case.moment in {Moment.CONNECT, Moment.HEAD}:
                house.listener.head_s = LATE_S
            slow = case.at == (Side.CLIENT, Fault.HANG, Moment.AFTER)
            connect = partial(connected, house.port, slow=slow, tls=None if tls is None else tls.client)
            async with connect() as raw:
                scene = Scene(case, target, above, house, raw)
                if case.start is Start.KEPT:
                    await scene.ask(raw, b"/before")
                booked = len(await house.booked(1 if case.start is Start.KEPT else 0))
                target.armed = True
                house.adopt([route_to(above.port, **options)])
                await _fail(scene, options)
                await scene.stop()
                house.adopt([patient])
                scene.check_view(ends)
                await scene.check_books(ends, booked)
                await scene.check_end(ends)
                if case.side is Side.UPSTREAM and case.moment is Moment.AFTER and target.peers:
                    await target.strike(target.peers[-1])
                target.armed = False
                await scene.check_next(ends, connect)
            await house.quiet()
        async with asyncio.timeout(WAIT_S):
            await above.left()
    assert ([] if ends.sent is Sent.NOTHING else [ends.sent]) == target.sent
    assert ([document_of(case) + hidden_of(scene)] if ends.sent is Sent.WHOLE else []) == target.bodies


def hidden_of(scene: Scene) -> bytes:
    """Return what a request that declared too much takes from the one behind it."""
    swallows = scene.case.at == (Side.CLIENT, Fault.SHORT, Moment.BODY) and scene.case.framing is Framing.LENGTH
    return scene.simple(b"/hidden")[:10] if swallows else b""


async def _fail(scene: Scene, options: dict[str, Any]) -> None:
    """Let the fault happen."""
    case = scene.case
    if case.side is Side.CLIENT:
        await scene.fail_client()
    elif case.moment is Moment.CONNECT and case.fault in {Fault.REFUSE, Fault.HANG}:
        with refusing_port() if case.fault is Fault.REFUSE else unanswered_port() as port:
            scene.house.adopt([route_to(port, **options)])
            await scene.fail_upstream()
    else:
        if case.moment is Moment.CONNECT and case.start is Start.KEPT:
            await scene.target.strike(scene.target.peers[-1])
        await scene.fail_upstream()


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """See that a test leaves no task behind."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=WAIT_S)
    assert left == set()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """TLS for the target and for the road."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    ca_file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    return Certificates(server, client, str(ca_file))


async def together(some: Iterable[Case], tls: Certificates | None = None) -> None:
    """Run cases that mostly wait at once, each on a street of its own; raise all that failed."""

    async def named(case: Case) -> None:
        try:
            await play(case, tls)
        except BaseException as failure:
            failure.add_note(f"The case: {case}")
            raise

    results = await asyncio.gather(*map(named, some), return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise ExceptionGroup("Some cases failed.", failures)


@pytest.mark.parametrize("case", [case for case in CASES if not case.waits], ids=str)
async def test_every_fault_at_every_moment(case: Case) -> None:
    """What the client, the target and the books get is what the table says, and the next request is right."""
    await play(case)


@pytest.mark.parametrize("at", sorted({case.at for case in CASES if case.waits}), ids=", ".join)
async def test_faults_that_take_their_time(at: tuple[Side, Fault, Moment]) -> None:
    """The same for those that only a time-out ends, or that must meet none."""
    await together(case for case in CASES if case.at == at)


@pytest.mark.parametrize("case", [case for case in TLS_CASES if not case.waits], ids=str)
async def test_faults_under_tls(case: Case, certificates: Certificates) -> None:
    """The same where both connections are encrypted: a cut is no end."""
    await play(case, certificates)


@pytest.mark.parametrize("at", sorted({case.at for case in TLS_CASES if case.waits}), ids=", ".join)
async def test_faults_that_take_their_time_under_tls(at: tuple[Side, Fault, Moment], certificates: Certificates) -> None:
    """Time-outs end encrypted connections the same way."""
    await together((case for case in TLS_CASES if case.at == at), certificates)


def test_the_table_is_whole() -> None:
    """Every combination is tried, or has a reason why not; the numbers are those of the docstring."""
    everything = list(combinations())
    senseless = Counter(case.ends for case in everything if isinstance(case.ends, str))
    assert (768, 463, 586, 218) == (len(everything), senseless.total(), len(CASES), len(TLS_CASES))
    assert all(reason.endswith((".", "there.")) for reason in senseless)
