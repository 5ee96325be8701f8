"""Which target a request that stays goes to, and whether it is sent there again: by tables; clock and chance are given."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import UpstreamFailure
from passthrough.proxy.deployments.balancer import Balancer, Failed
from passthrough.proxy.deployments.deployment import ModelGroup, Routing
from passthrough.proxy.deployments.sticky_tries import StickyTries
from passthrough.proxy.deployments.tries import Verdict
from tests.harness.proxy import target_to

pytestmark = pytest.mark.fast

STATUSES = frozenset({401, 403, 429, 500, 502, 503, 504})
HELD = Routing(num_retries=2, statuses=STATUSES)
NOT_HELD = Routing(statuses=frozenset())
REFUSED, NO_TOKEN = Failed(cause="connect"), Failed(cause="credentials")


def balancer(now: Sequence[float] = (0.0,), seed: int = 1) -> Balancer:
    """Return a balancer whose clock is `now[0]`."""
    return Balancer(lambda: now[0], random.Random(seed).random)


def group(names: str) -> ModelGroup:
    """Return a group of targets, whose ranking for the client is the order of their names."""
    return ModelGroup("/m", tuple(target_to(1, name) for name in names))


def of(names: str, balance: Balancer, routing: Routing = HELD) -> StickyTries:
    """Return the tries of one request."""
    return StickyTries(group(names), group(names).deployments, routing, balance)


@pytest.mark.parametrize("routing", [HELD, NOT_HELD])
@pytest.mark.parametrize("failed", [REFUSED, NO_TOKEN, Failed(cause="connect", repeatable=False)])
def test_what_was_never_sent_goes_down_the_ranking(routing: Routing, failed: Failed) -> None:
    """Each once, at once, whether a body is held or not; then the failure is relayed."""
    tries, seen = of("abcd", balancer(), routing), list[str]()
    while True:
        seen.append(tries.next().id)
        verdict = tries.judge(failed)
        assert 0.0 == verdict.after_s
        if not verdict.goes_on:
            break
    assert list("abcd") == seen
    assert (3, 0, "/m") == (tries.retries, tries.fallbacks, tries.group.name)


@pytest.mark.parametrize(
    ("failed", "routing", "expected"),
    [
        (Failed(429), HELD, 0.5),
        (Failed(429, retry_after_s=7.0), HELD, 7.0),
        (Failed(429, retry_after_s=61.0), HELD, None),
        (Failed(503, retry_after_s=0.0), HELD, 0.0),
        (Failed(500), HELD, 0.5),
        (Failed(429), Routing(num_retries=1, statuses=STATUSES, max_wait_s=0.02), 0.02),
        (Failed(503, retry_after_s=0.03), Routing(num_retries=1, statuses=STATUSES, max_wait_s=0.02), None),
        (Failed(503), Routing(num_retries=1, statuses=frozenset({429})), None),
        (Failed(503), Routing(num_retries=0, statuses=STATUSES), None),
        (Failed(500), Routing(num_retries=1), None),
        (Failed(503), Routing(num_retries=1), 0.5),
        (Failed(408), Routing(num_retries=1), 0.5),
        (Failed(401), HELD, None),
        (Failed(403), HELD, None),
        (Failed(404), HELD, None),
        (Failed(cause="timeout"), HELD, None),
        (Failed(cause="broke"), HELD, None),
        (Failed(cause="broke", stale=True), HELD, 0.0),
        (Failed(cause="broke", stale=True), NOT_HELD, None),
        (Failed(429), NOT_HELD, None),
    ],
)
def test_what_was_sent_stays(failed: Failed, routing: Routing, expected: float | None) -> None:
    """It is sent to the same target again after a wait, or its response is relayed; never to another one."""
    balance = Balancer(lambda: 0.0, lambda: 0.0)
    tries = of("abc", balance, routing)
    assert "a" == tries.next().id
    verdict = tries.judge(failed)
    assert expected == (verdict.after_s if verdict.goes_on else None)
    assert not verdict.lacks_body
    assert "a" == tries.next().id


def test_a_body_that_is_not_held_is_missing_only_where_it_would_have_been_sent_again() -> None:
    """The log then says why there was no further try."""
    for failed, lacks_body in ((Failed(429, repeatable=False), True), (Failed(404, repeatable=False), False)):
        tries = of("ab", balancer())
        tries.next()
        assert Verdict(goes_on=False, lacks_body=lacks_body) == tries.judge(failed)


def test_retries_end_and_their_waits_grow() -> None:
    """As many as `retries` say; each wait is twice the one before."""
    tries, waits = of("ab", Balancer(lambda: 0.0, lambda: 0.0), Routing(num_retries=3, statuses=STATUSES)), []
    while True:
        assert "a" == tries.next().id
        verdict = tries.judge(Failed(503))
        if not verdict.goes_on:
            break
        waits.append(verdict.after_s)
    assert [0.5, 1.0, 2.0] == waits
    assert 3 == tries.retries


def test_once_something_was_sent_even_a_refused_connection_stays() -> None:
    """The request may be at work there: it is sent there again while retries are left, or nowhere."""
    tries = of("ab", balancer())
    tries.next()
    assert tries.judge(Failed(503)).goes_on
    assert "a" == tries.next().id
    verdict = tries.judge(REFUSED)
    assert verdict.goes_on
    assert verdict.after_s > 0
    assert "a" == tries.next().id
    assert Verdict(goes_on=False) == tries.judge(REFUSED)


@pytest.mark.parametrize(
    ("failed", "expected"), [(Failed(429), "a"), (Failed(401), "a"), (Failed(500), "a"), (REFUSED, "b"), (NO_TOKEN, "b")]
)
def test_the_home_that_cools_down_is_left_only_where_nothing_can_be_sent(failed: Failed, expected: str) -> None:
    """A 429 of one's own account is more use than another account's 404; after the cool-down all are at home again."""
    now = [100.0]
    balance = balancer(now)
    home = group("ab").deployments[0]
    balance.failed(home, failed, Routing(allowed_fails=0), is_alone=False)
    assert balance.cooling()
    assert expected == of("ab", balance).next().id
    now[0] = 105.0
    assert "a" == of("ab", balance).next().id


def test_a_later_429_does_not_lengthen_what_a_refused_connection_began() -> None:
    """How long it cools for free calls is one thing, for how long nothing could be sent another."""
    now = [0.0]
    balance = balancer(now)
    home = group("ab").deployments[0]
    balance.failed(home, REFUSED, HELD, is_alone=False)
    balance.failed(home, Failed(429, retry_after_s=60.0), HELD, is_alone=False)
    assert (5.0, "b") == (balance.reachable_in_s(home), of("ab", balance).next().id)
    now[0] = 5.0
    assert (0.0, "a") == (balance.reachable_in_s(home), of("ab", balance).next().id)
    assert [("a", "429", 60.0)] == balance.cooling()


def test_where_nothing_can_be_sent_to_any_it_is_refused() -> None:
    """502 with the least wait; the message speaks of targets."""
    now = [0.0]
    balance = balancer(now)
    for each, at in zip(group("ab").deployments, (0.0, 2.5), strict=True):
        now[0] = at
        balance.failed(each, REFUSED, HELD, is_alone=False)
    with pytest.raises(UpstreamFailure) as refused:
        of("ab", balance).next()
    assert ("upstream_unreachable", 3) == (refused.value.kind.code, refused.value.retry_after_s)
    assert "target" in refused.value.message


def test_the_only_target_is_connected_to_twice_and_never_cools() -> None:
    """But a token that could not be fetched is not asked for again at once."""
    balance = balancer()
    for failed, times in ((REFUSED, 2), (NO_TOKEN, 1)):
        tries = of("a", balance)
        verdicts = []
        for _ in range(times):
            tries.next()
            verdicts.append(tries.judge(failed).goes_on)
        assert [*[True] * (times - 1), False] == verdicts
    assert [] == balance.cooling()


@given(st.lists(st.sampled_from([REFUSED, NO_TOKEN, Failed(429), Failed(503), Failed(404), Failed(cause="broke")]), min_size=20))
def test_no_request_is_ever_at_two_accounts(fails: list[Failed]) -> None:
    """Whatever happens: behind the first target that got something of it, no other one does."""
    tries, sent = of("abc", balancer(), Routing(num_retries=5, statuses=STATUSES)), list[str]()
    for failed in fails:
        name = tries.next().id
        if failed.was_sent or sent:
            sent.append(name)
        if not tries.judge(failed).goes_on:
            break
    else:
        pytest.fail("the tries did not end")
    assert len(set(sent)) <= 1
