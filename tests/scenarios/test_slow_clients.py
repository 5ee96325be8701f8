"""Many slow clients at once: a few buffers for each, whatever they send or ask for, and everybody else is served."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.slow_clients import NORMAL, memory_of

pytestmark = pytest.mark.process

CLIENTS = 100
"""`python -m tests.soak.slow_clients` does it with 500."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")
@pytest.mark.parametrize("megabytes", [8, 64])
async def test_memory_is_bounded_by_the_number_of_clients_and_not_by_their_bodies(tmp_path: Path, megabytes: int) -> None:
    """Those that read or write slowly, or not at all, cost a few buffers each; others are answered right meanwhile, and after."""
    memory = await memory_of(tmp_path, clients=CLIENTS, size=megabytes * 2**20)
    assert CLIENTS == memory.held
    assert memory.normal >= NORMAL
    assert memory.most < memory.bound(CLIENTS)
