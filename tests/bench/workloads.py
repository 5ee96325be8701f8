"""The table of workloads: what is sent in each, over how many connections, and what matters about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .bodies import KB, MB

Kind = Literal["exchanges", "events", "start", "mixed"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: `size` bytes go up to `path` on each of `connections`; `moved` body bytes of an exchange make the GB.

    `once`: one exchange on each connection instead of some seconds. `fresh`: by a target that was started for it. `model`: it
    goes to `/v1/ocr`, where the body names this model, whose deployment is what `path` says; `model_last`: behind the document.
    """

    name: str
    group: str
    path: str
    size: int = KB
    connections: int = 1
    moved: int = 0
    kind: Kind = "exchanges"
    once: bool = False
    fresh: bool = False
    model: str = ""
    model_last: bool = False

    @property
    def tls(self) -> bool:
        """Whether the upstream speaks TLS."""
        return self.path.startswith("/tls/")


W1 = "/plain/length/2000/ocr"
UNMETERED = "passthrough-unmetered"
TRACED = "passthrough-traced"


def _uploads(name: str, route: str, *connections: int) -> list[Workload]:
    return [Workload(f"{name} c{count}", "W2", f"/{route}/length/2000/ocr", 10 * MB, count, 10 * MB) for count in connections]


def _answers(name: str, route: str, framing: str, *connections: int) -> list[Workload]:
    path = f"/{route}/{framing}/{20 * MB}/ocr"
    return [Workload(f"{name} c{count}", "W3", path, KB, count, 20 * MB) for count in connections]


def _at_once(name: str, route: str, connections: int) -> Workload:
    path = f"/{route}/length/2000/ocr"
    return Workload(name, "W4", path, 10 * MB, connections, 10 * MB, once=True, fresh=True)


def _ocr(name: str, framing: str, size: int, *connections: int, up: int = KB, last: bool = False) -> list[Workload]:
    """Return workloads of `/v1/ocr`, each with the answer of a model's deployment."""
    path = f"/plain/{framing}/{size}/ocr"
    more = {"moved": max(up, size) if max(up, size) > 10 * KB else 0, "model": model_of(path), "model_last": last}
    return [Workload(f"OCR {name} c{count}", "OCR", path, up, count, **more) for count in connections]


def model_of(path: str) -> str:
    """Return the name of the model whose deployment is at a path: `length-2000` for `/plain/length/2000/ocr`."""
    return "-".join(path.split("/")[2:4])


WORKLOADS: tuple[Workload, ...] = (
    Workload("W1 c1", "W1", W1),
    Workload("W1 c64", "W1", W1, connections=64),
    *_uploads("W2", "plain", 1, 8),
    *_uploads("W2 TLS", "tls", 1, 8),
    *_answers("W3", "plain", "length", 1, 8),
    *_answers("W3 chunked", "plain", "chunked", 1, 8),
    *_answers("W3 gzip", "plain", "gzip", 1, 8),
    *_answers("W3 TLS", "tls", "length", 1, 8),
    _at_once("W4", "plain", 100),
    _at_once("W4 TLS", "tls", 100),
    Workload("W5", "W5", "/chat/events/200/5/chat/completions", kind="events", once=True),
    Workload("W6", "W6", W1, kind="start", fresh=True),
    *_ocr("W1", "length", 2000, 1, 64),
    *_ocr("W2", "length", 2000, 1, 8, up=10 * MB),
    *_ocr("W2 model last", "length", 2000, 8, up=10 * MB, last=True),
    *_ocr("W3", "length", 20 * MB, 8),
    *(
        Workload(name, "OCR", W1, 20 * MB, 100, 20 * MB, once=True, fresh=True, model=model_of(W1), model_last=last)
        for name, last in (("OCR W4", False), ("OCR W4 model last", True))
    ),
    Workload("W7", "W7", "/side/length/2000/ocr", connections=16, kind="mixed"),
)

BESIDE = Workload("W7 transfers", "W7", f"/plain/length/{20 * MB}/ocr", KB, 8, 20 * MB)
"""What runs during W7."""

W7_RATE = 200.0

WHAT = {
    "W1": "1 KB request, 2 KB answer",
    "W2": "10 MB upload",
    "W3": "20 MB answer, with a Content-Length where nothing else is said, in chunks of 32 KB, or gzipped in such chunks",
    "W4": "100 concurrent 10 MB uploads, once, by a target that was just started",
    "W5": "200 events, 5 ms apart: time added to each",
    "W6": "from start to first answer, and idle memory after it",
    "OCR": "the same by /v1/ocr, where the body names the model: in front unless the name says otherwise; W4 with 20 MB each",
    "W7": "1 KB requests at 200/s while eight 20 MB transfers run",
}


def measured_by(workload: Workload, target: str) -> bool:
    """Tell whether a target is measured with a workload: the twins of this proxy only where they tell something."""
    if workload.model:
        return target in ("direct", "passthrough", "before", "litellm") and not (target == "litellm" and workload.once)
    if target == UNMETERED:
        return workload.name in ("W3 c8", "W3 gzip c8")
    if target == TRACED:
        return workload.group in ("W1", "W2", "W6")
    if target.endswith("-workers"):
        return workload.group in ("W1", "W6")
    return not (target == "direct" and workload.kind == "start")
