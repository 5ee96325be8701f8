"""A process that begins a batch job, and kills itself at a step."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import ClientSession

from passthrough.client.batch.folder import NAME
from tests.harness.batch_desk import Desk
from tests.harness.process import clean_environment
from tests.harness.sandbox_caller import Caller

ROOT = Path(__file__).parents[2]


def main(folder: str, base: str, at: int | str) -> None:
    """Begin a job of a desk, print its steps, and exit with 9 at the one of this number, or the first of this name."""
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        os.write(1, f"{name}\n".encode())
        if at in {seen, name}:
            os._exit(9)
        seen += 1

    async def begun() -> None:
        async with ClientSession() as session:
            await Desk(Path(folder), Caller(session, base)).begin(step)

    asyncio.run(begun())


def pass_minutes(out: Path) -> None:
    """Let minutes pass for the job in a folder: an order that was cut off is looked for until it must have arrived."""
    state = out / NAME / "state.json"
    before = state.stat().st_mtime - 600
    os.utime(state, (before, before))


async def begun_and_killed(folder: Path, base: str, at: int | str) -> str | None:
    """Run `main` in another process; return the name of its last step, None where it came to the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"from tests.harness.batch_killed import main; main({str(folder)!r}, {base!r}, {at!r})"),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode in {0, 9}
    return out.decode().split()[-1] if process.returncode else None
