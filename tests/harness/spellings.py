"""Spellings of metered paths, the lenient readers that servers put before a router, and Starlette's real router behind them."""

# ruff: noqa: E501 - rows of a table are easier to compare than their pieces
from __future__ import annotations

import json
import posixpath
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from tests.harness.upstream import Peer

METERED: Final = (
    ("POST", "/v1/ocr"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/projects/p/models/m:rawPredict"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/libraries/l1/documents"),
    ("GET", "/v1/files/f1/content"),
    ("GET", "/v1/batch/jobs/j1"),
)
"""What a provider bills, as its documentation spells it."""


async def _served(request: Request) -> JSONResponse:
    """Answer as Mistral's OCR does."""
    return JSONResponse({"model": "mistral-ocr-latest", "usage_info": {"pages_processed": 3}, "raw": request.url.path})


PROVIDER: Final = Starlette(
    routes=[
        Route("/v1/ocr", _served, methods=["POST"]),
        Route("/v1/chat/completions", _served, methods=["POST"]),
        Route("/v1/projects/{project}/models/{model}:rawPredict", _served, methods=["POST"]),
        Route("/v1/audio/speech", _served, methods=["POST"]),
        Route("/v1/libraries/{library}/documents", _served, methods=["POST"]),
        Route("/v1/files/{file}/content", _served, methods=["GET"]),
        Route("/v1/batch/jobs/{job}", _served, methods=["GET"]),
    ]
)


def serves(method: str, path: str) -> bool:
    """Tell whether Starlette's router serves a decoded path."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in PROVIDER.router.routes)


def _no_overlong(path: bytes) -> bytes:
    return re.sub(rb"[\xc0\xc1][\x80-\xbf]", lambda found: bytes([(found[0][0] & 1) << 6 | found[0][1] & 0x3F]), path)


READERS: Final[dict[str, Callable[[bytes], str]]] = {
    "uvicorn": lambda path: unquote(path.decode("ascii")),
    "Latin-1": lambda path: unquote(path.decode("ascii"), "latin-1"),
    "decoded twice": lambda path: unquote(unquote(path.decode("ascii"))),
    "decoded thrice": lambda path: unquote(unquote(unquote(path.decode("ascii")))),
    "blanks are cut off": lambda path: unquote(path.decode("ascii")).rstrip(),
    "Latin-1 blanks are cut off": lambda path: unquote(path.decode("ascii"), "latin-1").rstrip(),
    "Windows' names": lambda path: re.sub(r"[. ]+(?=/|\Z)", "", unquote(path.decode("ascii"))),
    "slashes are merged": lambda path: re.sub("//+", "/", unquote(path.decode("ascii"))),
    "backslashes are slashes": lambda path: unquote(path.decode("ascii")).replace("\\", "/"),
    "a slash at the end is none": lambda path: unquote(path.decode("ascii")).rstrip("/"),
    "parameters are left out": lambda path: unquote(re.sub(rb";[^/]*", b"", path).decode("ascii")),
    "parameters are left out behind": lambda path: re.sub(";[^/]*", "", unquote(path.decode("ascii"))),
    "ends at the first parameter": lambda path: unquote(path.decode("ascii")).partition(";")[0],
    "ends at a decoded query": lambda path: unquote(path.decode("ascii")).partition("?")[0],
    "ends at a decoded fragment": lambda path: unquote(path.decode("ascii")).partition("#")[0],
    "ends at NUL": lambda path: unquote(path.decode("ascii")).partition("\0")[0],
    "dots are resolved": lambda path: posixpath.normpath(unquote(path.decode("ascii"))),
    "dots are resolved, decoded twice": lambda path: posixpath.normpath(unquote(unquote(path.decode("ascii")))),
    "a format is left out": lambda path: re.sub(r"\.[a-z]+\Z", "", unquote(path.decode("ascii"))),
    "overlong UTF-8": lambda path: _no_overlong(unquote_to_bytes(path)).decode("utf-8", "replace"),
    "plus is a blank": lambda path: unquote(path.decode("ascii").replace("+", " ")).rstrip(),
}
"""What servers, and proxies before them, make of a raw path before a router sees it."""

_LOWER: Final = {method_path: method_path[1].lower() for method_path in METERED}


def is_served(method: str, raw: bytes) -> str | None:
    """Return the reader that has the router serve a raw path, with or without regard to case; None: no one does."""
    for name, reader in READERS.items():
        path = reader(raw)
        if serves(method, path):
            return name
        if any(method == m and re.fullmatch(p, path, re.IGNORECASE) for m, p in METERED):
            return f"{name}, any case"
    return None


_ENDS: Final = (
    *(f"%{byte:02X}" for byte in range(0x21)), "%7F", "%7f", "%0a", "%0D%0A", "%C2%85", "%C2%A0", "%85", "%A0", "%E2%80%A8", "%E2%80%83", "%E3%80%80",
    "%2520", "%250A", "%25250A", ".", "..", "%2E", "/", "//", "%2F", "%2f", "%5C", "\\", ";", ";a=b", ";/", "%3B", "%3Ba=b", "%253Ba", "%23", "%23a",
    "%2523", "%3F", "%3Fa=b", "%253Fa", ".json", "+", "%2B", "/.", "/./", "/x/..", "/x/%2e%2e", "/x/%252e%252e", "/x%2F..", "%20/", "/%20", "./", "%00.png",
    "%2500.png",
)  # fmt: skip


def _inside(path: str, draw: random.Random) -> str:
    """Return a path of which one place is spelt in another way."""
    at = draw.randrange(1, len(path))
    letter = path[at]
    slash = draw.choice([spot for spot, found in enumerate(path) if found == "/"])
    return draw.choice(
        (
            f"{path[:at]}%{ord(letter):02x}{path[at + 1 :]}",
            f"{path[:at]}%25{ord(letter):02X}{path[at + 1 :]}",
            f"{path[:at]}%C{ord(letter) >> 6}%{0x80 | ord(letter) & 0x3F:02X}{path[at + 1 :]}",
            path[:at] + letter.swapcase() + path[at + 1 :],
            path[:slash] + draw.choice(("//", "%2F", "\\", "%5c", "/./", "/%2e/", "/x/../", ";a/", "%3Ba/", "%20/", "./", "%C0%AF")) + path[slash + 1 :],
        )
    )  # fmt: skip


def spellings(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield methods and raw paths: every end behind every path, then `count` combinations of oddities."""
    draw = random.Random(seed)
    for method, path in METERED:
        yield from ((method, (path + end).encode()) for end in ("", *_ENDS))
        yield method, path.upper().encode()
    for _ in range(count):
        method, path = draw.choice(METERED)
        for _ in range(draw.randrange(3)):
            path = _inside(path, draw)
        for _ in range(draw.randrange(3)):
            path += draw.choice(_ENDS)
        yield method, path.encode()


async def serve_starlette(peer: Peer) -> None:
    """Speak for the provider on one connection: a raw upstream's script, with Starlette's application behind it."""
    while True:
        received = await peer.request()
        method, target, _ = received.line.split(b" ")
        raw_path, _, query = target.partition(b"?")
        answer = await _asked(method.decode(), raw_path, query, received.fields, received.body)
        await peer.send(answer)


async def _asked(method: str, raw_path: bytes, query: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return what the application answers, as bytes; the scope is made as uvicorn 0.38 makes it."""
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "root_path": "",
        "path": unquote(raw_path.decode("ascii")), "raw_path": raw_path, "query_string": query, "server": ("127.0.0.1", 80),
        "headers": [(name.lower(), value) for name, value in fields],
    }  # fmt: skip
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await PROVIDER(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in said[1:])
    lines = [b"HTTP/1.1 %d X" % said[0]["status"], *(name + b": " + value for name, value in said[0]["headers"])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def tells_pages(answer: bytes) -> bool:
    """Tell whether an answer's body is one that the provider bills."""
    try:
        return "usage_info" in json.loads(answer)
    except ValueError:
        return False
