"""What a command line of `passthrough ocr` does that the scenarios leave out: stdout, its end, and what is missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.harness.documents import pdf, words_of
from tests.harness.ocr_command import ended, ocr, start, stopped_when
from tests.harness.ocr_results import good, page, response, results

pytestmark = pytest.mark.process


def stored(folder: Path, *markdown: str) -> Path:
    """Write a response of these pages, and return its file."""
    file = folder / "report.json"
    pages = [{"index": index, "markdown": text, "images": []} for index, text in enumerate(markdown)]
    file.write_text(json.dumps({"pages": pages, "model": "m", "usage_info": {"pages_processed": len(pages)}}))
    return file


def leave_response(folder: Path, content: str) -> None:
    """Write what a killed run has stored as the response to the one document that it was at work on."""
    [state] = folder.glob(".passthrough-ocr-work-*/state.json")
    (state.parent / "response-0.json").write_text(content)


async def test_a_stored_response_goes_to_stdout(tmp_path: Path) -> None:
    """As a document does; nothing is written, and no page is billed."""
    stored(tmp_path, "# One", "Two")
    ran = await ocr(tmp_path, "--from", "report.json", "-o", "-", "--separator", r"\n\n({page})\n\n")
    assert (0, "# One\n\n(1)\n\nTwo\n") == (ran.code, ran.out), ran.err
    assert "1 document; 0 pages." == ran.err.strip()
    assert ["report.json"] == os.listdir(tmp_path)


async def test_texts_on_stdout_are_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    """Though several are asked for at once; one that fails leaves no gap."""
    for name in "cab":
        (tmp_path / f"{name}.pdf").write_bytes(pdf(1, f"This is {name}."))
    (tmp_path / "empty.pdf").touch()
    ran = await ocr(tmp_path, "--sandbox", "-o", "-", "--format", "txt", "c.pdf", "empty.pdf", "a.pdf", "b.pdf")
    assert (1, "This is c.\nThis is a.\nThis is b.\n") == (ran.code, ran.out), ran.err
    assert "failed: empty.pdf: " in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize("output", [[], ["-o", "-"]])
async def test_a_full_stdout_ends_the_run(tmp_path: Path, output: list[str]) -> None:
    """It says so, and sends no more than the documents that are under way."""
    for number in range(12):
        (tmp_path / f"{number:02}.pdf").write_bytes(pdf(1))
    script = '"$0" -m passthrough ocr --sandbox --workers 1 "$@" . > /dev/full'
    process = await start(tmp_path, *output, shell=script)
    ran = await ended(process)
    assert 1 == ran.code, ran.err
    assert "passthrough: stdout cannot be written: No space left on device." in ran.err
    assert ran.pages < 12
    assert [] == [name for name in os.listdir(tmp_path) if name.startswith(".passthrough-ocr-work")]


async def test_a_terminal_as_stdin_and_an_empty_folder_say_what_to_do(tmp_path: Path) -> None:
    """There is nothing to read: exit code 1, and a way out."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.md").write_text(words_of(0))
    ran = await ocr(tmp_path, "in")
    assert 1 == ran.code
    assert "1 other file left out" in ran.err
    assert "There is no document in in." in ran.err
    assert "Traceback" not in ran.err


async def test_the_copy_of_stdin_goes_with_the_next_run_after_a_kill(tmp_path: Path) -> None:
    """It is a document that was never meant to be on a disk; a run that is under way keeps its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    desk, env = tmp_path / "desk", {"TMPDIR": str(temporary)}
    desk.mkdir()
    running = [await start(desk, "--sandbox", "-", env=env, is_fed=True) for _ in range(2)]
    await stopped_when(lambda: 2 == len(list(temporary.glob("*/stdin"))), signal.SIGKILL, running[0])
    second = await ocr(desk, "--sandbox", "-", stdin=pdf(1, "Second."), env=env)
    kept = len(list(temporary.glob("*/stdin")))
    first = await ended(running[1], pdf(1, "First."))
    assert ((0, "Second.\n"), (0, "First.\n")) == ((second.code, second.out), (first.code, first.out)), second.err + first.err
    assert (1, []) == (kept, list(temporary.iterdir()))


async def test_files_need_no_folder_for_temporary_ones(tmp_path: Path) -> None:
    """A container may have none that can be written; a run that is killed leaves nothing there, either."""
    (tmp_path / "a.pdf").write_bytes(pdf(1))
    process = await start(tmp_path, "--dry-run", "a.pdf", shell='ulimit -f 0; exec "$0" -m passthrough ocr "$@"')
    ran = await ended(process)
    assert (0, True) == (ran.code, "a.pdf" in ran.out), ran.err


@pytest.mark.parametrize("damage", ["{not json}", '{"detail": "Not Found"}'])
async def test_a_stored_response_that_is_none_is_asked_for_once_more(tmp_path: Path, damage: str) -> None:
    """A run may be killed before it has looked at a response, and a disk may lose it: the document does not fail for good."""
    (tmp_path / "a.pdf").write_bytes(content := pdf(1))
    waits = asyncio.Event()
    async with results({content: [good(response(page(0, "One")), until=waits)]}) as above:
        env = {"PASSTHROUGH_BASE_URL": above.url}
        await stopped_when(lambda: above.tries(content) == 1, signal.SIGKILL, await start(tmp_path, "a.pdf", env=env))
        waits.set()
        leave_response(tmp_path, damage)
        ran = await ocr(tmp_path, "a.pdf", env=env)
        assert (0, "One\n") == (ran.code, (tmp_path / "a.md").read_text()), ran.err
        assert (1, 2) == (ran.pages, above.tries(content))
