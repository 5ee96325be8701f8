"""Commands without the half second of their imports: a process that has imported the program forks for each of them.

A command runs in a process of its own, with an environment, a folder and streams of its own, and ends as `python -m passthrough`
ends. What decides how Python itself starts (its variables, the locale, the user) must be as it was for the imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

_FREE = re.compile(r"PASSTHROUGH_|MISTRAL_|AZURE_|(COLUMNS|LINES|NO_COLOR|FORCE_COLOR|PYTEST_CURRENT_TEST)$")
"""Variables that are read when a command runs, not when Python starts or a module is imported."""

_SERVER = """
import gc, importlib, json, os, pkgutil, runpy, signal, socket, sys

import passthrough

for each in pkgutil.walk_packages(passthrough.__path__, "passthrough."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
gc.freeze()  # else each process walks all of it when it ends, and copies it
asked = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    message, streams, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    if not message:
        sys.exit()
    waits = os.fork() == 0
    if waits:
        break
    for each in streams:
        os.close(each)
    asked.send(b"!")
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
asked.close()
out, err, ended = streams
if child := os.fork():
    os.close(out)
    os.close(err)
    os.write(ended, b"%d " % child)
    os.write(ended, b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)
os.close(ended)
os.dup2(out, 1)
os.dup2(err, 2)
os.close(out)
os.close(err)
folder, arguments, environment = json.loads(message)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
sys.argv = ["passthrough", *arguments]
runpy.run_module("passthrough", run_name="__main__", alter_sys=True)
"""


class Preloaded:
    """The process that forks, from its first command to the end of the tests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._asks, theirs = socket.socketpair()
        self._environment = _fixed(environment)
        self._user = os.geteuid()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )

    def serves(self, folder: Path, environment: Mapping[str, str]) -> bool:
        """Tell whether a command is the same here as one that Python was started for: it must find the same modules, too."""
        same = (self._environment, self._user) == (_fixed(environment), os.geteuid())
        return same and not any(folder.glob("*.py"))

    async def run(self, folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
        """Run a command, and return its exit code and what it wrote."""
        pipes = [os.pipe() for _ in range(3)]
        message = json.dumps([str(folder), arguments, dict(environment)]).encode()
        socket.send_fds(self._asks, [message], [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        assert self._asks.recv(1) == b"!", self._said()
        async with AsyncExitStack() as stack:
            out, err, ended = [await stack.enter_async_context(_reading(read)) for read, _ in pipes]
            process = int(await ended.readuntil(b" "))
            try:
                said, complained, code = await asyncio.gather(out.read(), err.read(), ended.read())
            except asyncio.CancelledError:
                os.kill(process, signal.SIGKILL)
                raise
            return int(code), said, complained

    def _said(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    def close(self) -> None:
        """End the process."""
        self._asks.close()
        self._process.communicate()


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not _FREE.match(name)}


@asynccontextmanager
async def _reading(end: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(end, "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    with closing(transport):
        yield reader
