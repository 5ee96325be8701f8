"""A process that begins a batch job, and kills itself at a step."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import ClientSession

from tests.harness.batch_desk import Desk
from tests.harness.sandbox_caller import Caller


def main(folder: str, base: str, at: int) -> None:
    """Begin a job of a desk, and exit with 9 at the step of this number, which is the last that is printed."""
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        os.write(1, f"{name}\n".encode())
        if seen == at:
            os._exit(9)
        seen += 1

    async def begun() -> None:
        async with ClientSession() as session:
            await Desk(Path(folder), Caller(session, base)).begin(step)

    asyncio.run(begun())
