"""The access log's own file: appended to, opened once more on SIGHUP, refused at start where it cannot be written."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
from contextlib import closing
from functools import partial
from pathlib import Path
from socket import AF_UNIX, socket
from threading import Event, Thread
from typing import Any

import aiohttp
import pytest

from passthrough.background.stream_writer import StreamWriter
from passthrough.config.model import Config
from passthrough.server.log_file import LogFile, OwnFileError, check_apart, check_writable, problem
from tests.harness.client import once
from tests.harness.process import Program, command, program
from tests.harness.rights import let_all_in, ordinary_user
from tests.harness.upstream import RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually

GET = b"GET /mistral HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
OK = answering(ok())


def configured(raw: RawUpstream, more: str = "") -> str:
    """Return a configuration with one route to the raw upstream."""
    return f"pass_through_endpoints:\n  - {{path: /mistral, target: 'http://127.0.0.1:{raw.port}'}}\nledger: none\n{more}"


def lines(*files: Path) -> list[dict[str, Any]]:
    """Return the lines of files, each of which is whole."""
    return [json.loads(line) for file in files for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"]


async def asked(running: Program, count: int = 1) -> None:
    """Send requests, one after the other, each on a connection of its own."""
    for _ in range(count):
        assert (await once(running.port, GET)).startswith(b"HTTP/1.1 200")


async def logged(count: int, *files: Path) -> list[dict[str, Any]]:
    """Wait until files that may not be there yet hold so many lines."""

    async def found() -> list[dict[str, Any]]:
        return lines(*filter(Path.exists, files))

    return await eventually(found, lambda found: len(found) >= count)


# ── the file ──


def test_it_is_appended_to_and_no_one_else_reads_it(tmp_path: Path) -> None:
    """What is in it stays; one that is made is for its user and group alone."""
    path = tmp_path / "log.jsonl"
    before = os.umask(0o022)
    try:
        for text in ("one\n", "two\n"):
            with closing(LogFile(str(path))) as file:
                StreamWriter(file.stream).write([text.encode()])
    finally:
        os.umask(before)
    assert ("one\ntwo\n", 0o640) == (path.read_text(), stat.S_IMODE(path.stat().st_mode))


def test_no_line_is_lost_or_torn_by_rotations(tmp_path: Path) -> None:
    """While a thread writes, the file is moved away and opened once more, many times."""
    path = tmp_path / "log.jsonl"
    with closing(LogFile(str(path))) as file:
        writer, stop, written = StreamWriter(file.stream), Event(), [0]

        def write() -> None:
            while not stop.is_set():
                assert 0 == writer.write([b'{"number": %d}\n' % (written[0] + ahead) for ahead in range(50)])
                written[0] += 50

        thread = Thread(target=write)
        thread.start()
        for rotation in range(100):
            path.rename(tmp_path / f"log.{rotation:03}")
            file.reopen()
        stop.set()
        thread.join()
    files = [*sorted(tmp_path.glob("log.[0-9]*")), path]
    assert list(range(written[0])) == [line["number"] for line in lines(*files)]


def test_a_file_that_cannot_be_opened_once_more_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning says why and what to do, and lines go on into the old one, until another signal succeeds."""
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    with closing(LogFile(str(folder / "log"))) as file:
        writer = StreamWriter(file.stream)
        writer.write([b"one\n"])
        folder.rename(moved)
        file.reopen()
        writer.write([b"two\n"])
        folder.mkdir()
        os.mkfifo(folder / "log")
        file.reopen()
        reader = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
        file.reopen()
        os.close(reader)
        writer.write([b"three\n"])
        (folder / "log").unlink()
        file.reopen()
        writer.write([b"four\n"])
    assert ("one\ntwo\nthree\n", "four\n") == ((moved / "log").read_text(), (folder / "log").read_text())
    named = f"The log file {folder}/log"
    assert [
        f"{named} cannot be opened: there is no folder {folder}. Lines go on into the old one.\n"
        "Make the folder, or name another file. Then send SIGHUP again.",
        f"{named} cannot be opened: nothing reads it. Lines go on into the old one.\n"
        "Start what reads it first, or name another file. Then send SIGHUP again.",
        f"{named} is of another kind now. Lines go on into the old one.",
    ] == caplog.messages


def test_what_may_be_written_is_told_without_a_trace(tmp_path: Path) -> None:
    """Neither a file nor a folder is made by the question."""
    (tmp_path / "log").write_text("old\n")
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "mine").write_text("")
    (tmp_path / "mine").chmod(0o444)
    let_all_in(tmp_path)
    with ordinary_user():
        check_writable("/dev/null")
        for path, error in (("locked/log", PermissionError), ("mine", PermissionError), ("no/log", FileNotFoundError)):
            with pytest.raises(error):
                check_writable(str(tmp_path / path))
    for path in ("log", "new"):
        check_writable(str(tmp_path / path))
    assert {"log", "locked", "mine"} == {path.name for path in tmp_path.iterdir()}
    assert "old\n" == (tmp_path / "log").read_text()


# ── the program ──


@pytest.mark.process
@pytest.mark.parametrize(
    ("flags", "variable", "key", "says"),
    [
        (("--log-file", "no/log"), None, None, "command line --log-file: The log file {}/no/log cannot be opened: there is no f"),
        (
            (),
            "no/log",
            None,
            "environment PASSTHROUGH_LOG_FILE: The log file {}/no/log cannot be opened: there is no folder {}/no.",
        ),
        ((), None, "no/log", "routes.yaml log_file: The log file {}/no/log cannot be opened: there is no folder {}/no."),
        ((), None, "there", "routes.yaml log_file: The log file {}/there cannot be opened: it is a folder."),
        ((), None, "pipe", "routes.yaml log_file: The log file {}/pipe cannot be opened: nothing reads it."),
        ((), None, "/proc/new", "routes.yaml log_file: The log file /proc/new cannot be opened: No such file or directory."),
    ],
)
async def test_one_that_cannot_be_written_is_refused_at_start(
    tmp_path: Path, flags: tuple[str, ...], variable: str | None, key: str | None, says: str
) -> None:
    """Exit code 2, with the place, why, and what to do; `check` says the same, and leaves nothing behind."""
    (tmp_path / "there").mkdir()
    os.mkfifo(tmp_path / "pipe")
    route = "pass_through_endpoints: [{path: /a, target: 'http://127.0.0.1:9'}]\nledger: none\n"
    (tmp_path / "routes.yaml").write_text(route + (f"log_file: {key}\n" if key else ""))
    env = {"PASSTHROUGH_LOG_FILE": variable} if variable else {}
    ports = ("--port", "0", "--admin-port", "0")
    commands = [("serve", *ports, *flags)] + ([] if flags or key == "/proc/new" else [("check",)])
    for arguments in commands:
        code, out, err = await command(tmp_path, *arguments, **env)
        assert (2, "") == (code, out)
        assert says.replace("{}", str(tmp_path)) in err
        assert "name another file" in err or "Name " in err
    assert {"there", "pipe", "routes.yaml"} == set(os.listdir(tmp_path))


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("books.db", "is the ledger."),
        ("books.db-wal", "is the ledger."),
        ("books.db-shm", "is the ledger."),
        ("linked", "is the ledger."),
        ("hard", "is the ledger."),
        ("books.journal/new", "is a file of the journal."),
        ("books.journal", "is a file of the journal."),
        ("routes.yaml", "is the configuration."),
    ],
)
async def test_one_of_its_own_files_is_refused(tmp_path: Path, name: str, says: str) -> None:
    """By whatever name: lines of the log would damage it. Nothing is written; `check` says the same."""
    (tmp_path / "books.db").write_bytes(b"")
    (tmp_path / "linked").symlink_to("books.db")
    (tmp_path / "hard").hardlink_to(tmp_path / "books.db")
    (tmp_path / "books.journal").mkdir()
    text = "pass_through_endpoints: [{path: /a, target: 'http://127.0.0.1:9'}]\nledger: sqlite:///books.db\n"
    (tmp_path / "routes.yaml").write_text(text)
    for arguments in (("serve", "--port", "0", "--admin-port", "0"), ("check",)):
        code, out, err = await command(tmp_path, *arguments, PASSTHROUGH_LOG_FILE=name)
        assert (2, "") == (code, out), err
        assert f"environment PASSTHROUGH_LOG_FILE: The log file {tmp_path / name} {says}\n  Name another file" in err
    assert (text, b"") == ((tmp_path / "routes.yaml").read_text(), (tmp_path / "books.db").read_bytes())


def test_a_log_beside_other_ledgers_is_none_of_them(tmp_path: Path) -> None:
    """PostgreSQL has no file, and a file beside the ledger is not it."""
    for ledger in ("postgresql://user@127.0.0.1:9/name", "sqlite:///books.db"):
        config = Config("routes.yaml", (), ledger=ledger, journal=str(tmp_path / "journal"))
        check_apart(str(tmp_path / "log"), config)
        with pytest.raises(OwnFileError):
            check_apart(str(tmp_path / "journal" / "log"), config)


def test_a_socket_is_said_to_be_one(tmp_path: Path) -> None:
    """As stdout may be one, under a supervisor: `-` writes to it."""
    with socket(AF_UNIX) as listening:
        listening.bind(str(tmp_path / "out"))
        with pytest.raises(OSError, match="No such device") as caught:
            LogFile(str(tmp_path / "out"))
        found = problem(str(tmp_path / "out"), caught.value, "routes.yaml", {"log_file": "out"}, {})
    assert ("--log-file", f"The log file {tmp_path / 'out'} cannot be opened: it is a socket.") == (found.key, found.what)
    assert "Write - for stdout, or name another file." == found.hint


@pytest.mark.process
@pytest.mark.parametrize(("form", "is_json"), [("auto", True), ("text", False)])
async def test_the_log_goes_there_alone(tmp_path: Path, form: str, is_json: bool) -> None:
    """Nothing on stdout; JSON unless text is asked for, for it is no terminal. The key's file is beside the configuration."""
    config = tmp_path / "etc"
    config.mkdir()
    async with upstream(OK) as raw:
        (config / "routes.yaml").write_text(configured(raw, f"log_file: log\nlog_format: {form}\n"))
        async with program(tmp_path, None, "--config", "etc/routes.yaml") as running:
            await running.says(rf"The log goes to {config}/log\.\n")
            await asked(running, 3)
            assert 0 == await running.stop()
        assert [] == running.raw_log
    text = (config / "log").read_text()
    assert (3, is_json) == (len(text.splitlines()), text.startswith("{"))
    assert "ResourceWarning" not in "".join(running.said)


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 3])
async def test_sighup_opens_it_once_more(tmp_path: Path, workers: int) -> None:
    """Moved away, as logrotate does, under load: each request has one whole line in one of the files, and SIGHUP reloads too."""
    path, rotated = tmp_path / "log", [tmp_path / f"log.{number}" for number in range(3)]
    async with (
        upstream(OK) as raw,
        program(tmp_path, configured(raw), "--log-file", "log", "--workers", str(workers)) as running,
    ):
        for old in rotated:
            load = [asyncio.create_task(asked(running, 20)) for _ in range(4)]
            await logged(1, path)
            path.rename(old)
            running.signal(signal.SIGHUP)
            await asyncio.gather(*load)

            async def more() -> bool:
                await asked(running)
                return path.exists() and bool(lines(path))

            await eventually(more, bool)
        assert 3 == len(re.findall("Reloaded", "".join((await running.says("(?s)(Reloaded.*){3}")).string.splitlines())))
        files = [*rotated, path]
        if workers > 1:
            await _all_have(running, path)
        assert 0 == await running.stop()
    found = lines(*files)
    assert len(found) == len({line["id"] for line in found}) == len(raw.received)
    assert all(file.read_bytes().endswith(b"}\n") for file in files)
    assert [] == running.raw_log


async def _workers(running: Program) -> dict[int, int]:
    """Return the workers' process ids by their numbers, as they were said last."""
    (pids,) = (await running.says(r"workers: processes ([\d, ]+)\.")).groups()
    replaced = re.findall(r"Worker (\d+) \(process (\d+)\) serves", "".join(running.said))
    return dict(enumerate(map(int, pids.split(", ")), 1)) | {int(number): int(pid) for number, pid in replaced}


async def _all_have(running: Program, path: Path) -> None:
    """Wait until every process of the program has this file open, and none another of the log's."""
    workers = await _workers(running)

    async def opened() -> list[set[str]]:
        found = []
        for pid in (running.process.pid, *workers.values()):
            names = {os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")}
            found.append({name for name in names if name.startswith(f"{path.parent}/log")})
        return found

    await eventually(opened, lambda found: all(each == {str(path)} for each in found))


@pytest.mark.process
async def test_a_replacement_writes_where_the_others_do(tmp_path: Path) -> None:
    """A worker that takes the place of a dead one after a rotation has the file of now, not that of the start."""
    path = tmp_path / "log"
    async with upstream(OK) as raw, program(tmp_path, configured(raw), "--log-file", "log", "--workers", "2") as running:
        first = (await _workers(running))[1]
        path.rename(tmp_path / "log.1")
        running.signal(signal.SIGHUP)
        await running.says("Reloaded")
        os.kill(first, signal.SIGKILL)
        await running.says(r"Worker 1 \(process \d+\) serves")
        await _all_have(running, path)
        await asked(running, 20)
        assert 0 == await running.stop()
    assert ("", 20) == ((tmp_path / "log.1").read_text(), len(lines(path)))


@pytest.mark.process
async def test_a_hyphen_is_stdout(tmp_path: Path) -> None:
    """So a flag takes the log back from the configuration's file; SIGHUP does no harm."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw, "log_file: log\n"), "--log-file", "-") as running:
        await asked(running)
        running.signal(signal.SIGHUP)
        await running.says("Reloaded")
        await asked(running)
        assert 2 == len(await running.logs(2))
        assert 0 == await running.stop()
    assert {"routes.yaml"} == set(os.listdir(tmp_path))


@pytest.mark.process
async def test_a_full_disk_stops_no_request(tmp_path: Path) -> None:
    """Lines are dropped, and counted."""
    async with upstream(OK) as raw, program(tmp_path, configured(raw), "--log-file", "/dev/full") as running:
        await asked(running, 3)

        async def dropped() -> float:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as got:
                found = re.search(r"^passthrough_log_lines_dropped_total (\S+)", await got.text(), re.MULTILINE)
                return float(found[1]) if found else 0.0

        await eventually(dropped, partial(float.__eq__, 3.0))
        await asked(running)
        assert 0 == await running.stop()
