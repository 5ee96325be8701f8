"""Every failure, and what each says."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthrough.errors import (
    KINDS,
    ClientGone,
    ConfigError,
    Failure,
    Fault,
    LedgerError,
    PassthroughError,
    Problem,
    Reason,
    Refusal,
    UpstreamFailure,
)

PROMISED = """
400 bad_request bad_header unknown_model document_unreachable document_refused
401 invalid_key
403 route_forbidden foreign_origin model_forbidden
404 no_route
405 method_not_allowed
408 slow_request
413 body_too_large document_too_large
414 target_too_long
417 expectation_failed
421 misdirected
429 rate_limited budget_spent budget_unpriced too_many_parallel no_deployment
431 headers_too_large
501 not_implemented
502 upstream_unreachable upstream_credentials upstream_broke bad_upstream_answer
503 overloaded draining
504 upstream_timeout
505 version_not_supported
508 proxy_loop
"""
"""The contract with the outside: a code never changes its meaning."""


def test_the_table_of_own_answers_is_what_was_promised() -> None:
    """Each status has exactly its codes."""
    rows = [line.split() for line in PROMISED.strip().splitlines()]
    assert {code: int(status) for status, *codes in rows for code in codes} == {code: kind.status for code, kind in KINDS.items()}


@pytest.mark.parametrize("code", KINDS)
def test_every_kind_says_whose_fault_it_is_and_how_to_mend_it(code: str) -> None:
    """The client's errors are 4xx, or ask for what HTTP has and we do not; the target's are gateway errors; ours say so."""
    kind = KINDS[code]
    statuses = {
        Fault.CLIENT: {*range(400, 500), 501, 505},
        Fault.UPSTREAM: {502, 504, 508},
        Fault.PROXY: {503},
    }
    assert kind.status in statuses[kind.fault]
    assert code == kind.code
    assert kind.hint.endswith(".")


def test_a_failure_carries_what_its_answer_needs() -> None:
    """Kind and hint come from the table, the rest from the code that fails."""
    plain = Failure("no_route", "No route has this path.")
    assert (KINDS["no_route"], KINDS["no_route"].hint, "No route has this path.") == (plain.kind, plain.hint, str(plain))
    assert (None, (), False) == (plain.retry_after_s, plain.allow, plain.closes)
    whole = Refusal("rate_limited", "Slow.", hint="Later.", retry_after_s=3, allow=["GET"], closes=True)
    assert ("Later.", 3, ("GET",), True) == (whole.hint, whole.retry_after_s, whole.allow, whole.closes)


def test_an_unknown_code_is_a_mistake_of_ours() -> None:
    """A code that is not in the table cannot be raised."""
    with pytest.raises(KeyError):
        Failure("no_such_code", "Never.")


@pytest.mark.parametrize("kind", [Failure, Refusal, UpstreamFailure, ClientGone, ConfigError, LedgerError])
def test_there_is_one_family(kind: type[Exception]) -> None:
    """Everything raised on purpose is caught by one name, and is no error of the operating system's."""
    assert issubclass(kind, PassthroughError)
    assert not issubclass(kind, OSError)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("routes.yaml", 14, "a[2].b", "KEY is not set.", "Set it."), "routes.yaml:14 a[2].b: KEY is not set.\n  Set it."),
        (Problem("routes.yaml", 14, "", "Not YAML."), "routes.yaml:14: Not YAML."),
        (Problem("routes.yaml", 0, "", "No such file.", "Make it."), "routes.yaml: No such file.\n  Make it."),
    ],
)
def test_a_problem_says_where_what_and_how_to_mend_it(problem: Problem, text: str) -> None:
    """File, line, key, what is wrong; the cure below; what is unknown is left out."""
    assert text == str(problem)


def test_a_config_error_shows_every_problem_in_the_order_of_the_file() -> None:
    """Line 9 stands before line 10, whatever was found first."""
    nine, ten = Problem("r.yaml", 9, "b", "Nine."), Problem("r.yaml", 10, "a", "Ten.")
    error = ConfigError([ten, nine])
    assert (nine, ten) == error.problems
    assert "r.yaml:9 b: Nine.\nr.yaml:10 a: Ten." == str(error)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_short_plain_and_documented(reason: Reason) -> None:
    """Programs may look for its words: they stand in docs/errors.md."""
    text = (Path(__file__).parents[1] / "docs" / "errors.md").read_text("utf-8")
    assert (True, True, True) == (len(reason) <= 40, reason.isascii(), f"`{reason}`" in text)
