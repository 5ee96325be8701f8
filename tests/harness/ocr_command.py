"""`passthrough ocr` as its user starts it: a process with a stdin of its own, that can be interrupted, and killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.process import Program, clean_environment

WAIT_S = 120.0
"""How long a test waits for a run's end; only a failure ever takes so long."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: its exit code, and its words. Bytes that are no UTF-8 are escaped in them."""

    code: int
    out: str
    err: str

    @property
    def paths(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()

    @property
    def pages(self) -> int:
        """The pages that its summary says were billed."""
        found = re.findall(r"([\d,]+) pages?\b", self.err)
        assert found, self.err
        return int(found[-1].replace(",", ""))


async def start(
    folder: Path,
    *arguments: str | bytes,
    env: Mapping[str, str] | None = None,
    is_fed: bool = False,
    shell: str | None = None,
) -> asyncio.subprocess.Process:
    """Start `passthrough ocr …` in a folder; its stdin is empty, unless it is to be fed.

    `shell` is a script that starts it in its own way: `$0` is Python there, `$@` the arguments.
    """
    command = [sys.executable, "-m", "passthrough", "ocr"] if shell is None else ["sh", "-c", shell, sys.executable]
    return await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=folder,
        env=clean_environment(**(env or {})),
        stdin=asyncio.subprocess.PIPE if is_fed else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def ended(process: asyncio.subprocess.Process, stdin: bytes | None = None) -> Ran:
    """Wait for the end of a run, which gets these bytes on its stdin."""
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode("utf-8", "backslashreplace"), err.decode("utf-8", "backslashreplace"))


async def ocr(folder: Path, *arguments: str | bytes, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run `passthrough ocr …` in a folder, to its end."""
    return await ended(await start(folder, *arguments, env=env, is_fed=stdin is not None), stdin)


async def stopped_when(claim: Callable[[], bool], number: signal.Signals, process: asyncio.subprocess.Process) -> Ran:
    """Send a run a signal once something holds, or let it end before; return what came of it."""
    async with asyncio.timeout(WAIT_S):
        while not claim() and process.returncode is None:  # noqa: ASYNC110  # it belongs to the program, which sets no event of ours
            await asyncio.sleep(0.001)
    if process.returncode is None:
        process.send_signal(number)
    return await ended(process)


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder, by its path there, with the SHA-256 of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def booked_pages(running: Program) -> tuple[int, float]:
    """Return the pages and the cost that `passthrough usage` has, once nothing is in flight: the program is stopped."""
    assert 0 == await running.stop()
    code, out, err = await running.command("usage", "--format", "json")
    assert (0, "") == (code, err)
    total: dict[str, Any] = json.loads(out)["total"]
    return int(total["pages"]), float(total["cost_usd"] or 0)
