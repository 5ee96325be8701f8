"""A Prometheus of the tests' own, on loopback: it runs the shipped rules, asks often, and forgets all at its end."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.harness.expressions import DEPLOY
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

with_prometheus = pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no prometheus")
SCRAPE_INTERVAL = "1s"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **parameters: str) -> Any:
        """Return what its API answers. Raises AssertionError for what it does not understand."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            found = json.loads(await response.text())
        assert "success" == found["status"], found
        return found["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, now."""
        found: list[dict[str, Any]] = (await self.get("query", query=expression))["result"]
        return found

    async def targets(self) -> dict[str, tuple[str, str]]:
        """Return each instance's health and its last error."""
        active = (await self.get("targets", state="active"))["activeTargets"]
        return {each["labels"]["instance"]: (each["health"], each["lastError"]) for each in active}


def configuration(key_file: Path, *instances: str) -> str:
    """Return the shipped configuration for these instances: they are named, and the key is in this file."""
    shipped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text("utf-8"))
    shipped["global"] = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL, "evaluation_interval": "1s"}
    shipped["rule_files"] = [str(DEPLOY / name) for name in shipped["rule_files"]]
    (job,) = shipped["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": list(instances)}]
    job["authorization"]["credentials_file"] = str(key_file)
    return json.dumps(shipped)


def _written(folder: Path, text: str) -> Path:
    """Write the configuration; return the file of what Prometheus says."""
    folder.mkdir()
    (folder / "prometheus.yaml").write_text(text)
    return folder / "said"


@asynccontextmanager
async def prometheus(folder: Path, text: str) -> AsyncIterator[Prometheus]:
    """Run one with this configuration, with its data in `folder`, which is made."""
    port = free_port()
    with _written(folder, text).open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *("prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        async with aiohttp.ClientSession() as session:

            async def ready() -> int:
                assert process.returncode is None, (folder / "said").read_text()
                try:
                    async with session.get(f"http://127.0.0.1:{port}/-/ready") as response:
                        return response.status
                except aiohttp.ClientConnectionError:
                    return 0

            await eventually(ready, lambda status: status == 200)
            yield Prometheus(f"http://127.0.0.1:{port}", session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
