"""Kills, full disks and spoilt ledgers: the road goes on, /readyz says why the books do not, and nothing is booked twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from passthrough.accounting.journal.codec import decode
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.client import client
from tests.harness.disks import filled, read_only, small_disk
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, RawUpstream, chunk, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.wire, pytest.mark.process]

OCR = b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 2, "doc_size_bytes": 3}}'
LAST_MOMENT_S = 20.0
"""How old an answer may be that a kill loses: 0.05 s are promised; the rest is for a machine that stands still for other work."""
POST = b"POST /mistral/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def configured(raw: RawUpstream, more: str = "", ledger: Path | None = None, journal: Path | None = None) -> str:
    """Return a configuration with one route to the raw upstream."""
    where = "" if ledger is None else f"ledger: 'sqlite:///{ledger}'\n"
    where += "" if journal is None else f"journal: '{journal}'\n"
    route = f"{{path: /mistral, target: 'http://127.0.0.1:{raw.port}', include_subpath: true{more}}}"
    return f"{where}pass_through_endpoints:\n  - {route}\n"


class Numbered:
    """An upstream whose answers are numbered, so that an answer can be found in the ledger."""

    def __init__(self) -> None:
        self.number = 0

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            await peer.request()
            self.number += 1
            await peer.send(ok(OCR, b"x-request-id: %d" % self.number))


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(file.name for file in folder.iterdir())


def opened(running: Program) -> list[str]:
    """Return the names of the files that the program has open, on Linux, also of those that have no name any more."""
    found = []
    for descriptor in Path(f"/proc/{running.process.pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(descriptor))
    return found


def rows(ledger: Path) -> list[tuple[str | None, int | None, str, str | None, int | None]]:
    """Return number, status, outcome, reason without a count, and pages of what a whole ledger holds."""
    with closing(sqlite3.connect(ledger)) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        return database.execute(
            "SELECT e.upstream_request_id, e.status, e.outcome, e.unmetered, c.pages"
            " FROM exchanges e LEFT JOIN charges c ON c.exchange_id = e.id"
            " ORDER BY CAST(e.upstream_request_id AS INTEGER), e.id"
        ).fetchall()


async def booked(ledger: Path) -> list[str | None]:
    """Return the numbers of the answers that are in the ledger now; none before its tables are made."""

    def found() -> list[str | None]:
        with contextlib.suppress(sqlite3.OperationalError):
            return [row[0] for row in rows(ledger)]
        return []

    return await asyncio.to_thread(found)


async def written(ledger: Path, count: int) -> None:
    """Wait until a ledger has so many rows."""
    await eventually(lambda: booked(ledger), lambda found: len(found) == count)


async def ask(running: Program, count: int = 1) -> list[str]:
    """Make requests one after another, each of which must be answered; return the numbers of the answers."""
    numbers = []
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
                assert (200, OCR) == (answer.status, await answer.read())
                numbers.append(answer.headers["x-request-id"])
    return numbers


async def health(running: Program) -> tuple[int, str, dict[str, str]]:
    """Return the status of /readyz, its word, and what is degraded."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        said = await answer.json()
        return answer.status, said["status"], said["degraded"]


async def degraded(running: Program, why: str) -> None:
    """Wait until /readyz is 200 and says why the ledger is degraded."""
    status, word, troubles = await eventually(lambda: health(running), lambda found: why in found[2].get("ledger", ""))
    assert (200, "degraded", ["ledger"]) == (status, word, list(troubles))


async def well(running: Program) -> None:
    """Wait until /readyz says that all is well."""
    await eventually(lambda: health(running), lambda found: found == (200, "ok", {}))


@asynccontextmanager
async def under_load(running: Program) -> AsyncIterator[dict[str, float]]:
    """Let sixteen clients ask without a pause; yield when each answer was whole, by its number."""
    answered: dict[str, float] = {}

    async def asking() -> None:
        async with aiohttp.ClientSession() as session:
            with contextlib.suppress(aiohttp.ClientError):
                while True:
                    async with session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
                        assert OCR == await answer.read()
                    answered[answer.headers["x-request-id"]] = time.monotonic()

    tasks = [asyncio.create_task(asking()) for _ in range(16)]
    yield answered
    await asyncio.gather(*tasks)


# ── kill -9 ──


def journaled(folder: Path) -> list[str | None]:
    """Return the numbers of the answers that stand in the journal now, whole."""
    found: list[str | None] = []
    for file in (folder / "passthrough.journal").glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # its entries are in the ledger
            lines = file.read_bytes().splitlines(keepends=True)[1:]
            found.extend(decode(line).upstream_request_id for line in lines if line.endswith(b"\n"))  # else it is being written
    return found


async def all_journaled(folder: Path, count: int) -> None:
    """Wait until so many answers stand in the journal."""
    await eventually(lambda: asyncio.to_thread(journaled, folder), lambda found: len(found) == count)


async def all_taken_over(folder: Path, left: Collection[str]) -> None:
    """Wait until nothing is left of what dead processes wrote: these files. A living one's own file has another name."""
    journal = folder / "passthrough.journal"
    await eventually(lambda: asyncio.to_thread(names, journal), lambda found: not set(found).intersection(left))


async def test_a_kill_costs_no_more_than_the_last_moment(tmp_path: Path) -> None:
    """Three kills under load: after the next start only answers of the last moment are missing, and each is booked once."""
    ledger = tmp_path / "passthrough.db"
    answers: list[tuple[float, dict[str, float]]] = []
    seen: set[str] = set()
    async with upstream(Numbered()) as raw:
        for _ in range(3):
            async with program(tmp_path, configured(raw)) as running, under_load(running) as answered:
                await eventually(lambda: asyncio.sleep(0, len(answered)), lambda count: count > 400)
                earlier = set(answered)
                # The load goes on meanwhile: these are booked because they are old enough, not because it is quiet now.
                await eventually(lambda: booked(ledger), earlier.issubset)
                running.signal(signal.SIGKILL)
                answers.append((time.monotonic(), answered))
                assert -signal.SIGKILL == await running.ended()
            seen |= earlier
        left = names(tmp_path / "passthrough.journal")
        async with program(tmp_path, configured(raw)) as running:
            more = await ask(running, 5)
            await all_taken_over(tmp_path, left)
            assert 0 == await running.stop()
    found = rows(ledger)
    numbers = [row[0] for row in found]
    for killed, answered in answers:
        lost = set(answered).difference(numbers)
        oldest_s = max((killed - answered[number] for number in lost), default=0)
        sys.stdout.write(f"{len(answered)} answered, {len(lost)} not booked, the oldest {oldest_s:.3f} s old\n")
        assert oldest_s < LAST_MOMENT_S
    assert {*seen, *more} <= set(numbers)
    assert len(numbers) == len(set(numbers))
    assert {(200, "completed", None, 2)} == {row[1:] for row in found}
    assert ["passthrough.db", "passthrough.journal", "routes.yaml"] == names(tmp_path)
    assert [] == names(tmp_path / "passthrough.journal")


async def test_what_is_only_in_the_journal_survives_any_number_of_kills(tmp_path: Path) -> None:
    """While the ledger takes nothing, two processes are killed, one after another; the third brings everything into it, once."""
    ledger = tmp_path / "passthrough.db"
    numbers: list[str] = []
    async with upstream(Numbered()) as raw:
        with lock(ledger):
            for _ in range(2):
                async with program(tmp_path, configured(raw)) as running:
                    numbers += await ask(running, 100)
                    await all_journaled(tmp_path, len(numbers))
                    running.signal(signal.SIGKILL)
                    await running.ended()
            left = names(tmp_path / "passthrough.journal")
        async with program(tmp_path, configured(raw)) as running:
            await running.says("A process ended before all its entries were in the ledger; they are booked from")
            numbers += await ask(running, 3)
            await all_taken_over(tmp_path, left)
            assert 0 == await running.stop()
    assert [(number, 200, "completed", None, 2) for number in numbers] == rows(ledger)
    assert [] == names(tmp_path / "passthrough.journal")


async def test_a_living_process_books_what_a_killed_one_left(tmp_path: Path) -> None:
    """Two processes share ledger and journal: when one is killed, the other finds its entries, and leaves none out or twice."""
    ledger = tmp_path / "passthrough.db"
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw)) as stays:
        with lock(ledger):
            async with program(tmp_path, configured(raw)) as goes:
                numbers = await ask(goes, 50)
                await all_journaled(tmp_path, len(numbers))
                left = names(tmp_path / "passthrough.journal")
                numbers += await ask(stays, 50)
                await all_journaled(tmp_path, len(numbers))
                goes.signal(signal.SIGKILL)
                await goes.ended()
        await eventually(lambda: booked(ledger), lambda found: len(found) >= len(numbers))
        await all_taken_over(tmp_path, left)
        assert 0 == await stays.stop()
    assert numbers == [row[0] for row in rows(ledger)]


def batch_line(number: int) -> bytes:
    """Return one line of a batch's results, of two pages."""
    return b'{"id": "batch-%d", "response": {"status_code": 200, "body": %b}, "error": null}\n' % (number, OCR)


async def test_a_batch_is_booked_once_however_often_it_is_downloaded(tmp_path: Path) -> None:
    """The lines that passed before a kill are booked, the others with the next download, and a third one adds none."""
    ledger = tmp_path / "passthrough.db"
    whole = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(chunk(b"".join(map(batch_line, range(40)))))
        await whole.wait()
        await peer.send(chunk(b"".join(map(batch_line, range(40, 100)))), b"0\r\n\r\n")

    async def pages() -> list[tuple[int, int]]:
        """Return exchanges and pages that are in the ledger."""
        with contextlib.suppress(sqlite3.OperationalError), closing(sqlite3.connect(ledger)) as database:
            return database.execute("SELECT COUNT(DISTINCT exchange_id), SUM(pages) FROM charges").fetchall()
        return []

    async with upstream(script) as raw:
        async with (
            program(tmp_path, configured(raw)) as running,
            aiohttp.ClientSession() as session,
            session.get(running.url + "/mistral/v1/files/f/content"),
        ):
            await eventually(pages, lambda found: found == [(1, 80)])
            running.signal(signal.SIGKILL)
            await running.ended()
        whole.set()
        async with program(tmp_path, configured(raw)) as running, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.get(running.url + "/mistral/v1/files/f/content") as answer:
                    assert b"".join(map(batch_line, range(100))) == await answer.read()
            lines = await running.logs(2)
            assert [(120, 0.12), (0, 0)] == [(line["pages"], line["cost_usd"]) for line in lines]
            assert 0 == await running.stop()
    assert [(2, 200)] == await pages()
    assert {"cut_off", "completed"} == {row[2] for row in rows(ledger)}


async def test_a_kill_leaves_no_document_behind(tmp_path: Path) -> None:
    """A body that is held in a file for another try has no name there, whatever becomes of the process."""
    held, never = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        held.set()
        await never.wait()

    spool = tmp_path / "spool"
    spool.mkdir()
    retries = ", retries: {attempts: 1, held_body: 1kB, spool: true}"
    environment = {"TMPDIR": str(spool)}
    async with (
        upstream(script) as raw,
        program(tmp_path, configured(raw, retries), env=environment) as running,
        client(running.port) as one,
    ):
        await one.send(POST.replace(b"Content-Length: 2\r\n\r\n{}", b"Content-Length: 500000\r\n\r\n" + b"d" * 500_000))
        await held.wait()
        assert any(name.startswith(str(spool)) for name in opened(running)) or sys.platform != "linux"
        assert [] == names(spool)
        running.signal(signal.SIGKILL)
        await running.ended()
    assert [] == names(spool)


# ── what is wrong with the ledger, at the start and while it runs ──


@contextmanager
def lock(ledger: Path) -> Iterator[None]:
    """Hold a ledger as another process would; there is one afterwards, if there was none."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def overwrite(ledger: Path) -> None:
    """Put other bytes into a ledger's files."""
    for file in ledger.parent.glob(ledger.name + "*"):
        with file.open("r+b") as opened:
            opened.write(os.urandom(file.stat().st_size))


def move_away(ledger: Path) -> None:
    """Rename a ledger's files."""
    for file in list(ledger.parent.glob(ledger.name + "*")):
        file.rename(ledger.parent / f"spoilt-{file.name}")


@contextmanager
def spoil(ledger: Path) -> Iterator[None]:
    """Put other bytes in a ledger's place; at the end they are moved away, as the message tells."""
    ledger.write_bytes(b"not a database, but as long as one is" * 1000)
    yield
    move_away(ledger)


@contextmanager
def take_folder(ledger: Path) -> Iterator[None]:
    """Move the ledger's folder away for a time."""
    away = ledger.parent.with_name("away")
    ledger.parent.rename(away)
    yield
    away.rename(ledger.parent)


Spoilt = Callable[[Path], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [(lock, "is locked by another process"), (spoil, "is not an SQLite database"), (take_folder, "there is no folder")],
)
async def test_a_ledger_that_is_wrong_at_the_start(tmp_path: Path, spoilt: Spoilt, why: str) -> None:
    """With a journal it starts, serves, and says why it is degraded; once that is mended, everything is in the ledger."""
    ledger = tmp_path / "books" / "ledger.db"
    ledger.parent.mkdir()
    async with upstream(Numbered()) as raw:
        with spoilt(ledger):
            starting = program(tmp_path, configured(raw, ledger=ledger, journal=tmp_path / "journal"))
            running = await starting.__aenter__()
            await degraded(running, why)
            numbers = await ask(running, 3)
            await degraded(running, "Entries that wait for it: 3; lost: 0.")
        await well(running)
        numbers += await ask(running, 2)
        assert 0 == await running.stop()
        await starting.__aexit__(None, None, None)
    assert [(number, 200, "completed", None, 2) for number in numbers] == rows(ledger)
    assert 1 == "".join(running.said).count(why)


@pytest.mark.parametrize(("spoilt", "why"), [(lock, "is locked by another process"), (take_folder, "there is no folder")])
async def test_a_ledger_that_goes_wrong_while_it_runs(tmp_path: Path, spoilt: Spoilt, why: str) -> None:
    """The road serves on, /readyz is 200 and says why; once that is mended, nothing is missing."""
    ledger = tmp_path / "books" / "ledger.db"
    ledger.parent.mkdir()
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw, ledger=ledger)) as running:
        numbers = await ask(running, 2)
        await written(ledger, 2)
        with spoilt(ledger):
            numbers += await ask(running, 3)
            await degraded(running, why)
            numbers += await ask(running, 2)
        await well(running)
        assert 0 == await running.stop()
    assert [(number, 200, "completed", None, 2) for number in numbers] == rows(ledger)


async def test_a_ledger_that_is_deleted_while_it_runs(tmp_path: Path) -> None:
    """A new one is begun in its place: what was in the old one is gone with it, and all that came after is there."""
    ledger = tmp_path / "passthrough.db"
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw)) as running:
        await ask(running, 2)
        await written(ledger, 2)
        ledger.unlink()
        numbers = await ask(running, 3)
        await running.says("was moved or deleted while it was in use")
        await running.says("The ledger is written again. Entries lost: 0.")
        await well(running)
        assert 0 == await running.stop()
    assert numbers == [row[0] for row in rows(ledger)]


async def test_a_ledger_that_is_damaged_while_it_runs(tmp_path: Path) -> None:
    """Other bytes in the open file are noticed and said, the road serves on, and a new ledger is begun once it is moved away."""
    ledger = tmp_path / "passthrough.db"
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw)) as running:
        await ask(running, 2)
        await written(ledger, 2)
        overwrite(ledger)
        numbers = await ask(running, 3)
        status, word, _ = await eventually(lambda: health(running), lambda found: bool(found[2]))
        assert (200, "degraded") == (status, word)
        move_away(ledger)
        numbers += await ask(running, 2)
        await well(running)
        assert 0 == await running.stop()
    assert numbers == [row[0] for row in rows(ledger)]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_is_full_when_the_ledger_is_opened(tmp_path: Path) -> None:
    """SQLite says only that input or output failed where it cannot make its file for shared memory: the cause is said."""
    place = tmp_path / "disk"
    with small_disk(place):
        Ledger.open(f"sqlite:///{place}/ledger.db").close()
        filled(place)
        with pytest.raises(LedgerError, match="cannot grow: the disk is full"):
            Ledger.open(f"sqlite:///{place}/ledger.db")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("at_start", [True, False])
async def test_a_full_disk(tmp_path: Path, at_start: bool) -> None:
    """Nothing can be written: the road serves on, /readyz says that the disk is full; with space again nothing is missing."""
    place = tmp_path / "disk"
    ledger = place / "ledger.db"
    with small_disk(place):
        filler = filled(place) if at_start else None
        async with upstream(Numbered()) as raw, program(tmp_path, configured(raw, ledger=ledger)) as running:
            if filler is None:
                await well(running)
                filler = filled(place)
            numbers = await ask(running, 200)
            await degraded(running, "cannot grow: the disk is full")
            filler.unlink()
            await well(running)
            numbers += await ask(running, 1)
            assert 0 == await running.stop()
        assert numbers == [row[0] for row in rows(ledger)]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("made", [False, True])
async def test_a_read_only_folder(tmp_path: Path, made: bool) -> None:
    """With a ledger in it or without: with a journal elsewhere it serves and says why; mended, everything is in the ledger."""
    place = tmp_path / "disk"
    ledger = place / "ledger.db"
    with small_disk(place) if os.geteuid() == 0 else contextlib.nullcontext(place.mkdir()):
        async with upstream(Numbered()) as raw:
            before = []
            if made:
                async with program(tmp_path, configured(raw, ledger=ledger)) as running:
                    before = await ask(running, 2)
                    assert 0 == await running.stop()
            with read_only(place):
                starting = program(tmp_path, configured(raw, ledger=ledger, journal=tmp_path / "journal"))
                running = await starting.__aenter__()
                numbers = await ask(running, 3)
                await degraded(running, str(ledger))
                trouble = (await health(running))[2]["ledger"]
                assert (
                    "cannot be opened.\nCheck that it is a file, and give this user permission to it and its folder."
                    if made
                    else f"cannot be made: nothing can be written in {place}: Read-only file system"
                ) in trouble
            await well(running)
            numbers += await ask(running, 1)
            assert 0 == await running.stop()
            await starting.__aexit__(None, None, None)
        assert before + numbers == [row[0] for row in rows(ledger)]


# ── the stop ──


async def test_a_stop_waits_for_a_locked_ledger(tmp_path: Path) -> None:
    """What could not be written when the signal came is written as soon as the ledger lets it; nothing stays beside it."""
    ledger = tmp_path / "passthrough.db"
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw)) as running:
        await well(running)
        with lock(ledger):
            numbers = await ask(running, 20)
            await degraded(running, "is locked by another process")
            running.signal(signal.SIGTERM)
            await running.says("Stopping")
        assert 0 == await running.ended()
    assert numbers == [row[0] for row in rows(ledger)]
    assert ["passthrough.db", "passthrough.journal", "routes.yaml"] == names(tmp_path)
    assert [] == names(tmp_path / "passthrough.journal")


async def lose(running: Program, folder: Path, count: int) -> None:
    """Take ledger and journal away with their folder, ask some times, and stop."""
    await ask(running, 1)
    await written(folder / "ledger.db", 1)
    await asyncio.to_thread(folder.rename, folder.with_name("away"))
    for _ in range(count):  # each on a connection of its own: of several workers all get some
        await ask(running)
    await degraded(running, "there is no folder")
    running.signal(signal.SIGTERM)


@pytest.mark.parametrize("count", [1, 6])
async def test_what_is_lost_at_the_stop_is_said_last(tmp_path: Path, count: int) -> None:
    """Where neither ledger nor journal take what waits, the last lines say how many entries are lost, and the exit code is 1."""
    folder = tmp_path / "books"
    folder.mkdir()
    async with upstream(Numbered()) as raw, program(tmp_path, configured(raw, ledger=folder / "ledger.db")) as running:
        await lose(running, folder, count)
        assert 1 == await running.ended()
    entries = "1 entry was" if count == 1 else "6 entries were"
    assert [
        f"passthrough: {entries} lost at the stop: neither the ledger nor its journal could be written.\n",
        "They are in the log only; budgets and usage do not count them.\n",
    ] == running.said[-2:]
    assert 1 + count == len(running.log)


async def test_what_workers_lose_is_summed(tmp_path: Path) -> None:
    """Each worker counts what it lost, the supervisor says the sum as its last, and ends with 1."""
    folder = tmp_path / "books"
    folder.mkdir()
    async with (
        upstream(Numbered()) as raw,
        program(tmp_path, configured(raw, ledger=folder / "ledger.db"), "--workers", "2") as both,
    ):
        await lose(both, folder, 20)
        assert 1 == await both.ended()
    assert (
        "passthrough: 20 entries were lost at the stop: neither the ledger nor its journal could be written.\n" == both.said[-2]
    )
    assert 2 == "".join(both.said).count("Entries that did not reach the ledger in time")


class Stuck:
    """An upstream that stops at the point that the path names, for ever."""

    def __init__(self) -> None:
        self.stuck = asyncio.Semaphore(0)
        self._never = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        line, _, _ = await peer.head()
        if b"/in-body" in line:
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(OCR[:20]))
        self.stuck.release()
        await self._never.wait()


async def test_the_deadline_finds_every_exchange_wherever_it_is(tmp_path: Path) -> None:
    """Uploading, waiting for the head, in the middle of an answer, settling: each is cut off, booked once, and exit is 0."""
    stuck = Stuck()
    requests = [POST, POST.replace(b"/ocr", b"/in-body/ocr"), POST.replace(b"Content-Length: 2", b"Content-Length: 9")]
    async with upstream(stuck) as raw, program(tmp_path, configured(raw), "--drain-timeout", "500ms") as running:
        async with client(running.port) as gone, contextlib.AsyncExitStack() as stack:
            stayed = [await stack.enter_async_context(client(running.port)) for _ in requests]
            for one, request in zip(stayed, requests, strict=True):
                await one.send(request)
                await stuck.stuck.acquire()
            await gone.send(POST)
            await stuck.stuck.acquire()
            gone.reset()
            running.signal(signal.SIGTERM)
            assert [True] * 3 == [await one.broken() for one in stayed]
        assert 0 == await running.ended()
    found = sorted((str(row[1]), *row[2:]) for row in rows(tmp_path / "passthrough.db"))
    assert [("200", "cut_off", "cancelled", None)] + [("None", "cut_off", "cancelled", None)] * 3 == found
    assert [line["outcome"] for line in running.log] == ["cut_off"] * 4
    assert "3 requests were cut off" in "".join(running.said)
