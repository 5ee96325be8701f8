"""Several workers are one program: one log, one sum, one budget; reloads and ends reach all of them, deaths do not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.client import client, once
from tests.harness.process import Program, command, program
from tests.harness.upstream import Peer, RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process]

OCR = b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 2, "doc_size_bytes": 3}}'
ANSWER = ok(OCR, b"Content-Type: application/json")
POST = b"POST /mistral/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
LAST = POST.replace(b"Host: localhost\r\n", b"Host: localhost\r\nConnection: close\r\n")


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration with one route to the raw upstream."""
    route = f"{{path: /mistral, target: 'http://127.0.0.1:{raw.port}', include_subpath: true}}"
    return f"pass_through_endpoints:\n  - {route}\n{more}"


@asynccontextmanager
async def workers(folder: Path, config: str, *flags: str, count: int = 2) -> AsyncIterator[Program]:
    """Run the program with several workers; whatever becomes of their parent, they end, and clear up."""
    with TemporaryDirectory(prefix="w-", dir="/tmp") as place:
        (folder / "shared").symlink_to(place)
        async with program(folder, config, "--workers", str(count), *flags, env={"TMPDIR": place}) as running:
            yield running
            await gone(list((await processes(running)).values()))
        assert [] == os.listdir(place)


def counted(folder: Path) -> list[float]:
    """Return how many requests each worker told of when it was last asked, from the files in their common folder."""
    counts = []
    for file in (folder / "shared").glob("passthrough-*/*.metrics"):
        families = {family.name: family for family in text_string_to_metric_families(file.read_text())}
        counts.append(sum(sample.value for sample in families["passthrough_requests"].samples))
    return counts


async def processes(running: Program) -> dict[int, int]:
    """Return the workers' process ids by their numbers, as they were said last."""
    (first,) = (await running.says(r"workers: processes ([\d, ]+)\.")).groups()
    found = dict(enumerate(map(int, first.split(", ")), 1))
    return found | {
        int(number): int(pid) for number, pid in re.findall(r"Worker (\d+) \(process (\d+)\) serves", "".join(running.said))
    }


async def told(running: Program, path: str) -> tuple[int, bytes]:
    """Ask the admin port on a connection of its own: any worker may answer."""
    raw = await once(running.admin_port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def readiness(running: Program) -> dict[str, Any]:
    """Return what /readyz says."""
    found: dict[str, Any] = json.loads((await told(running, "/readyz"))[1])
    return found


async def figures(running: Program) -> dict[str, float]:
    """Return each metric's sum over its series, as /metrics tells them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families((await told(running, "/metrics"))[1].decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


async def many(running: Program, count: int) -> list[bytes]:
    """Send so many requests, each on a connection of its own, and return their answers' status lines."""
    return [(await once(running.port, LAST)).partition(b"\r\n")[0] for _ in range(count)]


def booked(folder: Path) -> tuple[int, int]:
    """Return how many completed requests and pages are in the ledger."""
    with closing(sqlite3.connect(folder / "passthrough.db")) as ledger:
        asked = (
            "SELECT COUNT(DISTINCT e.id), SUM(c.pages) FROM exchanges e JOIN charges c ON c.exchange_id = e.id"
            " WHERE e.outcome = 'completed'"
        )
        requests, pages = ledger.execute(asked).fetchone()
    return requests, pages or 0


def lives(pid: int) -> bool:
    """Tell whether a process is there, and not only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pids: list[int]) -> None:
    """Wait until processes have ended."""

    async def left() -> list[int]:
        return [pid for pid in pids if lives(pid)]

    await eventually(left, lambda found: not found)


@dataclass
class Load:
    """Callers that ask without a pause, each on a connection that it keeps, until nobody listens."""

    port: int
    answers: int = 0
    failures: int = 0
    refused: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, callers: int) -> None:
        """Begin."""
        self.tasks = [asyncio.create_task(self._ask()) for _ in range(callers)]

    async def _ask(self) -> None:
        while True:
            try:
                async with client(self.port) as raw:
                    while True:
                        await raw.send(POST)
                        _, body = await raw.answer()
                        assert OCR == body
                        self.answers += 1
            except ConnectionRefusedError:
                return
            except (OSError, asyncio.IncompleteReadError):
                self.failures += 1

    async def more(self, count: int) -> None:
        """Wait for so many further answers."""
        wanted = self.answers + count
        await until(lambda: self.answers >= wanted)


class Held:
    """An upstream that answers when it may."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            await peer.request()
            self.waiting += 1
            try:
                await self.go.wait()
            finally:
                self.waiting -= 1
            await peer.send(ANSWER)


async def test_all_workers_serve_and_are_told_of_as_one(tmp_path: Path) -> None:
    """Connections go to both; the log has each request once; whoever answers /metrics tells of all: it is the ledger's sum."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        assert {b"HTTP/1.1 200 OK"} == set(await many(running, 60))
        assert 60 == len({line["id"] for line in await running.logs(60)})
        for _ in range(6):
            found = await eventually(lambda: figures(running), lambda found: found.get("passthrough_pages_total") == 120)
            assert (60, 60) == (found["passthrough_requests_total"], found["passthrough_request_seconds_count"])
            assert (0, 1) == (found["passthrough_requests_in_flight"], found["passthrough_build_info"])
        assert {"status": "ok", "degraded": {}} == {key: (await readiness(running))[key] for key in ("status", "degraded")}
        assert 120 == json.loads((await told(running, "/usage"))[1])["total"]["pages"]
        serving = counted(tmp_path)
        assert (2, 60) == (len(serving), sum(serving))
        assert min(serving) > 0
        assert 0 == await running.stop()
    assert (60, 120) == booked(tmp_path)
    assert 1 == len(re.findall("Listening on", "".join(running.said)))


async def test_long_lines_do_not_mix(tmp_path: Path) -> None:
    """Lines of the log that are longer than what a pipe takes whole are written by one worker after the other."""
    asking = LAST.replace(b"/ocr", b"/" + b'"' * 2000)
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:

        async def several() -> None:
            for _ in range(5):
                assert (await once(running.port, asking)).startswith(b"HTTP/1.1 200")

        await asyncio.gather(*(several() for _ in range(16)))
        found = await running.logs(80)
        assert 80 == len({line["id"] for line in found})
        assert min(map(len, running.raw_log)) > 4096
        assert 0 == await running.stop()


async def test_a_worker_that_does_not_answer_is_told_of(tmp_path: Path) -> None:
    """One that stands still takes nothing from the others' answers: /readyz says so, and what it told before still counts."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        assert {b"HTTP/1.1 200 OK"} == set(await many(running, 30))
        await eventually(lambda: figures(running), lambda found: found.get("passthrough_pages_total") == 60)
        still = (await processes(running))[1]
        os.kill(still, signal.SIGSTOP)
        try:
            found = await readiness(running)
            assert ("degraded", {"workers": "Of 2 workers 1 serve now."}) == (found["status"], found["degraded"])
            assert 60 == (await figures(running))["passthrough_pages_total"]
        finally:
            os.kill(still, signal.SIGCONT)
        assert "ok" == (await eventually(lambda: readiness(running), lambda found: found["status"] == "ok"))["status"]
        assert 0 == await running.stop()


async def test_a_budget_is_one(tmp_path: Path) -> None:
    """Both lease of the same: no more is served than it holds, but for what was under way, and /budgets shows it as one."""
    async with (
        upstream(answering(ANSWER)) as raw,
        workers(tmp_path, configured(raw, "budget: {pages: 40, per: month}\n")) as running,
    ):
        served = 0
        async with asyncio.timeout(120):
            while True:
                answer = await once(running.port, LAST)
                served += answer.startswith(b"HTTP/1.1 200")
                if b"budget_spent" in answer and b"\r\nRetry-After: 1\r\n" not in answer:
                    break
        assert served in {20, 21}  # each lease may be passed by the request that uses it up

        async def standing() -> dict[str, Any]:
            (found,) = json.loads((await told(running, "/budgets"))[1])["budgets"]
            return dict(found)

        found = await eventually(standing, lambda found: found["spent"] == 2 * served)
        assert (0, 40, "month") == (found["reserved"], found["limit"], found["per"])
        assert 0 == await running.stop()
    assert (served, 2 * served) == booked(tmp_path)


async def test_budgets_without_a_ledger_are_warned_of(tmp_path: Path) -> None:
    """There is nothing by which workers could share them."""
    config = "ledger: none\nbudget: {pages: 5, per: day}\n"
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw, config)) as running:
        await running.says("WARNING Without a ledger workers share no budgets")
        assert 0 == await running.stop()


async def test_what_is_reserved_adds_up(tmp_path: Path) -> None:
    """Requests under way in both workers are reserved, and shown, together."""
    held = Held()
    async with upstream(held) as raw, workers(tmp_path, configured(raw, "budget: {pages: 1000, per: day}\n")) as running:
        asked = [asyncio.create_task(once(running.port, LAST)) for _ in range(20)]
        await until(lambda: held.waiting == len(asked))
        (found,) = json.loads((await told(running, "/budgets"))[1])["budgets"]
        assert 20 == found["reserved"]
        assert 20 == (await figures(running))["passthrough_requests_in_flight"]
        held.go.set()
        assert {b"HTTP/1.1 200"} == {answer[:12] for answer in await asyncio.gather(*asked)}
        assert 0 == await running.stop()


@pytest.mark.parametrize("by", ["file", "signal"])
async def test_a_reload_reaches_all_and_is_said_once(tmp_path: Path, by: str) -> None:
    """By a change of the file, or by SIGHUP: all go by the new routes, also who starts later; a bad file changes nothing."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        file = tmp_path / "routes.yaml"

        async def rewritten(text: str) -> None:
            file.write_text(text)
            if by == "signal":
                running.signal(signal.SIGHUP)

        await rewritten(configured(raw).replace("/mistral", "/other"))
        await running.says("Reloaded routes.yaml: 1 route,")
        for number in range(2):
            await eventually(lambda: many(running, 12), lambda found: {b"HTTP/1.1 404 Not Found"} == set(found))
            if number == 0:
                await rewritten("pass_through_endpoints: broken")
                await running.says("was not reloaded")
                os.kill((await processes(running))[1], signal.SIGKILL)  # who follows it goes by the last good one
                await running.says(r"Worker 1 \(process \d+\) serves")
                found = await eventually(lambda: readiness(running), lambda found: set(found["degraded"]) == {"reload"})
                assert "degraded" == found["status"]
                assert found["degraded"]["reload"].startswith("The configuration was not reloaded;")  # by all alike
        await rewritten(configured(raw))
        await eventually(lambda: many(running, 12), lambda found: {b"HTTP/1.1 200 OK"} == set(found))
        assert "ok" == (await eventually(lambda: readiness(running), lambda found: found["status"] == "ok"))["status"]
        assert 0 == await running.stop()
    text = "".join(running.said)
    assert 1 == len(re.findall("was not reloaded", text))
    assert not re.search(r"worker \d: Reloaded", text)


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """Only what was under way in it fails; another takes its place, sums do not fall, and all that was answered is booked."""
    held = Held()
    held.go.set()
    async with upstream(held) as raw, workers(tmp_path, configured(raw)) as running:
        load = Load(running.port)
        load.start(20)
        await load.more(100)
        held.go.clear()
        await until(lambda: held.waiting == 20)
        # Nobody has an answer that is not booked: what a kill costs of the last moments is another test's.
        before = await eventually(
            lambda: figures(running), lambda found: found.get("passthrough_pages_total") == 2 * load.answers
        )
        killed = (await processes(running))[2]
        os.kill(killed, signal.SIGKILL)
        await running.says(rf"Worker 2 \(process {killed}\) was ended by SIGKILL; another takes its place")
        await running.says(r"Worker 2 \(process \d+\) serves")
        assert killed != (await processes(running))[2]
        await until(lambda: load.failures > 0)
        held.go.set()
        await load.more(200)
        assert 0 < load.failures < 20
        found = await figures(running)
        for name in ("passthrough_requests_total", "passthrough_pages_total", "passthrough_request_seconds_count"):
            assert found[name] >= before[name]
        assert found["passthrough_start_timestamp_seconds"] > before["passthrough_start_timestamp_seconds"]
        assert "ok" == (await eventually(lambda: readiness(running), lambda found: found["status"] == "ok"))["status"]
        assert 0 == await running.stop()
        await asyncio.gather(*load.tasks)
    assert (load.answers, 2 * load.answers) == booked(tmp_path)
    assert load.answers == len({line["id"] for line in running.log if line["outcome"] == "completed"})


async def test_an_end_under_load_drains_all(tmp_path: Path) -> None:
    """SIGTERM to the parent: whatever has been answered is in the ledger, nothing is cut off, and the exit code is 0."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        pids = list((await processes(running)).values())
        load = Load(running.port)
        load.start(8)
        await load.more(200)
        assert 0 == await running.stop()
        await asyncio.gather(*load.tasks)
    assert not any(map(lives, pids))
    requests, pages = booked(tmp_path)
    assert (load.answers, 2 * load.answers) == (requests, pages)
    assert "cut off" not in "".join(running.said)


@pytest.mark.parametrize("group", [False, True])
async def test_a_second_signal_hurries_and_a_signal_to_the_group_is_one(tmp_path: Path, group: bool) -> None:
    """A terminal's SIGINT, and a service manager's SIGTERM, reach workers too: requests are ended still. A second one hurries."""
    held = Held()
    number = signal.SIGINT if group else signal.SIGTERM
    async with upstream(held) as raw, workers(tmp_path, configured(raw), "--drain-timeout", "1h") as running:
        asked = [asyncio.create_task(once(running.port, POST)) for _ in range(10)]
        await until(lambda: held.waiting == len(asked))
        for pid in (await processes(running)).values() if group else ():
            os.kill(pid, number)
        running.signal(number)
        await running.says("worker 1: Stopping")
        await running.says("worker 2: Stopping")
        status, body = await told(running, "/readyz")
        assert (503, "draining") == (status, json.loads(body)["status"])
        if group:
            held.go.set()
            assert {b"HTTP/1.1 200"} == {answer[:12] for answer in await asyncio.gather(*asked)}
        else:
            running.signal(number)
            assert {ConnectionResetError} == set(map(type, await asyncio.gather(*asked, return_exceptions=True)))
        assert 0 == await running.ended()


async def test_one_worker_told_to_end_is_replaced(tmp_path: Path) -> None:
    """SIGTERM to a worker alone: it ends what it has begun, and another takes its place; the program goes on."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        os.kill((await processes(running))[1], signal.SIGTERM)
        await running.says(r"Worker 1 \(process \d+\) has ended with exit code 0; another takes its place")
        await running.says(r"Worker 1 \(process \d+\) serves")
        assert {b"HTTP/1.1 200 OK"} == set(await many(running, 12))
        assert 0 == await running.stop()
    assert (12, 24) == booked(tmp_path)


async def test_without_their_parent_workers_end(tmp_path: Path) -> None:
    """The parent is killed: the workers end, all is booked, and nobody listens any more."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        pids = list((await processes(running)).values())
        assert {b"HTTP/1.1 200 OK"} == set(await many(running, 12))
        running.signal(signal.SIGKILL)
        await running.ended()
        await gone(pids)
        with pytest.raises(ConnectionRefusedError):
            await once(running.port, LAST)
    assert (12, 24) == booked(tmp_path)


async def test_workers_that_cannot_live_end_the_program(tmp_path: Path) -> None:
    """Five that end soon after their start are enough: exit 1, and why."""
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        for death in range(5):
            seen = (await processes(running))[1]
            os.kill(seen, signal.SIGKILL)
            if death < 4:
                await until(lambda seen=seen, death=death: "".join(running.said).count(" serves.") > death)  # type: ignore[misc]
        assert 1 == await running.ended()
    assert "passthrough: 5 times within a minute a worker ended soon after its start.\n" in "".join(running.said)


async def test_a_wrong_configuration_and_a_taken_port_are_said_once(tmp_path: Path) -> None:
    """Nothing is started: exit 2, or 1, and each problem stands there a single time."""
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: 5\n")
    code, out, err = await command(tmp_path, "serve", "--workers", "2")
    assert (2, "", 1) == (code, out, err.count("routes.yaml:1"))
    async with upstream(answering(ANSWER)) as raw, workers(tmp_path, configured(raw)) as running:
        code, out, err = await command(tmp_path, "serve", "--workers", "2", "--port", str(running.port), "--admin-port", "0")
        assert (1, "", 1) == (code, out, err.count("Address already in use"))
        elsewhere = ("--host", "192.0.2.1", "--port", "0", "--admin-port", "0")
        (tmp_path / "routes.yaml").write_text(configured(raw, "allow_anonymous: true\n"))
        code, out, err = await command(tmp_path, "serve", "--workers", "2", *elsewhere)
        assert (1, "", 1) == (code, out, err.count("Cannot listen on 192.0.2.1 port 0: Cannot assign requested address."))
        assert 0 == await running.stop()


async def test_what_cannot_start_ends_the_program(tmp_path: Path) -> None:
    """A process that fails before all serve has said why: the others are ended, exit 1, and it is not tried again."""
    (tmp_path / "pypdfium2.py").write_text("raise ModuleNotFoundError(name='pypdfium2')\n")
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints:\n  - {path: /mistral, target: https://api.mistral.ai}\n")
    flags = ("--workers", "2", "--sandbox", "--port", "0", "--admin-port", "0")
    code, out, err = await command(tmp_path, "serve", *flags, PYTHONPATH=str(tmp_path))
    assert (1, "", 1) == (code, out, err.count("The sandbox needs pypdfium2, which is not installed."))
    assert "Traceback" not in err


async def test_workers_share_one_sandbox(tmp_path: Path) -> None:
    """What is uploaded through one worker is there for the other: the sandbox is one process beside them, ended last."""
    route = "pass_through_endpoints:\n  - {path: /mistral, target: https://api.mistral.ai, include_subpath: true}\n"
    async with workers(tmp_path, route, "--sandbox") as running:
        await running.says("Sandbox: every route goes to a local imitation")
        async with aiohttp.ClientSession() as session:
            form = aiohttp.FormData({"purpose": "ocr"})
            form.add_field("file", b"%PDF-1.4 something", filename="a.pdf")
            async with session.post(running.url + "/mistral/v1/files", data=form) as answer:
                made = (await answer.json())["id"]
        ask = f"GET /mistral/v1/files/{made} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        assert {b"HTTP/1.1 200"} == {(await once(running.port, ask))[:12] for _ in range(12)}
        assert 0 == await running.stop()
    assert {True} == {line["sandbox"] for line in running.log}


@asynccontextmanager
async def soon_missed(folder: Path, config: str) -> AsyncIterator[Program]:
    """Run two workers that are missed after six seconds instead of thirty."""
    (folder / "sitecustomize.py").write_text(
        "from passthrough import worker\nfrom passthrough.server import supervisor\n"
        "worker.BEAT_S = 0.2\nsupervisor.SILENT_S = 6.0\n"
    )
    with TemporaryDirectory(prefix="w-", dir="/tmp") as place:
        async with program(folder, config, "--workers", "2", env={"TMPDIR": place, "PYTHONPATH": str(folder)}) as running:
            yield running


async def test_a_worker_that_is_stopped_is_replaced(tmp_path: Path) -> None:
    """It would keep its share of the connections; the others live, and so does who takes its place."""
    async with upstream(answering(ANSWER)) as raw, soon_missed(tmp_path, configured(raw)) as running:
        before = await processes(running)
        os.kill(before[2], signal.SIGSTOP)
        await running.says(rf"Worker 2 \(process {before[2]}\) has shown no sign of life for 6 s, and is killed")
        await running.says(r"Worker 2 \(process \d+\) serves")
        after = await processes(running)
        assert (before[1], True) == (after[1], lives(after[1]))
        assert {b"HTTP/1.1 200 OK"} == set(await many(running, 20))
        assert 0 == await running.stop()


async def test_a_parent_that_was_stopped_kills_nobody(tmp_path: Path) -> None:
    """What it did not hear meanwhile was not said too late; the same where parent and workers were stopped together."""
    async with upstream(answering(ANSWER)) as raw, soon_missed(tmp_path, configured(raw)) as running:
        before = await processes(running)
        for stopped in ([running.process.pid], [running.process.pid, *before.values()]):
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(7)  # longer than anybody is missed
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            assert {b"HTTP/1.1 200 OK"} == set(await many(running, 20))
        await asyncio.sleep(1)
        assert (before, True) == (await processes(running), all(map(lives, before.values())))
        assert 0 == await running.stop()
    assert "no sign of life" not in "".join(running.said)
