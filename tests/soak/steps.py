"""How long the event loop is held up, by what, and when: every step of the program is timed under loads of many kinds.

By hand: `python -m tests.soak.steps`. The program runs on asyncio's own loop, whose steps can be timed one by one; uvloop
reads as many bytes at once (256 KB). Wall time includes waits for the processor and for the interpreter's lock; `cpu` does not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import brotli
import zstandard

from tests.harness.process import clean_environment

from .timing import Step

MB = 1_000_000
MODEL = b'"model":"mistral-ocr-2512"'
USAGE = b'"usage_info":{"pages_processed":3,"doc_size_bytes":9}'
PART = random.Random(1).randbytes(300_000).hex().encode()


def document(size: int) -> bytes:
    """Return an OCR answer of about this size: a few pages with large images."""
    return b'{"pages":[{"markdown":"%b"}],%b,%b}' % (PART * (size // len(PART)), MODEL, USAGE)


def dense(images: int, size: int) -> bytes:
    """Return an OCR answer of many image objects."""
    image = b'{"id":"img-%%d.jpeg","top_left_x":1,"top_left_y":2,"image_base64":"%b"}' % PART[: max(0, size // images - 60)]
    return b'{"pages":[{"images":[%b]}],%b,%b}' % (b",".join(image % number for number in range(images)), MODEL, USAGE)


def answers() -> dict[str, tuple[bytes, bytes]]:
    """Return what the target answers by the path's second segment: its coding and the body."""
    plain, images, brackets = document(20 * MB), dense(10_000, 20 * MB), b"[" + b"[],{}," * (2 * MB) + b"0]"
    bomb = b'{"pages":"' + bytes(1 << 20).replace(b"\0", b" ") * 400 + b'"}'
    return {
        "small": (b"", document(0)),
        "large": (b"", document(50 * MB)),
        "images": (b"", images),
        "dense": (b"", brackets),
        "gzip": (b"gzip", gzip.compress(plain, 1)),
        "br": (b"br", brotli.compress(plain, quality=1)),
        "zstd": (b"zstd", zstandard.ZstdCompressor(level=1).compress(plain)),
        "images-gzip": (b"gzip", gzip.compress(images, 1)),
        "gzip-bomb": (b"gzip", gzip.compress(bomb, 9)),
        "br-bomb": (b"br", brotli.compress(bomb, quality=5, lgwin=24)),
        "zstd-bomb": (b"zstd", zstandard.ZstdCompressor(level=9).compress(bomb)),
    }


class Target(socketserver.BaseRequestHandler):
    """One connection to the target."""

    bodies: dict[str, tuple[bytes, bytes]]
    request: socket.socket

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        with self.request.makefile("rb") as reading:
            try:
                while self._answered(reading):
                    pass
            except OSError:
                return

    def _answered(self, reading: IO[bytes]) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := reading.readline()):
                return False
            head += line
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        left = int(length[1]) if length else 0
        while left:
            if not (piece := reading.read(min(left, MB))):
                return False
            left -= len(piece)
        coding, body = self.bodies[head.split(b"/", 2)[1].decode()]
        coded = b"Content-Encoding: " + coding + b"\r\n" if coding else b""
        self.request.sendall(b"HTTP/1.1 200 OK\r\n" + coded + b"Content-Length: %d\r\n\r\n" % len(body))
        self.request.sendall(body)
        return True


class Crowd:
    """The clients."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def ask(self, kind: str, *, body: int = 2, times: int = 1) -> None:
        """Make requests on one connection, and read their answers to the end."""
        with self.connect() as sock, sock.makefile("rb") as reading:
            for _ in range(times):
                sock.sendall(
                    b"POST /m/%b/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), body)
                )
                for at in range(0, body, len(PART)):
                    sock.sendall(PART[: min(len(PART), body - at)])
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = reading.readline()
                    assert line, f"{kind}: broken off"
                    head += line
                assert b" 200 OK" in head, head
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                assert length is not None
                left = int(length[1])
                while left:
                    piece = reading.read(min(left, MB))
                    assert piece, f"{kind}: broken off"
                    left -= len(piece)

    def leave(self, kind: str) -> None:
        """Ask, wait for the answer's first bytes, and leave."""
        with self.connect() as sock:
            sock.sendall(b"POST /m/%b/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}" % kind.encode())
            sock.recv(100)

    def at_once(self, count: int, act: Callable[[], None]) -> None:
        """Do something several times at the same time."""
        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(act) for _ in range(count)]:
                done.result()


def config(port: int, routes: int) -> str:
    """Return a configuration with so many routes, keys and prices more than are needed."""
    lines = ["pass_through_endpoints:"]
    for path in ("/m", *(f"/more/{number}" for number in range(routes))):
        lines.append(f"  - {{path: {path}, target: 'http://127.0.0.1:{port}', include_subpath: true}}")
    if routes:
        lines.append("prices:")
        lines += [f"  - {{model: m{number}, usd_per_1000_pages: 1}}" for number in range(min(routes, 500))]
    return "\n".join(lines) + "\n"


@contextmanager
def target(bodies: dict[str, tuple[bytes, bytes]]) -> Iterator[int]:
    """Run the target; yield its port."""
    Target.bodies = bodies

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 512

    with Server(("127.0.0.1", 0), Target) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class House:
    """The program, with its steps timed, and the names of what was done to it with the times."""

    def __init__(self, folder: Path, upstream_port: int, wanted: str) -> None:
        self.folder, self.upstream_port, self.wanted = folder, upstream_port, re.compile(wanted)
        self.phases: list[tuple[float, str]] = [(time.monotonic(), "start")]
        self.write(0)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.timing", "steps.json", "--port", "0", "--admin-port", "0", "--log-format", "json"],
            cwd=folder,
            env=clean_environment(PYTHONPATH=os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.port = int(self.says(rb"Listening on \w+://\S+:(\d+),")[1])

    def says(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until stderr says something."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(pattern, line):
                return found
            sys.stdout.write(line.decode())
        raise AssertionError("The program has ended.")

    def write(self, routes: int) -> None:
        """Write the configuration."""
        (self.folder / "routes.yaml").write_text(config(self.upstream_port, routes))

    def reload(self, routes: int) -> None:
        """Let it read another configuration."""
        self.write(routes)
        self.process.send_signal(signal.SIGHUP)
        self.says(b"Reloaded")

    def during(self, name: str, act: Callable[[], None]) -> None:
        """Do something under a name, if it is wanted."""
        if not self.wanted.search(name):
            return
        self.phases.append((time.monotonic(), name))
        act()
        time.sleep(0.3)
        self.phases.append((time.monotonic(), "rest"))

    def stop(self) -> int:
        """End it."""
        self.phases.append((time.monotonic(), "shutdown"))
        self.process.terminate()
        self.process.communicate(timeout=60)
        return self.process.returncode

    def phase_of(self, step: Step) -> str:
        """Return what was done when a step began."""
        return next((name for began, name in reversed(self.phases) if began <= step.began), "start")


def play(house: House, requests: int) -> None:
    """Do everything that may take long."""
    crowd = Crowd(house.port)
    house.during("uploads of 50 MB", lambda: crowd.at_once(4, lambda: crowd.ask("small", body=50 * MB)))
    for kind in Target.bodies:
        house.during(f"answers: {kind}", lambda kind=kind: crowd.at_once(4, lambda: crowd.ask(kind)))  # type: ignore[misc]
    house.during(f"{requests} requests", lambda: crowd.at_once(32, lambda: crowd.ask("small", times=requests // 32)))
    house.during("clients that leave", lambda: crowd.at_once(50, lambda: crowd.leave("large")))
    house.during("5000 routes", lambda: house.reload(5000))
    house.during("requests with 5000 routes", lambda: crowd.at_once(8, lambda: crowd.ask("small", times=100)))
    house.during("requests while 5000 routes load", lambda: crowd.at_once(2, lambda: loading(house, crowd)))
    idle = [crowd.connect() for _ in range(300)]
    house.during("300 connections that leave", lambda: [each.close() for each in idle] and None)
    idle.extend(crowd.connect() for _ in range(300))


def loading(house: House, crowd: Crowd) -> None:
    """Reload, or ask meanwhile."""
    if threading.current_thread().name.endswith("_0"):
        house.reload(4999)
    else:
        crowd.ask("small", times=500)


def report(house: House, steps: list[Step], bound_s: float) -> None:
    """Print the longest steps of each phase, those of which much was spent by the processor first."""
    by_phase: dict[str, list[Step]] = {}
    for step in steps:
        by_phase.setdefault(house.phase_of(step), []).append(step)
    for _, name in house.phases:
        found = sorted(by_phase.pop(name, []), key=lambda step: step.cpu_s, reverse=True)
        if not found:
            continue
        over = Counter(step.cpu_s > bound_s for step in found)[True]
        sys.stdout.write(f"\n{name}: {over} steps of more than {bound_s * 1000:g} ms\n")
        longest = {step.what: step for step in reversed(found)}
        for step in sorted(longest.values(), key=lambda step: step.cpu_s, reverse=True)[:4]:
            sys.stdout.write(f"  {step.cpu_s * 1000:7.1f} ms cpu {step.wall_s * 1000:7.1f} ms wall  {step.what}\n")
            sys.stdout.writelines(f"      {place}\n" for place in step.places[-1:])


def main() -> None:
    """Run everything, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--over-ms", type=float, default=5.0)
    parser.add_argument("--only", default="", help="a regular expression: what is done, by its name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, target(answers()) as port:
        house = House(Path(name), port, options.only)
        play(house, options.requests)
        code = house.stop()
        steps = [Step(**each) for each in json.loads((house.folder / "steps.json").read_text())]
    report(house, steps, options.over_ms / 1000)
    sys.stdout.write(f"\nexit code {code}\n")


if __name__ == "__main__":
    main()
