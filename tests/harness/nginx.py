"""The nginx that is shipped for replicas, started by its own script, on ports of loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.harness.name_server import NameServer
from tests.harness.ports import free_port
from tests.harness.process import clean_environment
from tests.harness.waiting import WAIT_S, eventually

SHIPPED = Path(__file__).parents[2] / "deploy/replicas/nginx"
REPLICAS = "replicas"
"""The name that the name server has the replicas' addresses under."""

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""Debian's nginx is where only root looks."""
WHY_NOT = "" if shutil.which("nginx", path=PATH) and sys.platform == "linux" else "there is no nginx here, or no 127.0.0.2"


def prepared(folder: Path, port: int, resolv: str) -> Path:
    """Copy the shipped files, changed in two things: the port, and where nginx writes; with a resolv.conf. Return the script."""
    folder.mkdir()
    (folder / "resolv.conf").write_text(resolv)
    for source in SHIPPED.iterdir():
        text = source.read_text("utf-8").replace("/tmp/nginx", str(folder / "run"))
        (folder / source.name).write_text(text.replace("listen 4000;", f"listen 127.0.0.1:{port};"))
    return folder / "start.sh"


@dataclass(slots=True)
class Nginx:
    """A running nginx."""

    process: asyncio.subprocess.Process
    port: int

    async def stop(self) -> int:
        """Stop it as the composition does: requests end. Return its exit code."""
        self.process.send_signal(signal.SIGQUIT)
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()


async def _accepts(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


@asynccontextmanager
async def nginx(folder: Path, names: NameServer, replicas_port: int) -> AsyncIterator[Nginx]:
    """Run it before replicas that listen on one port of the addresses that the name server gives."""
    port = free_port()
    script = prepared(folder, port, f"search example\nnameserver 127.0.0.1:{names.port}\noptions ndots:0\n")
    environment = clean_environment(PATH=PATH, RESOLV_CONF=str(folder / "resolv.conf"), REPLICAS=f"{REPLICAS}:{replicas_port}")
    # Root's nginx gives its workers to another user, who may not enter the tests' folders.
    more = ("-g", "user root;") if os.geteuid() == 0 else ()
    with (folder / "errors").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *("sh", str(script), *more),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        await eventually(lambda: _accepts(port), lambda accepts: accepts or process.returncode is not None)
        assert process.returncode is None, (folder / "errors").read_text()
        yield Nginx(process, port)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # the session that it leads: its workers, too
            await process.wait()
