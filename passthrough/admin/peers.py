"""The other workers of the same program: each worker's admin port shows health, metrics and budgets of all."""

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
from .deployment_status import DeploymentStatus, merged
from .exposition import sum_texts
from .health import Condition, Phase
from .listener import AdminListener

RESPONSE_S: Final = 2.0
"""How long another worker has for its response, less than operators wait; one that is later counts as dead."""

_SOCKET: Final = ".sock"
_METRICS: Final = ".metrics"


class WorkerPeers:
    """Asks the other workers, over the Unix sockets in their common folder. Belongs to the event loop.

    The last metrics of each worker are kept in a file beside its socket: they still count after its death, so that a sum never
    falls. The worker that an operator asks writes and reads these files.
    """

    def __init__(self, worker: WorkerContext) -> None:
        self._worker = worker

    @classmethod
    async def join(cls, worker: WorkerContext, listener: AdminListener, stack: AsyncExitStack) -> WorkerPeers:
        """Let the other workers ask `listener`, until the stack is left."""
        path = worker.folder / (worker.name + _SOCKET)
        server = await asyncio.get_running_loop().create_unix_server(listener, path)
        made = cls(worker)
        stack.callback(made.leave)
        stack.callback(server.close)
        return made

    def leave(self) -> None:
        """Remove this worker's socket. Where the supervisor has died, the last worker removes the folder."""
        folder = self._worker.folder
        (folder / (self._worker.name + _SOCKET)).unlink(missing_ok=True)
        if self._worker.is_orphan and not any(folder.glob("*" + _SOCKET)):
            shutil.rmtree(folder, ignore_errors=True)

    async def condition(self, own: Condition) -> Condition:
        """Return the condition of all workers: ready while one serves, degraded where one is degraded or missing."""
        if self._worker.current_stage() is not Stage.SERVING:
            phase = Phase.STARTING if self._worker.current_stage() is Stage.STARTING else Phase.DRAINING
            return Condition(False, phase.value, {})
        found = {self._worker.name: own}
        for name, body in (await self._ask_all("/readyz")).items():
            its = json.loads(body)
            found[name] = Condition(its["status"] in {"ok", "degraded"}, its["status"], its["degraded"])
        serving = {name: each for name, each in found.items() if each.ready}
        degraded = {
            part: _explain(part, serving) for part in sorted({part for each in serving.values() for part in each.degraded})
        }
        if len(serving) < self._worker.count:
            degraded["workers"] = f"Of {self._worker.count} workers {len(serving)} serve now."
        return Condition(True, "degraded" if degraded else "ok", degraded)

    async def metrics(self, own: bytes) -> bytes:
        """Return the metrics of all workers together, in Prometheus' text format."""
        texts = {self._worker.name: own, **await self._ask_all("/metrics")}
        return await asyncio.to_thread(self._sum_texts, texts)

    async def budgets(self, own: Sequence[BudgetStatus]) -> Sequence[BudgetStatus]:
        """Return the budgets of all workers together: `reserved` adds up.

        All read `spent` in the ledger at some moment, and within a period it only grows: the largest value is the latest.
        """
        found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for body in (await self._ask_all("/budgets")).values():
            for one in json.loads(body, parse_float=Decimal)["budgets"]:
                found.setdefault((one["scope"], one["name"], one["unit"], one["per"]), []).append(one)
        return [_merge(status, found.get(_key(status), ())) for status in own]

    async def deployments(self, own: Sequence[DeploymentStatus]) -> Sequence[DeploymentStatus]:
        """Return the deployments of all workers together: counts add up; one cools while it cools in any worker."""
        found: dict[str, list[dict[str, Any]]] = {}
        for body in (await self._ask_all("/deployments")).values():
            for one in json.loads(body)["deployments"]:
                found.setdefault(one["deployment"], []).append(one)
        return [merged(status, found.get(status.deployment, ())) for status in own]

    # ── requests to the other workers ──

    async def _ask_all(self, path: str) -> dict[str, bytes]:
        """Return the others' response bodies by their names, without those that do not respond in time."""
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
    """Write a file atomically: it is whole at every moment, also where two workers write it."""
    made = path.with_name(f"{path.name}-{os.urandom(4).hex()}")
    made.write_bytes(text)
    made.replace(path)


def _explain(part: str, serving: Mapping[str, Condition]) -> str:
    """Return why a part is degraded: one reason where all workers have the same, else one for each worker."""
    reasons = {name: each.degraded[part] for name, each in serving.items() if part in each.degraded}
    if len(reasons) == len(serving) and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "\n".join(f"worker {name.partition('-')[0]}: {why}" for name, why in sorted(reasons.items()))


def _key(status: BudgetStatus) -> tuple[str, ...]:
    budget = status.budget
    return budget.scope.kind, budget.scope.name, str(budget.unit), str(budget.per)


def _merge(own: BudgetStatus, others: Sequence[Mapping[str, Any]]) -> BudgetStatus:
    scale = NANO if own.is_money else 1
    spent = max([own.spent, *(int(other["spent"] * scale) for other in others)])
    reserved = own.reserved + sum(int(other["reserved"] * scale) for other in others)
    unpriced = next(filter(None, (own.unpriced, *(other["unpriced"] for other in others))), None)
    return replace(own, spent=spent, reserved=reserved, unpriced=unpriced)
