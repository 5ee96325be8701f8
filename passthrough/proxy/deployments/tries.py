"""The tries of one request: which deployment is next, and whether a failure is relayed or another try follows; pure.

1. A client fault (400, 404, 413, 422 and every status that no rule names) is relayed.
2. After a failed connect, and where the deployment's token could not be fetched, another one is tried always, for nothing was
   sent; it counts as a retry, and needs none to be left.
3. After 401, 403, 408, 429, 503 another is tried while the body is in hand and retries are left: the deployment's
   `num_retries`, else the router's, else two.
4. After 500, 502, 504, a time-out and a broken connection (the call may have been billed), only where the file has `num_retries`.
5. One that failed this request is chosen only where no other is free; then by rule 6.
6. A deployment that failed this request is tried again after 408, 429, 503: after Retry-After (more than 60 s: relayed), else
   after 0.5 to 8 s, and at least `retry_after`; the last one once more, at once, after a failed connect, but not without a
   token: the fetch has its own pauses.
7. Without another try in the group, its fallbacks follow, each group once, with retries of its own.
8. A request with a `file_id` stays at its first deployment: only rule 6 holds, without fallbacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from ...errors import Refusal
from ..retry_wait import doubled_delay_s
from .balancer import Balancer, Failed
from .deployment import BILLED, RESENT, Deployment, ModelGroup
from .model_table import ModelTable

MAX_WAIT_S: Final = 60.0
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


_RELAY: Final = Verdict(goes_on=False)
_LACKS_BODY: Final = Verdict(goes_on=False, lacks_body=True)


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
        """Return the deployment to try. Raises Refusal `no_deployment` where all cool down, those of the fallbacks too."""
        chosen, self._chosen = self._chosen, None
        if chosen is None:
            first = self._group
            chosen = self._balancer.choose(first, self._table.routing) or self._fall_back()
            if chosen is None:
                wait_s = max(1, ceil(min(map(self._balancer.free_in_s, (first, *self._table.fallbacks(first))))))
                raise Refusal("no_deployment", "No deployment of this model is free.", retry_after_s=wait_s)
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
        if not _may_go_on(failed, is_given=own is not None):
            return _RELAY
        if failed.was_sent and not failed.repeatable:
            return _LACKS_BODY
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
            return self._retry(deployment, 0.0) if self._failed[deployment.id] == 1 else _RELAY
        if failed.status not in _SAME_AGAIN or not has_retries:
            return _RELAY
        wait_s = failed.retry_after_s
        if wait_s is None:
            wait_s = doubled_delay_s(self._failed[deployment.id], self._balancer.chance())
        wait_s = max(wait_s, self._table.routing.retry_after_s)
        return self._retry(deployment, wait_s) if wait_s <= MAX_WAIT_S else _RELAY

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


def _may_go_on(failed: Failed, *, is_given: bool) -> bool:
    """Tell whether another try may follow a failure at all (rules 1 to 4). `is_given`: `num_retries` is in the file."""
    if not failed.was_sent:
        return True
    if failed.cause or failed.status in BILLED:
        return is_given
    return failed.status in RESENT
