"""What the admin port shows of the deployments: the proxy's state in the words of the other side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..admin.deployment_status import DeploymentStatus
from ..proxy.deployments.balancer import Balancer
from ..proxy.deployments.deployment import Deployment


def deployment_statuses(
    deployments: Iterable[Deployment], balancer: Balancer, now_utc: float, now: float
) -> list[DeploymentStatus]:
    """Return the state of each deployment, in the same order; `now` is the balancer's clock."""
    cooling = {name: (reason, now_utc + until - now) for name, reason, until in balancer.cooling()}
    tries = _by_deployment(balancer.tries)
    cooldowns = _by_deployment(balancer.cooldowns)
    found = []
    for each in deployments:
        reason, until_utc = cooling.get(each.id, (None, None))
        found.append(
            DeploymentStatus(
                each.group,
                each.id,
                None if each.provider is None else str(each.provider),
                each.target.name,
                each.order,
                each.weight,
                balancer.under_way(each),
                tries[each.id],
                cooldowns[each.id],
                reason,
                until_utc,
            )
        )
    return found


def _by_deployment(counts: dict[tuple[str, str], int]) -> defaultdict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (name, outcome), count in list(counts.items()):
        found[name][outcome] = count
    return found
