"""The state of a deployment, of `model_list` or of an endpoint's `targets`: for the metrics, and as JSON for the dashboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..accounting.money import Number, json_object


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One deployment in this process. `target` is where its calls go.

    `model_group` is the name that clients send. A target of an endpoint has the endpoint's path there, and no `provider`.

    `in_flight` are its calls under way. `tries` are those that have ended since the start, by outcome: `answered`, or the reason
    of a failure. `cooldowns` are counted by reason. `cooling` is the reason of the cool-down that lasts until `until_utc` (in
    seconds since the epoch), None: it takes calls.
    """

    model_group: str
    deployment: str
    provider: str | None
    target: str
    order: int
    weight: float
    in_flight: int
    tries: Mapping[str, int]
    cooldowns: Mapping[str, int]
    cooling: str | None = None
    until_utc: float | None = None


def deployments_json(statuses: Sequence[DeploymentStatus]) -> str:
    """Return the deployments as one JSON object, in the order of the file."""
    return json_object((("deployments", Number(f"[{', '.join(map(_one, statuses))}]")),))


def merged(own: DeploymentStatus, others: Sequence[Mapping[str, Any]]) -> DeploymentStatus:
    """Return a deployment's state in all workers, given the JSON objects of the others: of its cool-downs the last to end."""
    cooling = [(own.until_utc, own.cooling)] if own.until_utc is not None else []
    cooling += [(datetime.fromisoformat(other["until"]).timestamp(), other["cooling"]) for other in others if other["until"]]
    until_utc, reason = max(cooling, default=(None, None))
    return replace(
        own,
        in_flight=own.in_flight + sum(other["in_flight"] for other in others),
        tries=_summed(own.tries, [other["tries"] for other in others]),
        cooldowns=_summed(own.cooldowns, [other["cooldowns"] for other in others]),
        cooling=reason,
        until_utc=until_utc,
    )


def _summed(own: Mapping[str, int], others: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    counts = Counter(own)
    for other in others:
        counts.update(other)
    return counts


def _one(status: DeploymentStatus) -> str:
    return json_object(
        (
            ("model_group", status.model_group),
            ("deployment", status.deployment),
            ("provider", status.provider),
            ("target", status.target),
            ("order", status.order),
            ("weight", Number(f"{status.weight:g}")),
            ("in_flight", status.in_flight),
            ("tries", _counts(status.tries)),
            ("cooldowns", _counts(status.cooldowns)),
            ("cooling", status.cooling),
            ("until", None if status.until_utc is None else _instant(status.until_utc)),
        )
    )


def _counts(counts: Mapping[str, int]) -> Number:
    return Number(json_object(tuple(sorted(counts.items()))))


def _instant(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
