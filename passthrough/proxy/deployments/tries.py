"""The tries of one request: which deployment is next, and whether a failure is relayed or another try follows; pure.

1. A client fault (400, 404, 413, 422 and every status that no rule names) is relayed.
2. After a failed connect, and where the deployment's token could not be fetched, another one is tried always, for nothing was
   sent; it counts as a retry, and needs none to be left.
3. After 401, 403, 408, 429, 503 another is tried while the body is in hand and retries are left: the deployment's
   `num_retries`, else the router's, else two.
4. After 500, 502, 504, a time-out and a broken connection (the call may have been billed), only where the file has `num_retries`.
   Where `Routing.statuses` are given, they hold instead of those of 3 and 4.
5. One that failed this request is chosen only where no other is free; then by rule 6.
6. A deployment that failed this request is tried again after 408, 429, 503 (where `Routing.statuses` are given: after those, but
   for 401 and 403): after Retry-After (more than `Routing.max_wait_s`: relayed), else after 0.5 to 8 s, and at least
   `retry_after`; the last one once more, at once, after a failed connect, but not without a token: the fetch has its own pauses.
7. Without another try in the group, its fallbacks follow, each group once, with retries of its own.
8. A request with a `file_id` stays at its first deployment: only rule 6 holds, without fallbacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from ...errors import Failure, Reason, Refusal, UpstreamFailure
from ..retry_wait import doubled_delay_s
from .balancer import REJECTED, Balancer, Failed
from .deployment import BILLED, RESENT, Deployment, ModelGroup, Routing
from .model_table import ModelTable

_DEFAULT_RETRIES: Final = 2
_SAME_AGAIN: Final = frozenset({408, 429, 503})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a failure: `next()` after `after_s` seconds where `goes_on`, else the failure is relayed.

    `lacks_body`: another try would have been allowed, but the body could not be sent again.
    """

    goes_on: bool
    after_s: float = 0.0
    lacks_body: bool = False


RELAY: Final = Verdict(goes_on=False)
LACKS_BODY: Final = Verdict(goes_on=False, lacks_body=True)


class Tries:
    """One request's tries. Call `next`, then `judge` for each failure; `retries` and `fallbacks` are those made so far.

    The caller tells the balancer of `enter`, `leave` and `succeeded`; `judge` tells it of failures.
    """

    __slots__ = (
        "_balancer",
        "_chosen",
        "_current",
        "_failed",
        "_group",
        "_left",
        "_retries_here",
        "_table",
        "fallbacks",
        "retries",
    )

    def __init__(self, table: ModelTable, group: ModelGroup, balancer: Balancer) -> None:
        self._table = table
        self._group = group
        self._balancer = balancer
        self._failed: dict[str, int] = {}  # how often, by deployment
        self._left: list[ModelGroup] | None = None  # fallbacks not yet tried
        self._retries_here = 0
        self._chosen: Deployment | None = None
        self._current: Deployment | None = None
        self.retries = 0
        self.fallbacks = 0

    @property
    def group(self) -> ModelGroup:
        """The group that is tried now: the client's, or a fallback."""
        return self._group

    def next(self) -> Deployment:
        """Return the deployment to try. Raises Failure where all cool down, those of the fallbacks too: see `none_free`."""
        chosen, self._chosen = self._chosen, None
        if chosen is None:
            first = self._group
            chosen = self._balancer.choose(first, self._table.routing) or self._fall_back()
            if chosen is None:
                groups = (first, *self._table.fallbacks(first))
                raise none_free(self._balancer, groups, min(map(self._balancer.free_in_s, groups)))
        self._current = chosen
        return chosen

    def judge(self, failed: Failed) -> Verdict:
        """Count the failure of the last deployment, and return what follows. Each `next` is judged once at most."""
        current, routing = self._current, self._table.routing
        assert current is not None
        alone = len(self._group.deployments) == 1 and not self._table.fallbacks(self._group)
        self._balancer.failed(current, failed, routing, alone)
        self._failed[current.id] = self._failed.get(current.id, 0) + 1
        own = routing.num_retries if current.num_retries is None else current.num_retries
        if not may_go_on(failed, routing, is_given=own is not None):
            return RELAY
        if failed.was_sent and not failed.repeatable:
            return LACKS_BODY
        has_retries = self._retries_here < (_DEFAULT_RETRIES if own is None else own)
        if failed.names_file:
            return self._again(current, failed, has_retries=has_retries)
        if has_retries or not failed.was_sent:
            other = self._balancer.choose(self._group, routing, self._failed)
            if other is not None and other.id not in self._failed:
                return self._retry(other, 0.0)
            again = current if alone else other
            if again is not None and (again is current or failed.was_sent):
                verdict = self._again(again, failed, has_retries=has_retries)
                if verdict.goes_on:
                    return verdict
        self._chosen = self._fall_back()
        return Verdict(goes_on=self._chosen is not None)

    def _retry(self, deployment: Deployment, after_s: float) -> Verdict:
        """Try a deployment of the same group."""
        self._chosen = deployment
        self._retries_here += 1
        self.retries += 1
        return Verdict(goes_on=True, after_s=after_s)

    def _again(self, deployment: Deployment, failed: Failed, *, has_retries: bool) -> Verdict:
        """Try a deployment that failed this request, by rule 6."""
        if failed.cause == "connect":
            return self._retry(deployment, 0.0) if self._failed[deployment.id] == 1 else RELAY
        routing = self._table.routing
        if failed.status not in same_again(routing) or not has_retries:
            return RELAY
        after_s = wait_before(failed, self._failed[deployment.id], routing, self._balancer.chance())
        return RELAY if after_s is None else self._retry(deployment, after_s)

    def _fall_back(self) -> Deployment | None:
        """Go to the next fallback that has a deployment free which did not fail this request."""
        if self._left is None:
            self._left = list(self._table.fallbacks(self._group))
        while self._left:
            group = self._left.pop(0)
            chosen = self._balancer.choose(group, self._table.routing, self._failed)
            if chosen is not None and chosen.id not in self._failed:
                self._group, self._retries_here = group, 0
                self.fallbacks += 1
                return chosen
        return None


def may_go_on(failed: Failed, routing: Routing, *, is_given: bool) -> bool:
    """Tell whether another try may follow a failure at all (rules 1 to 4). `is_given`: `num_retries` is in the file."""
    if not failed.was_sent:
        return True
    if failed.cause:
        return is_given
    if routing.statuses is not None:
        return failed.status in routing.statuses
    return failed.status in RESENT or (is_given and failed.status in BILLED)


def same_again(routing: Routing) -> frozenset[int]:
    """Return the statuses after which the same deployment may be tried again (rule 6)."""
    return _SAME_AGAIN if routing.statuses is None else routing.statuses - REJECTED


def wait_before(failed: Failed, failures: int, routing: Routing, chance: float) -> float | None:
    """Return the seconds before the same deployment is tried again (rule 6), None: that is too long.

    `failures` are those of this request there, this one too; `chance` is from 0 to 1.
    """
    wait_s = failed.retry_after_s
    if wait_s is None:
        wait_s = min(doubled_delay_s(failures, chance), routing.max_wait_s)
    wait_s = max(wait_s, routing.retry_after_s)
    return wait_s if wait_s <= routing.max_wait_s else None


def none_free(balancer: Balancer, groups: Sequence[ModelGroup], wait_s: float) -> Failure:
    """Return the failure of a request for which no deployment of these groups (the first is its own) is free, for this long.

    Where tokens are what all of them lack, or none of an endpoint's targets can be reached, it says that: to wait is no cure.
    """
    reasons = {balancer.unsent_reason(each) for group in groups for each in group.deployments}
    is_endpoint = groups[0].deployments[0].provider is None
    retry_after_s = max(1, ceil(wait_s))
    if reasons == {"credentials"}:
        all_of = "target of this endpoint" if is_endpoint else "deployment of this model"
        what = f"No {all_of} has a token: none was fetched."
        return UpstreamFailure("upstream_credentials", what, retry_after_s=retry_after_s, why=Reason.CREDENTIALS)
    if is_endpoint and None not in reasons:
        what = "No target of this endpoint could be reached just now."
        return UpstreamFailure("upstream_unreachable", what, retry_after_s=retry_after_s, why=Reason.COOLING)
    return Refusal("no_deployment", "No deployment of this model is free.", retry_after_s=retry_after_s, why=Reason.COOLING)
