"""What a client is told of a deployment's failures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from passthrough.errors import Failure, Refusal, UpstreamFailure
from passthrough.exchange import new_exchange
from passthrough.proxy.deployment_calls import DeploymentCalls
from passthrough.proxy.routes import Target
from tests.harness.proxy import target_to

WEST = Target(True, "west.internal.", 8443, b"", name="west.internal.:8443")


def told(failure: Failure, target: Target = WEST) -> Failure:
    """Return a failure of a call that is under way, as its client is told it."""
    calls, exchange = DeploymentCalls(), new_exchange("GET", "/m")
    calls.enter(exchange, replace(target_to(1, "a"), target=target))
    return calls.without_address(exchange, failure)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("No connection to west.internal.:8443: Connection refused.", "No connection to deployment a: Connection refused."),
        ("The name west.internal. cannot be resolved.", "The name deployment a cannot be resolved."),
        (
            "The certificate of west.internal.:8443 is not trusted: it is not valid for 'west.internal'.",
            "The certificate of deployment a is not trusted: it is not valid for 'deployment a'.",
        ),
        ("not-west.internal west.internal.example", "not-west.internal west.internal.example"),
    ],
)
async def test_no_spelling_of_the_address_is_told(message: str, expected: str) -> None:
    """The name with its port, the host alone, and what its certificate must hold."""
    failure = told(UpstreamFailure("upstream_unreachable", message, hint="Look."))
    assert (expected, "Look.", "upstream_unreachable") == (failure.message, failure.hint, failure.kind.code)


async def test_an_ipv6_address_is_not_told() -> None:
    """It has brackets where it has a port."""
    target = Target(False, "fe80::1", 80, b"", name="[fe80::1]")
    failure = told(UpstreamFailure("upstream_unreachable", "[fe80::1]: the address fe80::1 cannot be used."), target)
    assert "deployment a: the address deployment a cannot be used." == failure.message


async def test_all_else_is_told_as_it_is() -> None:
    """Refusals are the client's own, and an exchange without a call under way has no deployment."""
    refused = Refusal("body_too_large", "west.internal.")
    failed = UpstreamFailure("upstream_broke", "west.internal.")
    assert refused is told(refused)
    assert failed is DeploymentCalls().without_address(new_exchange("GET", "/m"), failed)
