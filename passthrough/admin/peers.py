"""The other workers of the same program: whichever of them is asked, the answer is that of all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

from ..accounting.money import NANO
from ..worker import Stage, WorkerContext
from .budget_status import BudgetStatus
from .exposition import sum_texts
from .health import Condition, Phase
from .listener import AdminListener

RESPONSE_S: Final = 2.0
"""How long another worker has for its answer, less than who asks waits; one that is later counts as dead."""

_SOCKET: Final = ".sock"
_METRICS: Final = ".metrics"


class WorkerPeers:
    """Asks the other workers, by the Unix sockets in their common folder. Belongs to the event loop.

    What a worker told last of what it counted is kept in a file beside its socket: after its death that still counts, so that a
    sum never falls. Whoever is asked by an operator writes and reads these files.
    """

    def __init__(self, worker: WorkerContext) -> None:
        self._worker = worker

    @classmethod
    async def join(cls, worker: WorkerContext, listener: AdminListener, stack: AsyncExitStack) -> WorkerPeers:
        """Let the others ask `answering`, until the stack is left."""
        path = worker.folder / (worker.name + _SOCKET)
        server = await asyncio.get_running_loop().create_unix_server(listener, path)
        made = cls(worker)
        stack.callback(made.leave)
        stack.callback(server.close)
        return made

    def leave(self) -> None:
        """Let nobody ask here any more; the last one clears the folder up, where the parent cannot."""
        folder = self._worker.folder
        (folder / (self._worker.name + _SOCKET)).unlink(missing_ok=True)
        if self._worker.is_orphan and not any(folder.glob("*" + _SOCKET)):
            shutil.rmtree(folder, ignore_errors=True)

    async def condition(self, own: Condition) -> Condition:
        """Return how all are: ready while some serve, degraded where one of them is or is missing."""
        if self._worker.stands() is not Stage.SERVING:
            phase = Phase.STARTING if self._worker.stands() is Stage.STARTING else Phase.DRAINING
            return Condition(False, phase.value, {})
        found = {self._worker.name: own}
        for name, body in (await self._ask_all("/readyz")).items():
            said = json.loads(body)
            found[name] = Condition(said["status"] in {"ok", "degraded"}, said["status"], said["degraded"])
        serving = {name: each for name, each in found.items() if each.ready}
        degraded = {
            part: _explain(part, serving) for part in sorted({part for each in serving.values() for part in each.degraded})
        }
        if len(serving) < self._worker.count:
            degraded["workers"] = f"Of {self._worker.count} workers {len(serving)} serve now."
        return Condition(True, "degraded" if degraded else "ok", degraded)

    async def metrics(self, own: bytes) -> bytes:
        """Return what all count together, in Prometheus' text."""
        texts = {self._worker.name: own, **await self._ask_all("/metrics")}
        return await asyncio.to_thread(self._sum_texts, texts)

    async def budgets(self, own: Sequence[BudgetStatus]) -> Sequence[BudgetStatus]:
        """Return how budgets stand: what is spent all read in the ledger, and who knows more knows it later; reserved adds up."""
        found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for body in (await self._ask_all("/budgets")).values():
            for one in json.loads(body, parse_float=Decimal)["budgets"]:
                found.setdefault((one["scope"], one["name"], one["unit"], one["per"]), []).append(one)
        return [_merge(status, found.get(_key(status), ())) for status in own]

    # ── questions ──

    async def _ask_all(self, path: str) -> dict[str, bytes]:
        """Return what the others answer, by their names; without those that do not, in time."""
        names = [found.stem for found in self._worker.folder.glob("*" + _SOCKET) if found.stem != self._worker.name]
        responses = await asyncio.gather(*(_ask(self._worker.folder / (name + _SOCKET), path) for name in names))
        return {name: body for name, body in zip(names, responses, strict=True) if body is not None}

    def _sum_texts(self, texts: Mapping[str, bytes]) -> bytes:
        for name, text in texts.items():
            _write_whole(self._worker.folder / (name + _METRICS), text)
        dead = [path.read_bytes() for path in self._worker.folder.glob("*" + _METRICS) if path.stem not in texts]
        return sum_texts(texts.values(), dead)


async def _ask(socket: Path, path: str) -> bytes | None:
    try:
        async with (
            ClientSession(connector=UnixConnector(str(socket)), timeout=ClientTimeout(RESPONSE_S)) as session,
            session.get("http://localhost" + path) as response,
        ):
            return await response.read() if response.status in {200, 503} else None
    except (ClientError, OSError, TimeoutError):  # It has died, or is about to.
        return None


def _write_whole(path: Path, text: bytes) -> None:
    """Write a file that is whole at every moment, whoever else writes it."""
    made = path.with_name(f"{path.name}-{os.urandom(4).hex()}")
    made.write_bytes(text)
    made.replace(path)


def _explain(part: str, serving: Mapping[str, Condition]) -> str:
    """Return why a part is degraded: once where it is the same in all, else of each worker."""
    said = {name: each.degraded[part] for name, each in serving.items() if part in each.degraded}
    if len(said) == len(serving) and len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "\n".join(f"worker {name.partition('-')[0]}: {why}" for name, why in sorted(said.items()))


def _key(status: BudgetStatus) -> tuple[str, ...]:
    budget = status.budget
    return budget.scope.kind, budget.scope.name, str(budget.unit), str(budget.per)


def _merge(own: BudgetStatus, others: Sequence[Mapping[str, Any]]) -> BudgetStatus:
    scale = NANO if own.is_money else 1
    spent = max([own.spent, *(int(other["spent"] * scale) for other in others)])
    return replace(own, spent=spent, reserved=own.reserved + sum(int(other["reserved"] * scale) for other in others))
