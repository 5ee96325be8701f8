"""The table of odd requests before three proxies: nginx, HAProxy and this one, each in front of the same recording target.

By hand: `python -m tests.soak.differential [seed]`. Prints Markdown: where they differ, and why we are stricter. nginx and
HAProxy are taken from PATH and left out, by name, where they are not there; all of it stays on loopback. A real Starlette
application is asked for thousands of spellings of metered paths through this proxy: what it answers must have been counted.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from passthrough.exchange import NOTHING_READ
from tests.harness.client import asking, client
from tests.harness.ports import free_port
from tests.harness.proxy import road, route_to
from tests.harness.spellings import serve_starlette, spellings, tells_pages
from tests.harness.strict_peers import Malformed, read_head, speaker
from tests.harness.tables.odd_requests import TABLE, WHY, Odd
from tests.harness.upstream import Peer, Script, upstream
from tests.harness.waiting import until

SILENCE_S = 0.15
"""How long a proxy may say nothing before its answers are taken to be all; they come within milliseconds."""

NGINX = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream target {{ server 127.0.0.1:{target}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""

_SPELLINGS = 3000

HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend in
  bind 127.0.0.1:{port}
  default_backend target
backend target
  server target 127.0.0.1:{target}
"""


@dataclass(slots=True)
class Recorder:
    """A lenient target: it notes every head, reads bodies as well as it can, and answers each request with a 200."""

    heads: list[bytes] = field(default_factory=list)

    @property
    def script(self) -> Script:
        """The script."""
        return self._serve

    async def _serve(self, peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            self.heads.append(head[:-4])
            lower = head.lower()
            length = re.search(rb"\ncontent-length: *([0-9]+)", lower)
            if re.search(rb"\ntransfer-encoding: *chunked", lower):
                await self._chunks(peer)
            elif length:
                await peer.reader.readexactly(int(length[1]))
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def _chunks(self, peer: Peer) -> None:
        while size := int((await peer.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            await peer.reader.readexactly(size + 2)
        while await peer.reader.readuntil(b"\r\n") != b"\r\n":
            pass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one proxy made of one case: the statuses it answered, the requests that went up, and what of them is odd."""

    statuses: tuple[str, ...]
    lines: tuple[bytes, ...]
    odd: str

    @property
    def what(self) -> str:
        """In a word: the status of the refusal, or how many requests went up."""
        if not self.lines:
            return self.statuses[0] if self.statuses else "nothing"
        return f"{len(self.lines)} up" + (", then " + self.statuses[-1] if self.statuses[-1:] not in {(), ("200",)} else "")


_THEIRS = re.compile(
    rb"(?i)\r\n(?:connection|te|trailer|upgrade|keep-alive|proxy-connection|proxy-authorization|expect):[^\n]*(?=\r\n|$)"
)


def _odd(head: bytes, *, ours: bool) -> str:
    """Return what a strict reader of requests says of a head that went up, or nothing."""
    if not ours:  # Fields of one connection that the others relay, the Host that they choose, and 1.0 are no matter of reading.
        head = _THEIRS.sub(b"", head).replace(b" HTTP/1.0\r\n", b" HTTP/1.1\r\n", 1)
        head = re.sub(rb"(?i)\r\nhost:[^\n]*(?=\r\n|$)", b"", head.removesuffix(b"\r\n")) + b"\r\nHost: 127.0.0.1:1"
    try:
        read_head(head)
    except Malformed as why:
        return str(why)
    return ""


async def outcome_of(case: Odd, port: int, recorder: Recorder, *, ours: bool) -> Outcome:
    """Send one case to one proxy."""
    recorder.heads.clear()
    received = b""
    with speaker(port) as raw:
        await raw.send([case.sent])
        try:
            while not raw.ended:
                async with asyncio.timeout(SILENCE_S):
                    await raw.more()
        except TimeoutError:
            pass
        received = raw.held
    statuses = [status.decode() for status in re.findall(rb"(?:^|[^A-Za-z/ ])HTTP/1\.[01] ([2-5][0-9]{2}) ", received)]
    lines = tuple(head.partition(b"\r\n")[0] for head in recorder.heads)
    return Outcome(tuple(statuses), lines, "; ".join(filter(None, (_odd(head, ours=ours) for head in recorder.heads))))


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def _process(name: str, config: str, *command: str, target: int) -> AsyncIterator[int]:
    """Run a proxy from PATH in a folder of its own and give its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder, name)
        file.write_text(config.format(folder=folder, port=port, target=target))  # noqa: ASYNC240 - a few lines, at start
        process = subprocess.Popen([*command, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - at start
        try:
            await until(lambda: _listens(port))
            yield port
        finally:
            process.terminate()
            process.wait()


Results = dict[str, list[Outcome]]


async def _run() -> Results:
    results: Results = {}
    async with AsyncExitStack() as stack:

        async def ask(name: str, port: int, recorder: Recorder) -> None:
            results[name] = [await outcome_of(case, port, recorder, ours=name == "passthrough") for case in TABLE]

        asking = []
        for name, config, command in (
            ("passthrough", "", []),
            ("nginx", NGINX, ["nginx", "-c"]),
            ("haproxy", HAPROXY, ["haproxy", "-db", "-f"]),
        ):
            recorder = Recorder()
            above = await stack.enter_async_context(upstream(recorder.script))
            if not config:
                house = await stack.enter_async_context(road(route_to(above.port)))
                asking.append(ask(name, house.port, recorder))
            elif shutil.which(command[0]) is None:
                sys.stdout.write(f"{name} is not on PATH: left out.\n\n")
            else:
                port = await stack.enter_async_context(_process(name, config, *command, target=above.port))
                asking.append(ask(name, port, recorder))
        await asyncio.gather(*asking)
    return dict(sorted(results.items(), key=lambda pair: pair[0] != "passthrough"))


def _class_table(results: Results) -> list[str]:
    """Return how many requests of each class went up, by proxy, and the reason."""
    lines = [
        "| class | cases | " + " | ".join(f"{name}: up" for name in results) + " | why |",
        "|---" * (len(results) + 3) + "|",
    ]
    for kind, why in WHY.items():
        at = [index for index, case in enumerate(TABLE) if case.kind == kind]
        counts = [sum(bool(outcomes[index].lines) for index in at) for outcomes in results.values()]
        lines.append(f"| {kind} | {len(at)} | " + " | ".join(map(str, counts)) + f" | {why} |")
    return lines


def _difference_table(results: Results) -> list[str]:
    """Return every case in which another proxy lets up what we do not, or the reverse, or passes something odd on."""
    lines = ["| class | case | " + " | ".join(results) + " | odd in what went up |", "|---" * (len(results) + 3) + "|"]
    for index, case in enumerate(TABLE):
        outcomes = [each[index] for each in results.values()]
        odd = {f"{name}: {each[index].odd}" for name, each in results.items() if each[index].odd}
        if len({outcome.lines for outcome in outcomes}) > 1 or odd:
            cells = [case.kind, case.name, *(outcome.what for outcome in outcomes), "; ".join(sorted(odd))]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _summary(results: Results) -> list[str]:
    """Return the sums: who lets up how much, and what odd things went up."""
    lines = []
    for name, outcomes in results.items():
        up = sum(bool(outcome.lines) for outcome in outcomes)
        odd = Counter(outcome.odd.partition(":")[0] for outcome in outcomes if outcome.odd)
        lines.append(f"* {name}: {up} of {len(TABLE)} cases went up; odd in what went up: {dict(odd) or 'nothing'}")
    ours = results["passthrough"]
    for name, outcomes in results.items():
        stricter = sum(bool(theirs.lines) and not our.lines for our, theirs in zip(ours, outcomes, strict=True))
        laxer = sum(bool(our.lines) and not theirs.lines for our, theirs in zip(ours, outcomes, strict=True))
        if name != "passthrough":
            lines.append(f"* than {name} we are stricter in {stricter} cases, more lenient in {laxer}")
    return lines


async def _spelt(seed: int) -> list[str]:
    """Ask Starlette for spellings of metered paths, through this proxy; return what was answered, and what was not counted."""
    statuses: Counter[int] = Counter()
    free: list[str] = []
    async with upstream(serve_starlette) as above, road(route_to(above.port)) as house:
        asked = list(spellings(_SPELLINGS, seed))
        for method, path in asked:
            async with client(house.port) as raw:
                await raw.send(asking(method.encode() + b" " + path + b" HTTP/1.1", body=b"{}"))
                head, body = await raw.answer()
            statuses[int(head[9:12])] += 1
            exchange = (await house.booked(statuses.total()))[-1]
            if tells_pages(body) and exchange.usage_source is NOTHING_READ:
                free.append(f"* NOT COUNTED: {method} {path.decode()}")
    told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    return [f"{len(asked)} spellings of metered paths (seed {seed}); answered {told}; served and not counted: {len(free)}", *free]


def main() -> None:
    """Run all three and print what differs."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10**6)
    spelt = uvloop.run(_spelt(seed))
    results = uvloop.run(_run())
    parts = [["# Odd requests before three proxies"], _summary(results), _class_table(results), ["## Differences"]]
    parts.append(_difference_table(results))
    parts += [["## Spellings before Starlette"], spelt]
    sys.stdout.write("\n\n".join("\n".join(part) for part in parts) + "\n")


if __name__ == "__main__":
    main()
