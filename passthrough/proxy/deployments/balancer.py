"""Chooses one deployment of a group, and knows which ones cool down and how busy each is; pure: clock and chance are arguments.

Choice, among those that do not cool (one pass over the group):
1. One that did not fail this request comes before one that did.
2. One that is below its `rpm`, `tpm` and `max_parallel` comes before one at a limit. With `enforces_limits`, one at its
   `rpm` or `tpm` is not chosen at all.
3. The lowest `order` comes first.
4. Among equals: at random by weight, or the one with the fewest calls under way (at random among several).
   Where all cool down and `takes_cooling` holds: of those that something could be sent to, first one that did not fail this
   request, then the one whose cool-down ends first.

Cool-down, after a failure:
5. 401, 403, 429, a failed connect and a token that could not be fetched: at once.
6. 408, 5xx, time-outs and broken connections: where the failures of the running minute exceed `allowed_fails`; without that,
   where they are more than half of at least five calls. The minute is the clock's.
7. Any other status says nothing about the deployment. Nor do 401 and 403 of a request that stays with its client's target: an
   account with the least rights rejects what is no OCR call, as often as a client asks for it.
8. A lone deployment without a fallback never cools, for its own response is more honest than ours; nor does any
   with `cools` false.
9. It lasts as long as Retry-After says, up to 600 s, else `cooldown_s`. A later failure never shortens it; a success
   does not end it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from .deployment import Deployment, ModelGroup, Routing, Strategy

MAX_COOLDOWN_S: Final = 600.0
REJECTED: Final = frozenset({401, 403})
_AT_ONCE: Final = REJECTED | {429}
_UNSENT: Final = frozenset({"connect", "credentials"})
_LEAST_CALLS: Final = 5
_MINUTE_S: Final = 60.0
_LEAST_BUSY: Final = Strategy.LEAST_BUSY


@dataclass(frozen=True, slots=True)
class Failed:
    """How one try failed: by a response (`status`), or without one (`cause`, status 0).

    Causes: `connect`; `credentials`, the deployment's token could not be fetched; `timeout`; `broke`. `retry_after_s` is what
    Retry-After asks for. `repeatable`: the body can be sent again and the client has got no byte.
    `names_file`: the document is a `file_id`, which only the account that has the file knows. `stale`: it broke on a kept
    connection, before any byte of a response. `reason` is the cause in the log's words.
    """

    status: int = 0
    cause: str = ""
    retry_after_s: float | None = None
    repeatable: bool = True
    names_file: bool = False
    stale: bool = False
    reason: str | None = None

    @property
    def was_sent(self) -> bool:
        """Whether anything of the request may have left."""
        return self.cause not in _UNSENT

    @property
    def outcome(self) -> str:
        """The status or the cause, as metrics and the log have it."""
        return self.cause or str(self.status)


class _State:
    """What is known of one deployment. Counts are of `minute`, but for calls under way."""

    __slots__ = (
        "ended",
        "failures",
        "minute",
        "reason",
        "requests",
        "tokens",
        "under_way",
        "unsent_reason",
        "unsent_until",
        "until",
    )

    def __init__(self) -> None:
        self.under_way = 0
        self.minute = self.requests = self.tokens = self.ended = self.failures = 0
        self.until = self.unsent_until = 0.0  # the second: because nothing could be sent
        self.reason = self.unsent_reason = ""


class Balancer:
    """The state of all deployments by their ids, which survives reloads. `clock` is monotonic, `chance` is from 0 to below 1.

    `tries` counts by (deployment id, outcome: `answered`, a status, or a cause of `Failed`), `cooldowns` by (deployment id,
    reason); both only grow.
    """

    __slots__ = ("_chance", "_clock", "_states", "cooldowns", "tries")

    def __init__(self, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._clock = clock
        self._chance = chance
        self._states: dict[str, _State] = {}
        self.tries: Counter[tuple[str, str]] = Counter()
        self.cooldowns: Counter[tuple[str, str]] = Counter()

    def chance(self) -> float:
        """Return a random number, for jitter."""
        return self._chance()

    def choose(self, group: ModelGroup, routing: Routing, avoid: Collection[str] = ()) -> Deployment | None:
        """Return one by the rules 1 to 4, None where there is none. `avoid` are the ids of those that failed this request."""
        now = self._clock()
        cooling: list[tuple[bool, float, Deployment]] = []
        best: tuple[bool, bool, int] | None = None
        equals: list[tuple[Deployment, int]] = []
        for each in group.deployments:
            state = self._state(each, now)
            if state.until > now:
                if routing.takes_cooling and state.unsent_until <= now:
                    cooling.append((each.id in avoid, state.until, each))
                continue
            rated = _is_rated(each, state)
            if rated and routing.enforces_limits:
                continue
            full = rated or (each.max_parallel is not None and state.under_way >= each.max_parallel)
            rank = (each.id in avoid, full, each.order)
            if best is None or rank < best:
                best, equals = rank, []
            if rank == best:
                equals.append((each, state.under_way))
        if cooling and not equals:
            return min(cooling, key=lambda one: one[:2])[2]
        if routing.strategy is _LEAST_BUSY and equals:
            least = min(busy for _, busy in equals)
            idle = [each for each, busy in equals if busy == least]
            return idle[min(int(self._chance() * len(idle)), len(idle) - 1)]
        return self._by_weight([each for each, _ in equals])

    def enter(self, deployment: Deployment) -> None:
        """Count a call that begins."""
        state = self._state(deployment, self._clock())
        state.under_way += 1
        state.requests += 1

    def leave(self, deployment: Deployment, tokens: int = 0) -> None:
        """Count a call that has ended, however it ended; once for each `enter`."""
        state = self._state(deployment, self._clock())
        state.under_way = max(0, state.under_way - 1)
        state.tokens += tokens

    def succeeded(self, deployment: Deployment) -> None:
        """Count a try whose response is relayed as a success."""
        self._state(deployment, self._clock()).ended += 1
        self.tries[deployment.id, "answered"] += 1

    def failed(self, deployment: Deployment, failed: Failed, routing: Routing, is_alone: bool, *, stays: bool = False) -> None:
        """Count a try that failed, and cool the deployment down by the rules 5 to 9. `stays`: the request may go nowhere else."""
        now = self._clock()
        state = self._state(deployment, now)
        state.ended += 1
        self.tries[deployment.id, failed.outcome] += 1
        if stays and failed.status in REJECTED:
            return
        at_once = not failed.was_sent or failed.status in _AT_ONCE
        if not (at_once or failed.cause or failed.status == 408 or failed.status >= 500):
            return
        state.failures += 1
        if not routing.cools or is_alone or not (at_once or _is_failing(state, routing.allowed_fails)):
            return
        wait_s = routing.cooldown_s if failed.retry_after_s is None else min(failed.retry_after_s, MAX_COOLDOWN_S)
        if not failed.was_sent:
            state.unsent_until, state.unsent_reason = max(state.unsent_until, now + wait_s), failed.outcome
        if now + wait_s > max(now, state.until):
            if state.until <= now:
                self.cooldowns[deployment.id, failed.outcome] += 1
            state.until, state.reason = now + wait_s, failed.outcome

    def cooling(self) -> list[tuple[str, str, float]]:
        """Return the id, the reason and the end (by the clock) of those that cool down now."""
        now = self._clock()
        return [(key, state.reason, state.until) for key, state in self._states.items() if state.until > now]

    def free_in_s(self, group: ModelGroup) -> float:
        """Return the seconds until a deployment of the group may be chosen again, for Retry-After; 0: now."""
        now = self._clock()
        waits = []
        for each in group.deployments:
            state = self._state(each, now)
            window_s = _MINUTE_S - now % _MINUTE_S if _is_rated(each, state) else 0.0
            waits.append(max(state.until - now, window_s, 0.0))
        return min(waits)

    def reachable_in_s(self, deployment: Deployment) -> float:
        """Return for how many seconds more a deployment cools down because nothing could be sent to it; 0: it does not."""
        now = self._clock()
        return max(0.0, self._state(deployment, now).unsent_until - now)

    def unsent_reason(self, deployment: Deployment) -> str | None:
        """Return why a deployment cools down to which nothing could be sent: `connect`, `credentials`; None: it does not."""
        return self._state(deployment, self._clock()).unsent_reason if self.reachable_in_s(deployment) else None

    def under_way(self, deployment: Deployment) -> int:
        """Return how many calls are under way, for gauges."""
        state = self._states.get(deployment.id)
        return state.under_way if state else 0

    def keep(self, deployments: Iterable[Deployment]) -> None:
        """Forget all but these after a reload; one with calls under way or that cools down stays for now."""
        kept, now = {each.id for each in deployments}, self._clock()
        self._states = {key: state for key, state in self._states.items() if key in kept or state.under_way or state.until > now}

    def _state(self, deployment: Deployment, now: float) -> _State:
        """Return a deployment's state, whose counts are of this minute."""
        state = self._states.get(deployment.id)
        if state is None:
            state = self._states[deployment.id] = _State()
        minute = int(now // _MINUTE_S)
        if state.minute != minute:
            state.minute = minute
            state.requests = state.tokens = state.ended = state.failures = 0
        return state

    def _by_weight(self, equals: list[Deployment]) -> Deployment | None:
        """Return one at random by weight; alike where all weights are zero."""
        if len(equals) < 2:
            return equals[0] if equals else None
        total = sum(each.weight for each in equals)
        if total <= 0:
            return equals[min(int(self._chance() * len(equals)), len(equals) - 1)]
        point = self._chance() * total
        for each in equals:
            point -= each.weight
            if point < 0:
                return each
        return max(equals, key=lambda each: each.weight)  # rounding


def _is_rated(deployment: Deployment, state: _State) -> bool:
    """Tell whether a deployment is at its `rpm` or `tpm`."""
    return (deployment.rpm is not None and state.requests >= deployment.rpm) or (
        deployment.tpm is not None and state.tokens >= deployment.tpm
    )


def _is_failing(state: _State, allowed_fails: int | None) -> bool:
    """Tell whether the failures of this minute are too many (rule 6)."""
    if allowed_fails is not None:
        return state.failures > allowed_fails
    return state.ended >= _LEAST_CALLS and 2 * state.failures > state.ended
