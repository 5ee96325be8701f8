"""A strict reader of requests, a target that reads by it and counts, and a client that speaks bytes and never loses an answer."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from passthrough.proxy.headers import imitates_framing
from tests.harness.upstream import Peer, Script

_LINE = re.compile(rb"([A-Z-]+) ([\x21-\x22\x24-\x7e]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)")
_HOP_BY_HOP = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"proxy-authorization",
    b"expect",
)
HEAD_BYTES = 2**17


class Malformed(Exception):
    """What came is not one well-formed request after the other; says why."""


@dataclass(slots=True)
class Request:
    """One request as the strict reader read it; `framing` is "", "length" or "chunked"."""

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    framing: str
    body: bytes
    raw: bytes


def _claim(holds: object, why: str, about: bytes = b"") -> None:
    if not holds:
        raise Malformed(f"{why}: {about[:80]!r}")


@dataclass(slots=True)
class StrictReader:
    """Reads requests one after the other, with no leniency at all; `rest` is what is not a whole one yet."""

    rest: bytes = b""

    def feed(self, piece: bytes) -> Iterator[Request]:
        """Yield each request that is whole; raise Malformed for whatever is none."""
        self.rest += piece
        while self.rest:
            end = self.rest.find(b"\r\n\r\n")
            if end < 0:
                _claim(len(self.rest) < HEAD_BYTES, "a head without end")
                return
            line, fields, framing, length = read_head(self.rest[:end])
            start = end + 4
            found = chunks(self.rest[start:]) if framing == "chunked" else (self.rest[start : start + length], length)
            if found is None or len(self.rest) < start + found[1]:
                return
            body, used = found
            raw, self.rest = self.rest[: start + used], self.rest[start + used :]
            yield Request(line, fields, framing, body, raw)


def read_head(raw: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], str, int]:
    """Return line, fields, framing and length of a head; raise Malformed for what two readers could read in two ways."""
    line, *lines = raw.split(b"\r\n")
    _claim(_LINE.fullmatch(line), "no request line", line)
    fields = []
    for each in lines:
        match = _FIELD.fullmatch(each)
        _claim(match, "no field", each)
        assert match is not None
        name, value = match[1].lower(), match[2]
        _claim(value == value.strip(b" \t"), "white space around a value", each)
        _claim(name not in _HOP_BY_HOP, "a field of another connection", each)
        _claim(not imitates_framing(name), "a look-alike", each)
        fields.append((name, value))
    hosts = [value for name, value in fields if name == b"host"]
    _claim(len(hosts) == 1 and re.fullmatch(rb"127\.0\.0\.1:[0-9]+", hosts[0]), "not our Host", b",".join(hosts))
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    _claim(len(lengths) + len(codings) <= 1, "two framings", raw)
    _claim(not codings or codings[0] == b"chunked", "a coding", b"".join(codings))
    _claim(not lengths or re.fullmatch(rb"[0-9]{1,19}", lengths[0]), "a length", b"".join(lengths))
    framing = "chunked" if codings else "length" if lengths else ""
    return line, tuple(fields), framing, int(lengths[0]) if lengths else 0


def chunks(rest: bytes) -> tuple[bytes, int] | None:
    """Return a chunked body and the bytes that it took, None where it is not whole yet; no extensions, no trailers."""
    body, position = bytearray(), 0
    while True:
        end = rest.find(b"\r\n", position)
        if end < 0:
            _claim(re.fullmatch(rb"[0-9a-f]{0,16}\r?", rest[position:]), "no chunk size", rest[position:])
            return None
        _claim(re.fullmatch(rb"[0-9a-f]{1,16}", rest[position:end]), "no chunk size", rest[position:end])
        size = int(rest[position:end], 16)
        position = end + 2 + size + 2
        if len(rest) < position:
            return None
        _claim(rest[position - 2 : position] == b"\r\n", "no end of a chunk", rest[position - 2 : position])
        body += rest[end + 2 : position - 2]
        if not size:
            return bytes(body), position


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(slots=True)
class StrictTarget:
    """A script for a raw upstream: every whole request gets the answer; what is malformed is kept, and ends its connection."""

    answer: bytes = OK
    requests: list[Request] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    unfinished: list[bytes] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def script(self) -> Script:
        """The script."""
        return self._serve

    async def _serve(self, peer: Peer) -> None:
        reader = StrictReader()
        try:
            while piece := await peer.reader.read(2**16):
                self.raw.append(piece)
                for request in reader.feed(piece):
                    self.requests.append(request)
                    await peer.send(self.answer.removesuffix(b"ok") if request.line.startswith(b"HEAD ") else self.answer)
        except Malformed as why:
            self.malformed.append(str(why))
        finally:
            if reader.rest:
                self.unfinished.append(reader.rest)


@dataclass(slots=True)
class Told:
    """One answer as a client read it."""

    status: int
    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raw: bytes

    @property
    def closes(self) -> bool:
        """Whether it announces the end of the connection."""
        said = {value.lower() for name, value in self.fields if name == b"connection"}
        return b"close" in said or (self.version == b"HTTP/1.0" and b"keep-alive" not in said)


@dataclass(slots=True)
class Speaker:
    """A client on a bare socket: a write that fails takes no answer away that has already come."""

    sock: socket.socket
    held: bytes = b""
    ended: bool = False

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Write pieces, each by itself, as far as they are taken."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            try:
                await loop.sock_sendall(self.sock, piece)
            except ConnectionError:
                return
            await asyncio.sleep(0)

    async def more(self) -> bool:
        """Wait for more bytes of answers; False at the end of the connection, however it came."""
        if not self.ended:
            try:
                piece = await asyncio.get_running_loop().sock_recv(self.sock, 2**16)
            except ConnectionError:
                piece = b""
            self.held += piece
            self.ended = not piece
        return not self.ended

    async def answer(self, method: bytes = b"GET") -> Told | None:
        """Return the next final answer; None where the connection ended before it was whole."""
        while (end := self.held.find(b"\r\n\r\n")) < 0:
            if not await self.more():
                return None
        line, *lines = self.held[:end].split(b"\r\n")
        match = re.fullmatch(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) [ -~]*", line)
        _claim(match, "no status line", line)
        assert match is not None
        pairs = [each.partition(b":") for each in lines]
        _claim(all(colon for _, colon, _ in pairs), "no field", self.held[:end])
        fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        status = int(match[2])
        if status < 200:
            self.held = self.held[end + 4 :]
            return await self.answer(method)
        body = await self._body(end + 4, dict(fields), bodiless=method == b"HEAD" or status in {204, 304})
        if body is None:
            return None
        used = end + 4 + body[1]
        told = Told(status, match[1], fields, body[0], self.held[:used])
        self.held = self.held[used:]
        return told

    async def _body(self, start: int, fields: dict[bytes, bytes], *, bodiless: bool) -> tuple[bytes, int] | None:
        if bodiless:
            return b"", 0
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
            while len(self.held) < start + length:
                if not await self.more():
                    return None
            return self.held[start : start + length], length
        if b"transfer-encoding" in fields:
            while (found := chunks(self.held[start:])) is None:
                if not await self.more():
                    return None
            return found
        while await self.more():
            pass
        return self.held[start:], len(self.held) - start

    async def rest(self) -> bytes:
        """Return what else comes until the connection ends, however it does."""
        while await self.more():
            pass
        return self.held


@contextmanager
def speaker(port: int) -> Iterator[Speaker]:
    """Connect a speaker to a port of loopback."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        yield Speaker(sock)
