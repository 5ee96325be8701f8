"""The program as its user starts it: a process, a configuration on disk, its log on stdout, its words on stderr."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.harness.preloaded import Preloaded

WAIT_S = 90.0
"""How long a test waits for what must happen; only a failure ever takes so long, or a start on a very busy machine."""


_CONFIGURES = re.compile(
    "PASSTHROUGH_|NOTIFY_SOCKET|OTEL_|MISTRAL_|AZURE_|GOOGLE_|GCE_|CLOUDSDK_|IDENTITY_|MSI_|SSL_CERT_|(COLUMNS|LINES)$|(?i:(https?|all|no)_proxy)$"
)
"""Variables that would configure the program, its terminal, or the libraries that fetch tokens."""


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would configure the program or its terminal, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not _CONFIGURES.match(name)}
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **more}


@dataclass(slots=True)
class Program:
    """A running `passthrough serve`."""

    process: asyncio.subprocess.Process
    folder: Path
    port: int = 0
    admin_port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    raw_log: list[bytes] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where its routes are."""
        return f"http://127.0.0.1:{self.port}"

    async def _pump_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self.news:
                self.raw_log.append(line)
                self.log.append(json.loads(line))
                self.news.notify_all()

    async def _pump_said(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self.news:
                self.said.append(line.decode())
                self.news.notify_all()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until stderr holds the pattern."""
        return await self._until(lambda: re.search(pattern, "".join(self.said)), f"{pattern!r} on stderr")

    async def logs(self, count: int) -> list[dict[str, Any]]:
        """Wait until the log has `count` lines and return them all."""
        return await self._until(lambda: self.log if len(self.log) >= count else None, f"{count} lines of log")

    async def _until(self, found: Any, wanted: str) -> Any:
        try:
            async with asyncio.timeout(WAIT_S), self.news:
                while (result := found()) is None:
                    if self.process.returncode is not None:
                        break
                    with contextlib.suppress(TimeoutError):  # The end of the process is no news on a stream.
                        await asyncio.wait_for(self.news.wait(), 0.2)
                else:
                    return result
        except TimeoutError:
            pass
        raise AssertionError(f"Not seen: {wanted}. stderr:\n{''.join(self.said)}\nlog: {self.log[-3:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end of the process and of what it wrote; return its exit code."""
        async with asyncio.timeout(WAIT_S):
            code = await self.process.wait()
            await asyncio.gather(*self.pumps)
        return code

    async def stop(self) -> int:
        """Stop it as an orchestrator does."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.ended()

    async def command(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        """Run another command in the same folder."""
        return await command(self.folder, *arguments, **more)


@cache
def _preloaded() -> Preloaded:
    made = Preloaded(clean_environment())
    atexit.register(made.close)
    return made


async def command(folder: Path, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Run `passthrough …` in a folder; return exit code, stdout, stderr."""
    environment = clean_environment(**more)
    async with asyncio.timeout(WAIT_S):
        if _preloaded().serves(folder, environment):
            code, out, err = await _preloaded().run(folder, arguments, environment)
            return code, out.decode(), err.decode()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "passthrough", *arguments),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def program(folder: Path, config: str | None, *flags: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """Run `passthrough serve` on free ports in `folder`, with `config` as its routes.yaml."""
    if config is not None:
        (folder / "routes.yaml").write_text(config)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", "serve", "--port", "0", "--admin-port", "0", *flags),
        cwd=folder,
        env=clean_environment(**(env or {})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    running = Program(process, folder)
    running.pumps = [asyncio.create_task(running._pump_log()), asyncio.create_task(running._pump_said())]
    try:
        ports = await running.says(r"Listening on \w+://\S+:(\d+), admin on \S+:(\d+)\.")
        running.port, running.admin_port = int(ports[1]), int(ports[2])
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()
