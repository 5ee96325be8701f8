"""The calls of the API, on both event loops: the tests' own, and the one that `passthrough ocr` runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on both: their transports differ in how a broken connection shows."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """A file of 16 MB, more than the system's buffers of a connection hold."""
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 65536)
    return path
