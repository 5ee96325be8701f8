"""Choice, cool-down, tries and names of deployments, by tables and properties; clock and chance are given."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Failure, Refusal
from passthrough.proxy.deployments.balancer import MAX_COOLDOWN_S, Balancer, Failed
from passthrough.proxy.deployments.deployment import Deployment, ModelGroup, Provider, Routing, Strategy
from passthrough.proxy.deployments.model_table import ModelTable
from passthrough.proxy.deployments.tries import Tries, Verdict
from passthrough.proxy.routes import Route, Target

pytestmark = pytest.mark.fast
TARGET = Target(tls=False, host="127.0.0.1", port=1, base_path=b"/m/*")
ROUTE = Route.__new__(Route)  # the pool never looks into it


def deployment(name: str, group: str = "g", **more: object) -> Deployment:
    """Return a deployment whose model holds a `*`."""
    return replace(Deployment(name, group, Provider.MISTRAL, "m-*", TARGET, ROUTE), **more)  # type: ignore[arg-type]


def pool(*names: str, group: str = "g") -> ModelGroup:
    """Return a group of plain deployments."""
    return ModelGroup(group, tuple(deployment(name, group) for name in names))


def balancer(now: list[float], seed: int = 1) -> Balancer:
    """Return a balancer whose clock is `now[0]`."""
    return Balancer(lambda: now[0], random.Random(seed).random)


@pytest.mark.parametrize(
    ("failed", "cools_s"),
    [
        *((Failed(status), 0.0) for status in (400, 404, 413, 422, 408, 500, 503)),
        *((Failed(status), 5.0) for status in (401, 403, 429)),
        (Failed(cause="connect"), 5.0),
        (Failed(cause="credentials"), 5.0),
        (Failed(cause="timeout"), 0.0),
        (Failed(429, retry_after_s=30.0), 30.0),
        (Failed(429, retry_after_s=1e9), MAX_COOLDOWN_S),
    ],
)
def test_one_failure_cools_as_its_kind_says(failed: Failed, cools_s: float) -> None:
    """A first 5xx is not enough, a client fault never is; a lone deployment never cools."""
    now, group = [100.0], pool("a", "b")
    balance, lone = balancer(now), balancer(now)
    balance.failed(group.deployments[0], failed, Routing(), is_alone=False)
    lone.failed(group.deployments[0], failed, Routing(), is_alone=True)
    assert [("a", failed.outcome, 100.0 + cools_s)][: cools_s > 0] == balance.cooling()
    assert [] == lone.cooling()


@pytest.mark.parametrize(("successes", "allowed", "fails"), [(0, None, 5), (4, None, 5), (0, 0, 1), (0, 2, 3)])
def test_server_faults_cool_above_their_limit(successes: int, allowed: int | None, fails: int) -> None:
    """More than half of at least five, or more than `allowed_fails`: the failure of that number is the first that cools."""
    balance, one = balancer([0.0]), deployment("a")
    for _ in range(successes):
        balance.succeeded(one)
    assert successes == balance.tries["a", "answered"]
    cooled = []
    for _ in range(fails):
        balance.failed(one, Failed(500), Routing(allowed_fails=allowed), is_alone=False)
        cooled.append(bool(balance.cooling()))
    assert [False] * (fails - 1) + [True] == cooled


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(1, 3)), min_size=1, max_size=8))
def test_the_best_rank_is_chosen(facts: list[tuple[bool, bool, bool, int]]) -> None:
    """Never a cooling one, then by (failed this request, at a limit, order)."""
    balance = balancer([0.0])
    group = ModelGroup(
        "g", tuple(deployment(str(n), rpm=int(not full), order=order) for n, (_, _, full, order) in enumerate(facts))
    )
    for each, (cools, _, _, _) in zip(group.deployments, facts, strict=True):
        if cools:
            balance.failed(each, Failed(429), Routing(), is_alone=False)
    avoid = {str(n) for n, fact in enumerate(facts) if fact[1]}
    ranks = [fact[1:] for fact in facts if not fact[0]]
    chosen = balance.choose(group, Routing(), avoid)
    assert (min(ranks) if ranks else None) == (facts[int(chosen.id)][1:] if chosen else None)


def test_shares_are_by_weight() -> None:
    """Of 4000 choices three quarters go to the one that weighs three times as much, within 3 %."""
    balance, group = balancer([0.0]), ModelGroup("g", (deployment("a", weight=3.0), deployment("b")))
    shares = Counter(chosen.id for _ in range(4000) if (chosen := balance.choose(group, Routing())))
    assert 2880 <= shares["a"] <= 3120


@given(st.lists(st.sampled_from([0, 400, 401, 429, 500, 503]), min_size=60, max_size=60), st.booleans(), st.integers(1, 5))
def test_tries_end_and_do_not_repeat(statuses: list[int], is_given: bool, size: int) -> None:
    """With several deployments none is tried twice while another did not fail; a client fault ends the tries."""
    group, other = pool(*"abcde"[:size]), pool("z", group="other")
    routing = Routing(num_retries=3 if is_given else None, cools=False, fallbacks={"*": ("other",)})
    tries, seen = Tries(ModelTable([group, other], routing), group, balancer([0.0])), []
    for status in statuses:
        seen.append(tries.next().id)
        if not tries.judge(Failed(status, "" if status else "connect")).goes_on:
            break
        assert status != 400
        assert is_given or status != 500
    else:
        pytest.fail("the tries did not end")
    assert len(set(seen[:size])) == len(seen[:size])
    assert tries.retries + tries.fallbacks == len(seen) - 1


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (Failed(429, retry_after_s=7.0), 7.0),
        (Failed(429, retry_after_s=61.0), None),
        (Failed(401), None),
        (Failed(503, repeatable=False), None),
        (Failed(cause="timeout"), None),
        (Failed(cause="connect", repeatable=False), 0.0),
        (Failed(cause="credentials"), None),
    ],
)
def test_a_lone_deployment_and_a_file_stay_where_they_are(failed: Failed, expected: float | None) -> None:
    """The same deployment after a wait, or the response; with a `file_id` it is so in a pool with fallbacks, too."""
    lone, many = pool("a"), pool("b", "c", "d", group="many")
    for group, each in ((lone, failed), (many, replace(failed, names_file=True))):
        routing = Routing(cools=False, fallbacks={"many": ("g",)})
        tries = Tries(ModelTable([lone, many], routing), group, balancer([0.0]))
        first, verdict = tries.next(), tries.judge(each)
        assert expected == (verdict.after_s if verdict.goes_on else None)
        assert not verdict.goes_on or first is tries.next()


@pytest.mark.parametrize(("cause", "last"), [("connect", ["z", "z"]), ("credentials", ["z"])])
def test_where_nothing_was_sent_all_others_are_tried(cause: str, last: list[str]) -> None:
    """Without retries left, without the body in hand, then the fallback; without a token none is tried again at once."""
    group, other = pool("a", "b", "c"), pool("z", group="other")
    routing = Routing(num_retries=0, fallbacks={"g": ("other",)})
    tries, seen = Tries(ModelTable([group, other], routing), group, balancer([0.0])), []
    goes_on = True
    while goes_on:
        seen.append(tries.next().id)
        goes_on = tries.judge(Failed(cause=cause, repeatable=False)).goes_on
    assert (["a", "b", "c"], last) == (sorted(seen[:3]), seen[3:])


def test_want_of_a_token_leads_to_none_that_failed() -> None:
    """What one deployment may have billed is not sent there again because another one has no token."""
    group = pool("a", "b")
    tries = Tries(ModelTable([group], Routing(num_retries=2, cools=False)), group, balancer([0.0]))
    tries.next()
    assert Verdict(goes_on=True) == tries.judge(Failed(500))
    tries.next()
    assert Verdict(goes_on=False) == tries.judge(Failed(cause="credentials"))


def test_where_all_failed_a_retry_that_is_left_waits_and_is_made() -> None:
    """Each of the pool first, then one of them again after a wait, and then the response is relayed."""
    tries = Tries(ModelTable([pool("a", "b")], Routing(cools=False)), pool("a", "b"), balancer([0.0]))
    first = tries.next()
    assert Verdict(goes_on=True) == tries.judge(Failed(503))
    assert first.id != tries.next().id
    verdict = tries.judge(Failed(503))
    assert verdict.goes_on
    assert 0.25 <= verdict.after_s <= 0.5
    assert tries.next().id in {"a", "b"}
    assert Verdict(goes_on=False) == tries.judge(Failed(503))


@pytest.mark.parametrize(
    ("routing", "failed", "others", "expected"),
    [
        # Where statuses are given, they hold, and no others: with another target at once, else with the same after a wait.
        (Routing(num_retries=2, statuses=frozenset({500, 401}), max_wait_s=9.0), Failed(500), "b", (0.0, False)),
        (Routing(num_retries=2, statuses=frozenset({500, 401}), max_wait_s=9.0), Failed(500), "", (0.5, True)),
        (Routing(num_retries=2, statuses=frozenset({500, 401}), max_wait_s=9.0), Failed(401), "b", (0.0, False)),
        (Routing(num_retries=2, statuses=frozenset({500, 401}), max_wait_s=9.0), Failed(401), "", None),
        (Routing(num_retries=2, statuses=frozenset({500, 401}), max_wait_s=9.0), Failed(429), "b", None),
        (Routing(num_retries=2, statuses=frozenset({409}), max_wait_s=9.0), Failed(409), "b", (0.0, False)),
        (Routing(num_retries=2, statuses=frozenset()), Failed(cause="timeout"), "b", (0.0, False)),
        (Routing(statuses=frozenset()), Failed(429), "b", None),
        (Routing(statuses=frozenset()), Failed(cause="broke"), "b", None),
        (Routing(statuses=frozenset()), Failed(cause="connect", repeatable=False), "b", (0.0, False)),
        (Routing(num_retries=0, statuses=frozenset({429})), Failed(429), "b", None),
        # No wait is longer than `max_wait_s`: one of ours is cut, one that Retry-After asks for is not waited for.
        (Routing(max_wait_s=0.02), Failed(429), "", (0.02, True)),
        (Routing(max_wait_s=7.0), Failed(429, retry_after_s=7.0), "", (7.0, True)),
        (Routing(max_wait_s=7.0), Failed(429, retry_after_s=7.1), "", None),
        (Routing(max_wait_s=120.0), Failed(429, retry_after_s=100.0), "", (100.0, True)),
        (Routing(max_wait_s=60.0, retry_after_s=61.0), Failed(429), "", None),
    ],
)
def test_given_statuses_and_the_longest_wait(
    routing: Routing, failed: Failed, others: str, expected: tuple[float, bool] | None
) -> None:
    """After how many seconds another try follows, and whether at the same deployment; None: the failure is relayed."""
    group = pool(*"a", *others)
    balance = Balancer(lambda: 0.0, lambda: 0.0)
    tries = Tries(ModelTable([group], routing), group, balance)
    first, verdict = tries.next(), tries.judge(failed)
    assert expected == ((verdict.after_s, first is tries.next()) if verdict.goes_on else None)
    assert not verdict.lacks_body


def test_all_cooling_is_refused_with_the_least_wait() -> None:
    """429 `no_deployment`, Retry-After rounded up."""
    group, balance = pool("a", "b"), balancer([0.0])
    for each, wait_s in zip(group.deployments, (9.0, 3.5), strict=True):
        balance.failed(each, Failed(429, retry_after_s=wait_s), Routing(), is_alone=False)
    with pytest.raises(Refusal) as refused:
        Tries(ModelTable([group]), group, balance).next()
    assert ("no_deployment", 4) == (refused.value.kind.code, refused.value.retry_after_s)
    assert "model" in refused.value.message


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({"a": Failed(429, retry_after_s=9.0), "b": Failed(403, retry_after_s=3.5)}, "b"),  # whichever is free first
        ({"a": Failed(429, retry_after_s=9.0), "b": Failed(cause="connect")}, "a"),  # nothing could be sent to b
        ({"a": Failed(429)}, "b"),  # one that is free comes first
        ({"a": Failed(cause="credentials"), "b": Failed(cause="connect")}, None),
    ],
)
def test_where_all_cool_one_that_responds_is_chosen_if_the_routing_says_so(
    failures: dict[str, Failed], expected: str | None
) -> None:
    """An endpoint's target speaks for itself; without the setting all of these but one are refused."""
    routing = Routing(takes_cooling=True)
    group, balance = pool("a", "b"), balancer([0.0])
    for each in group.deployments:
        if each.id in failures:
            balance.failed(each, failures[each.id], routing, is_alone=False)
    chosen = balance.choose(group, routing)
    assert expected == (None if chosen is None else chosen.id)
    assert (balance.choose(group, Routing()) is None) == (len(failures) == 2)


def test_where_all_failed_this_request_it_waits_although_they_cool() -> None:
    """As at an endpoint with one target, whose throttled call is made again after Retry-After."""
    routing = Routing(num_retries=3, takes_cooling=True)
    tries = Tries(ModelTable([pool("a", "b")], routing), pool("a", "b"), balancer([0.0]))
    first = tries.next()
    assert Verdict(goes_on=True) == tries.judge(Failed(429, retry_after_s=2.0))
    assert first.id != tries.next().id
    assert Verdict(goes_on=True, after_s=4.0) == tries.judge(Failed(429, retry_after_s=4.0))
    assert first.id == tries.next().id  # It is free first.


@pytest.mark.parametrize(
    ("causes", "provider", "code"),
    [
        (("credentials", "credentials"), Provider.VERTEX, "upstream_credentials"),  # to wait is no cure
        (("credentials", "credentials"), None, "upstream_credentials"),
        (("credentials", "connect"), None, "upstream_unreachable"),
        (("connect", "connect"), None, "upstream_unreachable"),
        (("credentials", "connect"), Provider.VERTEX, "no_deployment"),
        (("connect", "connect"), Provider.VERTEX, "no_deployment"),
    ],
)
def test_where_nothing_can_be_sent_the_failure_says_why(causes: tuple[str, str], provider: Provider | None, code: str) -> None:
    """Tokens that are missing are no rate limit; nor is an endpoint whose targets are all down."""
    group = ModelGroup("g", tuple(deployment(name, provider=provider) for name in "ab"))
    balance = balancer([0.0])
    for each, cause in zip(group.deployments, causes, strict=True):
        balance.failed(each, Failed(cause=cause), Routing(), is_alone=False)
    with pytest.raises(Failure) as failed:
        Tries(ModelTable([group]), group, balance).next()
    assert (code, 5) == (failed.value.kind.code, failed.value.retry_after_s)


TABLE = ModelTable(
    [pool("x", group=name) for name in ("mistral-ocr", "ocr-*", "ocr-b*")],
    Routing(fallbacks={"mistral-ocr": ("ocr-1",), "ocr-*": ("mistral-ocr",)}),
    aliases={"ocr": "mistral-ocr", "secret": "mistral-ocr"},
    hidden=frozenset({"secret"}),
)


@pytest.mark.parametrize(
    ("name", "allowed", "expected"),
    [
        ("mistral-ocr", None, "m-*"),
        ("secret", {"mistral-ocr"}, "m-*"),
        ("ocr", {"ocr"}, "m-*"),
        ("mistral-ocr", {"ocr"}, "model_forbidden"),
        ("ocr-9", {"ocr-*"}, "m-9"),
        ("ocr-bx", None, "m-x"),
        ("ocr-..", None, "unknown_model"),
        ("ocr-\ud800", None, "unknown_model"),
        ("ocr-x\r\nSet-Cookie: a=b", None, "unknown_model"),
        ("mistral-ocm", None, "unknown_model"),
    ],
)
def test_names_are_found(name: str, allowed: set[str] | None, expected: str) -> None:
    """Exact, by alias, by the longest wildcard."""
    try:
        found = TABLE.group(name, None if allowed is None else frozenset(allowed)).deployments[0].model
    except Refusal as refused:
        found = refused.kind.code
    assert expected == found


def test_fallbacks_have_no_cycle_and_paths_no_slash() -> None:
    """Two groups that fall back on each other are tried once each; a name's slash is escaped in the path."""
    assert ["ocr-1"] == [each.name for each in TABLE.fallbacks(TABLE.group("mistral-ocr"))]
    assert b"/m/a%2Fb" == TABLE.group("ocr-a/b").deployments[0].target.base_path


def test_near_names_are_those_that_the_key_may_call() -> None:
    """A name that the key may not call is not told."""
    for allowed, shown in ((None, True), (frozenset({"ocr-*"}), False)):
        with pytest.raises(Refusal) as refused:
            TABLE.group("mistral-ocm", allowed)
        assert shown == ("mistral-ocr" in refused.value.hint)


def test_the_least_busy_is_chosen_and_a_limit_refuses_only_where_enforced() -> None:
    """One call under way: the other one. Both at their `rpm`: still one, unless limits are enforced; in the next minute again."""
    now = [0.0]
    balance, group = balancer(now), ModelGroup("g", (deployment("a", rpm=1), deployment("b", rpm=1)))
    least, strict = Routing(strategy=Strategy.LEAST_BUSY), Routing(enforces_limits=True)
    balance.enter(group.deployments[0])
    assert {"b"} == {chosen.id for _ in range(20) if (chosen := balance.choose(group, least))}
    balance.enter(group.deployments[1])
    balance.leave(group.deployments[1])
    assert {"b"} == {chosen.id for _ in range(20) if (chosen := balance.choose(group, least))}
    assert (None, 60.0) == (balance.choose(group, strict), balance.free_in_s(group))
    now[0] = 60.0
    assert balance.choose(group, strict) is not None


def test_what_cools_survives_a_reload() -> None:
    """A cool-down stays, what is idle and gone is forgotten; a later, shorter one does not shorten it."""
    now, (one, other) = [0.0], pool("a", "b").deployments
    balance = balancer(now)
    for wait_s in (9.0, 1.0):
        balance.failed(one, Failed(429, retry_after_s=wait_s), Routing(), is_alone=False)
    balance.failed(other, Failed(429), Routing(cools=False), is_alone=False)
    balance.keep(())
    assert [("a", "429", 9.0)] == balance.cooling()
    assert {("a", "429"): 1} == balance.cooldowns
    assert {("a", "429"): 2, ("b", "429"): 1} == balance.tries
    now[0] = 9.0
    assert [] == balance.cooling()
