"""`passthrough ocr` that is interrupted and killed at ten moments: nothing is half-written, and the next run goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.documents import jpeg, pdf
from tests.harness.documents_of_all_kinds import Kind, letter, padded, write_documents
from tests.harness.ocr_command import booked_pages, ended, ocr, start, stopped_when, tree
from tests.harness.process import Program, clean_environment, program
from tests.scenarios.test_ocr_command import KEY, MANIFEST, MODEL, environ, routes

pytestmark = [pytest.mark.process, pytest.mark.faults]

DOCUMENTS = {
    "a.pdf": Kind(lambda: pdf(2), 2),
    "b.docx": Kind(lambda: letter("One", "Two"), 2),
    "c.pdf": Kind(lambda: pdf(20, picture=jpeg()), 20),
    "large.pdf": Kind(lambda: padded(pdf(3), 12_000_000), 3),
    "x/d.pdf": Kind(lambda: pdf(40), 40),
    "x/e.pdf": Kind(lambda: pdf(1, picture=jpeg()), 1),
}
PAGES = sum(kind.pages for kind in DOCUMENTS.values())
IN_FLIGHT = 60
"""The pages of the two largest: what two workers may have had under way."""
COPIED_AT_ONCE = 1 << 20
"""How many bytes of stdin come before any is written."""
FLAGS = ("in", "-o", "out", "--model", MODEL, "--workers", "2", "--format", "md", "--format", "json")


@dataclass(frozen=True, slots=True)
class Seen:
    """What can be seen of a run from outside."""

    out: Path
    running: Program

    def has(self, pattern: str) -> bool:
        """Tell whether there is a path of this pattern below the outputs."""
        with suppress(FileNotFoundError):  # what goes while it is looked for
            return next(self.out.rglob(pattern), None) is not None
        return False

    def finished(self) -> int:
        """Return how many documents the manifest has."""
        path = self.out / MANIFEST
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def calls(self, path: str) -> int:
        """Return how many calls of a path the program has served."""
        return sum(path in line["path"] for line in self.running.log)


MOMENTS: dict[str, Callable[[Seen], bool]] = {
    "at once": lambda seen: True,
    "a folder is there": lambda seen: seen.out.exists(),
    "work has begun": lambda seen: seen.has(".passthrough*/*"),
    "a response comes": lambda seen: seen.has("*.part"),
    "a call was served": lambda seen: seen.calls("/v1/ocr") >= 1,
    "an upload was served": lambda seen: seen.calls("/v1/files") >= 1,
    "an output is there": lambda seen: seen.has("*.md"),
    "pictures are there": lambda seen: seen.has("*_images/*"),
    "one is finished": lambda seen: seen.finished() >= 1,
    "four are finished": lambda seen: seen.finished() >= 4,
}


def outputs(folder: Path) -> dict[str, str]:
    """Return the files of a folder that are not hidden, and not in a hidden folder."""
    return {path: digest for path, digest in tree(folder).items() if not any(part.startswith(".") for part in Path(path).parts)}


def hidden(folder: Path) -> set[str]:
    """Return the hidden entries of a folder of outputs, anywhere below it."""
    return {path.name for path in folder.rglob(".*")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the outputs of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_documents(folder / "in", DOCUMENTS)
    command = (sys.executable, "-m", "passthrough", "ocr", "--sandbox", *FLAGS)
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True, timeout=120)
    return outputs(folder / "out")


async def listed(running: Program, path: str) -> list[Any]:
    """Return what the API lists at a path."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/mistral{path}", headers=headers) as response:
        return list((await response.json())["data"])


async def stored_files(running: Program) -> list[str]:
    """Return the names of the files that the API stores."""
    return [each["filename"] for each in await listed(running, "/v1/files")]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *((moment, number) for moment in MOMENTS for number in (signal.SIGINT, signal.SIGKILL)),
        *((moment, signal.SIGTERM) for moment in ("at once", "a call was served", "one is finished")),
        *((moment, signal.SIGHUP) for moment in ("a call was served", "an upload was served")),
    ],
)
async def test_a_run_that_is_stopped(tmp_path: Path, undisturbed: dict[str, str], moment: str, number: signal.Signals) -> None:
    """What is visible is whole; after Ctrl-C no upload is left; the next run makes the rest, and pays only for that."""
    for name in ("server", "desk"):
        (tmp_path / name).mkdir()
    desk = tmp_path / "desk"
    write_documents(desk / "in", DOCUMENTS)
    async with program(tmp_path / "server", routes(), "--sandbox") as running:
        seen = Seen(desk / "out", running)
        process = await start(desk, *FLAGS, env=environ(running))
        ran = await stopped_when(lambda: MOMENTS[moment](seen), number, process)
        if number is not signal.SIGKILL:
            if moment != "at once":  # Python itself may not be up by then, and ends in its own way
                assert ran.code in {0, 128 + number, -number}, ran.err
                assert "Traceback" not in ran.err
                written = {path for path in outputs(desk / "out") if "_images/" not in path}
                assert written == {path.removeprefix("out/") for path in ran.paths}
            assert [] == await stored_files(running)
        assert outputs(desk / "out").items() <= undisturbed.items()
        again = await ocr(desk, *FLAGS, env=environ(running))
        assert 0 == again.code, again.err
        assert undisturbed == outputs(desk / "out")
        assert {MANIFEST} == hidden(desk / "out")
        assert [] == await stored_files(running)
        booked, _ = await booked_pages(running)
    assert PAGES <= booked <= PAGES + IN_FLIGHT
    if number is not signal.SIGKILL and "had no whole response" not in ran.err:
        assert booked == again.pages + (ran.pages if "page" in ran.err else 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_stopped_while_stdin_is_read(tmp_path: Path, number: signal.Signals) -> None:
    """What came by then is a copy of a document: it does not stay among the temporary files."""
    for name in ("desk", "temporary"):
        (tmp_path / name).mkdir()
    process = await start(tmp_path / "desk", "-", env={"TMPDIR": str(tmp_path / "temporary")}, is_fed=True)
    assert process.stdin is not None
    process.stdin.write(b"%PDF-1.7 secret".ljust(COPIED_AT_ONCE + 1))
    await process.stdin.drain()

    def is_copying() -> bool:
        """Not before: a signal between a file's opening and its `with` leaves the closing, and its warning, to Python."""
        return any(path.stat().st_size for path in (tmp_path / "temporary").rglob("stdin"))

    ran = await stopped_when(is_copying, number, process)
    assert (128 + number, {}) == (ran.code, tree(tmp_path)), ran.err
    assert "Traceback" not in ran.err


async def test_a_closed_terminal_does_not_stop_what_ignores_it(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """`nohup`: SIGHUP is ignored from the beginning, and stays so."""
    write_documents(tmp_path / "in", DOCUMENTS)
    shell = 'trap \'\' HUP; exec "$0" -m passthrough ocr "$@"'
    process = await start(tmp_path, "--sandbox", *FLAGS, shell=shell)
    ran = await stopped_when((tmp_path / "out").exists, signal.SIGHUP, process)
    assert 0 == ran.code, ran.err
    assert undisturbed == outputs(tmp_path / "out")


async def test_two_runs_at_once(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """Each document is done by one of them: no page is billed twice, and what the other has is said."""
    for name in ("server", "desk"):
        (tmp_path / name).mkdir()
    desk = tmp_path / "desk"
    write_documents(desk / "in", DOCUMENTS)
    async with program(tmp_path / "server", routes(), "--sandbox") as running:
        both = [await start(desk, *FLAGS, env=environ(running)) for _ in range(2)]
        ran = await asyncio.gather(*map(ended, both))
        assert {each.code for each in ran} <= {0, 1}, ran
        assert undisturbed == outputs(desk / "out")
        assert {MANIFEST} == hidden(desk / "out")
        assert [PAGES, PAGES] == [(await booked_pages(running))[0], sum(each.pages for each in ran)]
    lines = [json.loads(line) for each in (desk / "out").rglob(MANIFEST) for line in each.read_bytes().splitlines()]
    assert len(DOCUMENTS) == len(lines)
