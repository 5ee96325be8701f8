"""An OCR provider that responds to each document as a table says: well, late, with hostile names, cut short, or not at all.

It speaks over real sockets, is told nothing but the requests, and has no files: what comes is in the request's body.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.harness.documents import jpeg, png
from tests.harness.ocr_upstreams import Behaviour
from tests.harness.upstream import Peer, ok, upstream

MODEL: Final = "mistral-ocr-2512"
"""A page costs 0.002 USD."""

HOSTILE_IDS: Final[tuple[Any, ...]] = (
    *("../../escaped", "/tmp/escaped", "..", ".", "", "a/b/c.png", "a\\b.png", "C:\\escaped.png", "CON", "nul.jpeg"),
    *("a\0b", "a\nb", "\x1b[31mred", "x" * 300, "same", "same", "SAME", "img-0.jpeg", "img-0.JPEG", "-rf", "~", "%2e%2e%2fx"),
    *(
        "](http://127.0.0.1/x)",
        "<script>alert(1)</script>",
        "$(touch escaped)",
        "Bild Ü ü.png",
        "\ud800",
        "\u202egnp.exe",
        7,
        None,
    ),
)
"""Names of pictures that a response may have, each of which is to become one file in the document's own folder."""


def picture(name: Any, content: bytes | None = None, *, head: str = "data:image/jpeg;base64,") -> dict[str, Any]:
    """Return a picture of a page."""
    shown = jpeg(20, 10) if content is None else content
    box = {"top_left_x": 0, "top_left_y": 0, "bottom_right_x": 20, "bottom_right_y": 10}
    return {"id": name, **box, "image_base64": head + base64.b64encode(shown).decode()}


def page(index: int, markdown: str, *pictures: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a page; a placeholder of each of its pictures stands below its text."""
    placed = [f"![{one['id']}]({one['id']})" for one in pictures]
    return {"index": index, "markdown": "\n\n".join([markdown, *placed]), "images": list(pictures), "dimensions": None, **more}


def response(*pages: Mapping[str, Any], **more: Any) -> bytes:
    """Return the JSON of a response."""
    usage = {"pages_processed": len(pages), "doc_size_bytes": None}
    return json.dumps({"pages": list(pages), "model": MODEL, "document_annotation": None, "usage_info": usage, **more}).encode()


def hostile() -> bytes:
    """Return a response of two pages whose pictures have hostile names, all of them on both pages."""
    return response(*(page(index, f"Page {index}", *map(picture, HOSTILE_IDS)) for index in range(2)))


def odd() -> bytes:
    """Return a response whose lists are null, whose pages begin at 5 and repeat, and whose pictures are no pictures."""
    pictures = [picture("none"), picture("blank"), picture("plain", png(20, 10), head=""), picture("text", b"no picture")]
    pictures[0]["image_base64"] = None
    pictures[1]["image_base64"] = "data:image/png;base64,@@@"
    pages = page(5, "Five", *pictures), page(5, "Five again", images=None, tables=None), page(9, "", dimensions=7, future={})
    return response(*pages, future=[1])


@dataclass(slots=True)
class Results:
    """What is responded to each document: by its bytes, one behaviour for each request that brings it; the last one stays."""

    behaviours: Mapping[bytes, Sequence[Behaviour]]
    seen: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def tries(self, document: bytes) -> int:
        """Return how many requests brought a document."""
        return self.seen.count(document)

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            received = await peer.request()
            if received.line != b"POST /v1/ocr HTTP/1.1":
                await peer.send(ok(b'{"detail": "Not Found"}', b"Content-Type: application/json", status=b"404 Not Found"))
                continue
            source = json.loads(received.body)["document"]
            document = base64.b64decode(
                next(source[key] for key in ("document_url", "image_url") if key in source).partition(",")[2]
            )
            orders = self.behaviours[document]
            order = orders[min(self.tries(document), len(orders) - 1)]
            self.seen.append(document)
            if order.until is not None:
                await order.until.wait()
            if order.reset:
                peer.reset()
                return
            status = f"{order.status or 200} Ordered".encode()
            whole = ok(order.body or b"{}", b"Content-Type: application/json", *order.fields, status=status)
            await peer.send(whole[: len(whole) // 2] if order.cut else whole)
            if order.cut:
                peer.reset()
                return


def good(body: bytes, *, until: asyncio.Event | None = None) -> Behaviour:
    """Return the behaviour of responding with this."""
    return Behaviour(200, body=body, until=until)


@asynccontextmanager
async def results(behaviours: Mapping[bytes, Sequence[Behaviour]]) -> AsyncIterator[Results]:
    """Run the provider."""
    provider = Results(behaviours)
    async with upstream(provider) as raw:
        provider.port = raw.port
        yield provider
