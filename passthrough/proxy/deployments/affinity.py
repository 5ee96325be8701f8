"""Which of several targets a client's requests stay with: weighted rendezvous hashing, the same in every process; pure.

Each target draws a number from 0 to 1 by its id and the client's name, and the client's targets are ranked by their draws. With
weights, the draw u counts as -ln(u) / weight, and the least comes first: a target's share of all clients is its share of the
weights (Schindelhauer, Schomaker: Weighted Distributed Hash Tables, 2005). A target that leaves moves only the clients that were
with it, and one that comes moves only those that it wins. Targets of a lower `order` come before all others, and one without
weight comes last in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Final

from .deployment import Deployment

_MAX_CLIENTS: Final = 4096
_DRAWS: Final = 1 << 53  # as many as a float tells apart


class Affinity:
    """Ranks some targets for each client. The ranks of the last few thousand clients are kept."""

    __slots__ = ("_deployments", "_ranked")

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self._deployments = deployments
        self._ranked: dict[str, tuple[Deployment, ...]] = {}

    def ranked(self, client: str) -> tuple[Deployment, ...]:
        """Return all targets in the order in which this client goes to them; the first is its home."""
        ranked = self._ranked.get(client)
        if ranked is None:
            ranked = tuple(sorted(self._deployments, key=lambda each: _rank(each, client)))
            if len(self._ranked) >= _MAX_CLIENTS:
                del self._ranked[next(iter(self._ranked))]
            self._ranked[client] = ranked
        return ranked


def _rank(deployment: Deployment, client: str) -> tuple[int, bool, float]:
    """Return what a client's targets are sorted by."""
    drawn = blake2b(f"{client}\0{deployment.id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    cost = -log(((int.from_bytes(drawn) >> 11) + 0.5) / _DRAWS)
    weight = deployment.weight
    return deployment.order, weight <= 0, cost / weight if weight > 0 else cost
