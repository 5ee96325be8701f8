"""Starts upstreams, targets and load, keeps them apart on the machine's cores, and measures one workload on one target."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import trustme

from tests.harness.ports import free_port

from .bodies import request, request_body
from .load import Job
from .peers import Launch, Peer, Place
from .processes import Cores, cpu_s, on, rss_mb, tree
from .workloads import BESIDE, W1, W7_RATE, Workload

START_S = 120.0
"""How long a target may take to its first answer."""

IDLE_S = 1.0
"""How long after its first answer a target's idle memory is read."""

SAMPLE_S = 0.02

_ROOT = Path(__file__).parents[2]


class BenchError(Exception):
    """A target did not do its work; the message says what it said."""


@dataclass(slots=True)
class Running:
    """A target that answers; `process` is None for the upstream itself."""

    peer: Peer
    port: int
    process: asyncio.subprocess.Process | None
    start_s: float = 0.0
    start_cpu_s: float = 0.0

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return [] if self.process is None else tree(self.process.pid)

    async def stop(self) -> None:
        """End it and all that it has started."""
        if self.process is None:
            return
        whole = self.processes()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            pass
        for one in whole:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        await self.process.wait()


@dataclass(slots=True)
class Rig:
    """The machine as the benchmark has set it up."""

    folder: Path
    cores: Cores
    ca_file: Path
    plain: int = 0
    tls: int = 0
    side: int = 0
    upstreams: list[asyncio.subprocess.Process] = field(default_factory=list)
    _count: int = 0

    async def spawn(
        self, launch: Launch, folder: Path, cores: frozenset[int], *, talking: bool = False
    ) -> asyncio.subprocess.Process:
        """Start a process; its words go to files in its folder unless it is talked to."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PASSTHROUGH_", "LITELLM_", "OTEL_"))}
        with contextlib.ExitStack() as files, on(cores):
            pipe = asyncio.subprocess.PIPE
            return await asyncio.create_subprocess_exec(
                *launch.argv,
                cwd=folder,
                env={**env, **launch.env},
                stdin=pipe if talking else asyncio.subprocess.DEVNULL,
                stdout=pipe if talking else files.enter_context((folder / "out").open("wb")),
                stderr=files.enter_context((folder / f"err{'-' * talking}").open("ab")),
            )

    async def start(self, peer: Peer, launch: Launch | None = None, place: Place | None = None) -> Running:
        """Start a target and wait for its first answer."""
        if peer.launch is None:
            return Running(peer, self.plain, None)
        place = place or self.place(peer.name)
        launch = launch or peer.launch(place)
        began = time.perf_counter()
        process = await self.spawn(launch, place.folder, self.cores.of(peer.workers))
        running = Running(peer, place.port, process)
        try:
            async with asyncio.timeout(START_S):
                while not await _answers(place.port):
                    if process.returncode is not None:
                        raise BenchError(f"{peer.name} ended: {_last_words(place.folder)}")
                    await asyncio.sleep(0.002)
        except (TimeoutError, BenchError) as error:
            await running.stop()
            raise BenchError(str(error) or f"{peer.name} does not answer: {_last_words(place.folder)}") from None
        running.start_s, running.start_cpu_s = time.perf_counter() - began, cpu_s(running.processes())
        return running

    def place(self, name: str) -> Place:
        """Return a new folder and port for a target."""
        self._count += 1
        folder = self.folder / f"{self._count}-{name}"
        folder.mkdir()
        return Place(folder, free_port(), self.plain, self.tls, self.side, self.ca_file)

    @asynccontextmanager
    async def _load(self, job: Job) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a generator and wait until it is warm."""
        launch = Launch((sys.executable, "-m", "tests.bench.load"), {"PYTHONPATH": str(_ROOT)})
        process = await self.spawn(launch, self.folder, self.cores.rest, talking=True)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            if await process.stdout.readline() != b"ready\n":
                raise BenchError(f"the load generator failed: {_last_words(self.folder)}")
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def job(self, running: Running, workload: Workload, seconds: float) -> Job:
        """Return what the generator is to do; the upstream itself has no routes."""
        port, path, ca_file = running.port, workload.path, ""
        if running.process is None:
            route, path = path.split("/", 2)[1], "/" + path.split("/", 2)[2]
            port = {"tls": self.tls, "side": self.side}.get(route, self.plain)
            ca_file = str(self.ca_file) if route == "tls" else ""
        elif workload.model:
            path = "/v1/ocr"
        rate = W7_RATE if workload.kind == "mixed" else 0.0
        warm_s = 0.0 if workload.once else min(0.3, seconds)
        seconds = 0.0 if workload.once else seconds
        return Job(
            port,
            path,
            workload.size,
            workload.connections,
            seconds,
            rate,
            ca_file,
            warm_s,
            workload.model,
            workload.model_last,
        )

    async def measure(self, running: Running, workload: Workload, seconds: float) -> dict[str, Any]:
        """Return what one workload costs one target."""
        if workload.kind == "start":
            await asyncio.sleep(IDLE_S)
            return {"start_s": running.start_s, "start_cpu_s": running.start_cpu_s, "idle_rss_mb": rss_mb(running.processes())}
        beside = None
        async with contextlib.AsyncExitStack() as loads:
            if workload.kind == "mixed":
                beside = await loads.enter_async_context(self._load(self.job(running, BESIDE, START_S)))
                await _go(beside)
            load = await loads.enter_async_context(self._load(self.job(running, workload, seconds)))
            processes, upstreams = running.processes(), [one for each in self.upstreams for one in tree(each.pid)]
            before, upstream_before = cpu_s(processes), cpu_s(upstreams)
            peak = [rss_mb(processes)]
            sampler = asyncio.create_task(_sample(processes, peak))
            await _go(load)
            assert load.stdout is not None
            said = await load.stdout.readline()
            spent, upstream_spent = cpu_s(processes) - before, cpu_s(upstreams) - upstream_before
            sampler.cancel()
            if beside is not None and beside.returncode is not None:
                raise BenchError("the transfers ended before the small requests")
            while said == b"ready\n":
                said = await load.stdout.readline()
        if not said or "error" in (seen := json.loads(said)):
            raise BenchError(json.loads(said)["error"] if said else "the load generator ended without a result")
        own = {"cpu_s": spent, "rss_peak_mb": max(peak)} if running.process else {}
        return {**seen, **own, "upstream_cpu_s": upstream_spent}


async def _go(load: asyncio.subprocess.Process) -> None:
    assert load.stdin is not None
    with contextlib.suppress(ConnectionError):  # It has failed, and says why.
        load.stdin.write(b"go\n")
        await load.stdin.drain()


async def _sample(processes: list[psutil.Process], peak: list[float]) -> None:
    while True:
        await asyncio.sleep(SAMPLE_S)
        peak.append(rss_mb(processes))


async def _answers(port: int) -> bool:
    """Tell whether a target answers a whole request rightly."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(request(W1, request_body(1000)))
        return (await reader.read(12))[9:] == b"200"
    except OSError:
        return False
    finally:
        writer.close()


def _last_words(folder: Path) -> str:
    texts = [(folder / name).read_text(errors="replace")[-1500:] for name in ("out", "err", "err-") if (folder / name).exists()]
    return "\n".join(texts).strip() or "it said nothing"


def _certificate(folder: Path) -> tuple[Path, Path]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "upstream.pem")
    return folder / "ca.pem", folder / "upstream.pem"


@asynccontextmanager
async def rig(folder: Path, cores: Cores) -> AsyncIterator[Rig]:
    """Start the upstreams; end them, whatever happens."""
    ca_file, certificate = _certificate(folder)
    made = Rig(folder, cores, ca_file)
    env: Mapping[str, str] = {"PYTHONPATH": str(_ROOT)}
    try:
        for _ in range(2):
            launch = Launch((sys.executable, "-m", "tests.bench.upstream", str(certificate)), env)
            process = await made.spawn(launch, folder, cores.rest, talking=True)
            made.upstreams.append(process)
            assert process.stdout is not None
            ports = [int(port) for port in (await process.stdout.readline()).split()]
            made.plain, made.tls, made.side = (*ports, made.side) if not made.plain else (made.plain, made.tls, ports[0])
        yield made
    finally:
        for process in made.upstreams:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
