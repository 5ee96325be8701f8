"""The tries of a request that stays with its client's target: files, batches and conversations belong to one account; pure.

1. It goes to the client's home, the first in its ranking, even while that cools down after a 429 or a 5xx: its own response is
   more use than another account's 404.
2. Where nothing can be sent there (a failed connect, no token: now, or so lately that it cools down for that), the next in the
   ranking is taken; it counts as a retry, and needs none to be left. A failed connect of the only target is tried once more.
3. Once something was sent, no other target is taken. The same one is tried again after the statuses of `tries`' rule 6, after a
   kept connection that broke before it responded, and after a failed connect of such a further try: while the body is in hand and
   retries are left, with the waits of that rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from .balancer import Balancer, Failed
from .deployment import Deployment, ModelGroup, Routing
from .tries import LACKS_BODY, RELAY, Verdict, may_go_on, none_free, same_again, wait_before


class StickyTries:
    """One request's tries, as `Tries`: call `next`, then `judge` for each failure. There are no fallbacks."""

    __slots__ = ("_balancer", "_chosen", "_current", "_failures", "_ranked", "_routing", "_unsent", "group", "retries")

    fallbacks = 0

    def __init__(self, group: ModelGroup, ranked: Sequence[Deployment], routing: Routing, balancer: Balancer) -> None:
        """`ranked` are the deployments of the group, in the client's order."""
        self.group = group
        self._ranked = ranked
        self._routing = routing
        self._balancer = balancer
        self._chosen: Deployment | None = None
        self._current: Deployment | None = None
        self._unsent: set[str] = set()  # where nothing could be sent
        self._failures = 0  # since something was sent
        self.retries = 0

    def next(self) -> Deployment:
        """Return the deployment to try. Raises Failure where nothing can be sent to any: see `none_free`."""
        chosen, self._chosen = self._chosen or self._first(), None
        if chosen is None:
            raise none_free(self._balancer, (self.group,), min(map(self._balancer.reachable_in_s, self._ranked)))
        self._current = chosen
        return chosen

    def judge(self, failed: Failed) -> Verdict:
        """Count the failure of the last deployment, and return what follows. Each `next` is judged once at most."""
        current, routing = self._current, self._routing
        assert current is not None
        alone = len(self._ranked) == 1
        self._balancer.failed(current, failed, routing, alone, stays=True)
        if failed.was_sent or self._failures:
            self._failures += 1
            return self._again(current, failed)
        is_first = current.id not in self._unsent
        self._unsent.add(current.id)
        other = self._first()
        if other is None and alone and is_first and failed.cause == "connect":
            other = current
        return RELAY if other is None else self._retry(other, 0.0)

    def _first(self) -> Deployment | None:
        """Return the first in the ranking to which something may be sent."""
        for each in self._ranked:
            if each.id not in self._unsent and not self._balancer.reachable_in_s(each):
                return each
        return None

    def _again(self, deployment: Deployment, failed: Failed) -> Verdict:
        """Try the same deployment, by rule 3."""
        routing = self._routing
        repeats = failed.status in same_again(routing) or failed.stale or failed.cause == "connect"
        if not (repeats and may_go_on(failed, routing, is_given=routing.num_retries is not None)):
            return RELAY
        if self.retries >= (routing.num_retries or 0):
            return RELAY
        if not failed.repeatable:
            return LACKS_BODY
        if failed.stale:
            return self._retry(deployment, 0.0)
        after_s = wait_before(failed, self._failures, routing, self._balancer.chance())
        return RELAY if after_s is None else self._retry(deployment, after_s)

    def _retry(self, deployment: Deployment, after_s: float) -> Verdict:
        self._chosen = deployment
        self.retries += 1
        return Verdict(goes_on=True, after_s=after_s)
