"""Standard streams that are closed, full, or too poor in characters: the program runs, and says what it cannot print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.harness.configs import KEYED
from tests.harness.ports import free_port
from tests.harness.process import WAIT_S, clean_environment, command, program
from tests.harness.terminal import terminal
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

OCR = ok(b'{"pages": [], "model": "mistral-ocr-latest", "usage_info": {"pages_processed": 1}}', b"Content-Type: application/json")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc/…/fd and /dev/full are Linux's")
CLOSED = ("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-")


async def redirected(folder: Path, redirections: str, *arguments: str, **more: str) -> tuple[int | None, str, str]:
    """Run a command with a shell's redirections; return its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "passthrough", *arguments),
        cwd=folder,
        env=clean_environment(**more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate()
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


DEFAULT = "http://127.0.0.1:4001/readyz"
"""Where another program may listen: README's first command, for one."""


async def answers(url: str) -> int | None:
    """Return the status of a GET, None where no process listens yet."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": "localhost"}) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return None


def descriptors(pid: int) -> list[str]:
    """Return what the three standard descriptors of a process are (Linux)."""
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


@LINUX
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("closed", CLOSED)
async def test_it_serves_with_closed_streams(tmp_path: Path, closed: str, workers: str) -> None:
    """Whichever streams were closed at the start, no socket is a standard descriptor, and it serves and ends as always."""
    port, admin = free_port(), free_port()
    async with upstream(answering(OCR)) as raw:
        config = f"pass_through_endpoints: [{{path: /m/v1/ocr, target: 'http://127.0.0.1:{raw.port}/v1/ocr'}}]\n"
        (tmp_path / "routes.yaml").write_text(config)
        flags = ("--port", str(port), "--admin-port", str(admin), "--workers", workers)
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "passthrough", "serve", *flags),
                cwd=tmp_path,
                env=clean_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            await eventually(lambda: answers(f"http://127.0.0.1:{admin}/readyz"), lambda status: status == 200)
            places = ("/dev/null", str(tmp_path / "out"), str(tmp_path / "err"))
            expected = [
                "/dev/null" if mark in closed.split() else place
                for mark, place in zip(("<&-", ">&-", "2>&-"), places, strict=True)
            ]
            assert expected == descriptors(process.pid)
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    async with session.post(f"http://127.0.0.1:{port}/m/v1/ocr", data=b"{}") as answer:
                        assert 200 == answer.status
                        assert b'"pages_processed": 1' in await answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
            code = await process.wait()
    errors = (tmp_path / "err").read_text()
    assert 0 == code, errors
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert ([] if ">&-" in closed.split() else [1, 1, 1]) == [line["pages"] for line in lines]
    assert ("2>&-" in closed) == ("Listening" not in errors)
    with closing(sqlite3.connect(tmp_path / "passthrough.db")) as ledger:
        assert (3,) == ledger.execute("SELECT sum(pages) FROM charges").fetchone()


@pytest.mark.parametrize("closed", [*CLOSED, pytest.param("2> /dev/full", marks=LINUX)])
async def test_the_sandbox_serves_with_closed_streams(tmp_path: Path, closed: str) -> None:
    """So does the sandbox alone."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "passthrough", "sandbox", "--port", str(port)),
        cwd=tmp_path,
        env=clean_environment(),
    )
    await eventually(lambda: answers(f"http://127.0.0.1:{port}/v1/models"), lambda status: status == 200)
    process.send_signal(signal.SIGTERM)
    assert 0 == await process.wait()


SHORT = (
    ("--version",),
    ("check",),
    ("prices",),
    ("schema",),
    ("keygen", "invoices"),
    ("usage",),
    ("usage", "--format", "csv"),
    ("usage", "--export", "-"),
)


@pytest.fixture
async def booked(tmp_path: Path) -> Path:
    """Return a folder with a configuration and a ledger that a request is booked in, with a label of many letters."""
    async with upstream(answering(OCR)) as raw:
        config = (
            "label_headers: [x-team]\npass_through_endpoints:\n"
            f"  - {{path: /m/v1/ocr, target: 'http://127.0.0.1:{raw.port}/v1/ocr'}}\n"
        )
        async with program(tmp_path, config) as running, aiohttp.ClientSession() as session:
            async with session.post(running.url + "/m/v1/ocr", data=b"{}", headers={"x-team": "équipe → ☃ 😀"}) as answer:
                assert 200 == answer.status
            await running.stop()
    return tmp_path


async def test_short_commands_with_closed_streams(booked: Path) -> None:
    """What stdout would have got goes nowhere; the command does its work, and ends with 0."""
    for arguments in SHORT:
        for closed in CLOSED:
            code, out, err = await redirected(booked, closed, *arguments)
            assert (0, ">&-" not in closed.split()) == (code, out != ""), (arguments, closed, err)
            assert "Traceback" not in err


@LINUX
@pytest.mark.parametrize(("where", "why"), [("> /dev/full", "No space left on device"), ("1< /dev/null", "Bad file descriptor")])
async def test_a_stdout_that_takes_nothing_is_said(booked: Path, where: str, why: str) -> None:
    """A full disk is one sentence and exit 1, not a traceback, and not the exit code 0 of what was never printed."""
    for arguments in SHORT[1:-1]:
        code, _, err = await redirected(booked, where, *arguments)
        assert (1, f"passthrough: stdout cannot be written: {why}.\n") == (code, err), arguments


async def test_a_reader_that_goes_ends_it_quietly(booked: Path) -> None:
    """A pipe whose reader has seen enough, or never existed, is no error to report."""
    for arguments in SHORT[1:]:
        reading, writing = os.pipe()
        os.close(reading)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "passthrough", *arguments),
            cwd=booked,
            env=clean_environment(),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        _, err = await process.communicate()
        assert (1, b"") == (process.returncode, err), arguments


POOR = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("encoding", POOR, ids=lambda variables: "".join(variables.values()))
async def test_what_an_encoding_cannot_show_is_replaced(booked: Path, encoding: dict[str, str]) -> None:
    """A stdout of few characters gets `?` in tables and CSV, and escapes where they mean the same: in JSON and in a stanza."""
    for arguments in (("prices",), ("check",), ("usage", "--by", "label"), ("usage", "--by", "label", "--format", "csv")):
        code, out, err = await redirected(booked, "", *arguments, **encoding)
        assert (0, True) == (code, "Traceback" not in err), err
        assert "☃" not in out
    assert ", ? ?" not in out
    assert "quipe ? ? ?" in out
    code, out, err = await redirected(booked, "", "usage", "--by", "label", "--format", "json", **encoding)
    assert (0, "") == (code, err)
    assert "équipe → ☃ 😀" == json.loads(out)["groups"][0]["label"]
    code, out, err = await redirected(booked, "", "keygen", "équipe → ☃ 😀", **encoding)
    if "LC_ALL" in encoding:  # the argument itself cannot be read
        assert (2, "", True) == (code, out, "This is not a name" in err)
        return
    assert (0, "") == (code, err)
    stanza = yaml.safe_load(out[out.index("client_keys:") :])
    assert "équipe → ☃ 😀" == stanza["client_keys"][0]["name"].encode("utf-16", "surrogatepass").decode("utf-16")


@pytest.mark.parametrize("place", ["file", "env", "reference"])
async def test_health_asks_where_serve_listens(tmp_path: Path, place: str) -> None:
    """The admin port that the file or .env names is asked without a flag, whatever key variable is not set where it runs."""
    port = free_port()
    asked = f"admin_host: localhost\nadmin_port: {port if place == 'file' else 'os.environ/SOME_PORT'}\n"
    (tmp_path / "routes.yaml").write_text(KEYED + ("" if place == "env" else asked))
    (tmp_path / ".env").write_text(f"PASSTHROUGH_ADMIN_PORT={port}\n" if place == "env" else f"SOME_PORT={port}\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", "serve", "--port", "0"),
        cwd=tmp_path,
        env=clean_environment(MISTRAL_API_KEY="mistral-canary-0123456789"),
    )
    try:
        await eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz"), lambda status: status == 200)
        assert (0, "ok\n", "") == await command(tmp_path, "health")
        code, _, err = await command(tmp_path, "health", "--admin-port", "1")
        assert (1, True) == (code, "port 1: " in err)
        # The flag and the variable still win.
        assert 1 == (await command(tmp_path, "health", PASSTHROUGH_ADMIN_PORT="1"))[0]
        (tmp_path / "routes.yaml").write_text(f"admin_port: {port}\nadmin_host: [\n")
        code, out, err = await command(tmp_path, "health", "--admin-port", str(port))
        assert (0, True) == (code, out.startswith(("ok", "degraded"))), err
        # Of a file that cannot be read nothing is taken: the default is asked.
        at_default = await answers(DEFAULT)
        assert (place == "env" or at_default == 200) == (0 == (await command(tmp_path, "health"))[0])
    finally:
        process.send_signal(signal.SIGTERM)
        assert 0 == await process.wait()


async def test_health_without_a_file_asks_the_default(tmp_path: Path) -> None:
    """It needs no configuration: a check of health is no check of a file."""
    if await answers(DEFAULT) is not None:
        pytest.skip("Another program listens on port 4001.")
    code, out, err = await command(tmp_path, "health")
    assert (1, "") == (code, out)
    assert err.startswith("passthrough: no answer from 127.0.0.1 port 4001: ")


def test_problems_fit_a_terminal(tmp_path: Path) -> None:
    """What is wrong with a configuration is said in lines of the terminal's width, a hint indented; a pipe has it whole."""
    (tmp_path / "routes.yaml").write_text(
        f"pass_through_endpoints:\n  - {{path: /a, target: os.environ/A, headers: {{x: os.environ/{'LONG_' * 9}}}}}\n"
    )
    with terminal(80) as (stream, shown):
        run = [sys.executable, "-m", "passthrough", "check"]
        assert 2 == subprocess.run(run, cwd=tmp_path, env=clean_environment(), stderr=stream, check=False).returncode
    whole = subprocess.run(run, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True, check=False).stderr
    assert whole.split() == shown().split()
    assert [] == [line for line in shown().splitlines() if len(line) > 80]
    assert max(map(len, whole.splitlines())) > 80


def on_terminal(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run a command on a terminal of 80 columns; return its exit code and the lines of stdout and stderr."""
    run = [sys.executable, "-m", "passthrough", *arguments]
    with terminal(80) as (stream, shown):
        code = subprocess.run(run, cwd=folder, env=clean_environment(), stdout=stream, stderr=stream, check=False).returncode
    return code, shown().splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("keygen", ""),
        ("usage", "--by", "tag"),
        ("usage", "--ledger", "passthrough.db"),
        ("report", "--by", "month"),
        ("init", "--endpoint", "https://resource.services.ai.azure.com/a-path", "--yes"),
    ],
)
def test_usage_errors_fit_a_terminal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What is wrong with a flag is said in lines of the terminal's width, as what is wrong with a configuration is."""
    code, lines = on_terminal(tmp_path, *arguments)
    assert (2, []) == (code, [line for line in lines if len(line) > 80 or line != line.rstrip()])


async def test_what_is_printed_fits_a_terminal(booked: Path) -> None:
    """So is what commands print, a path or an address whole; the line that keygen makes for routes.yaml is never broken."""
    deep = booked / "-".join(["folder"] * 9)
    deep.mkdir()
    for arguments in (("backup", str(deep / "copy.db")), ("restore", str(deep / "copy.db"))):
        code, lines = on_terminal(booked, *arguments)
        assert (0, []) == (code, [line for line in lines if (len(line) > 80 and " " in line.strip()) or line != line.rstrip()])
    code, lines = on_terminal(booked, "health", "--admin-port", "1")
    assert (1, []) == (code, [line for line in lines if len(line) > 80])
    code, lines = on_terminal(booked, "keygen", "invoices of the " + "very " * 9 + "large department")
    assert (0, 1) == (code, sum(line.startswith("  - {name:") and line.endswith('"}') for line in lines))
    assert [] == [line for line in lines if len(line) > 80 and not line.startswith("  - {")]
