"""Our own responses: Mistral's error shape, a hint, and the mark."""

from __future__ import annotations

import json

import pytest

from passthrough.errors import KINDS, Failure
from passthrough.proxy.error_response import own_response

NOW_UTC = 784111777.0


def taken_apart(answer: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Return the status line, the fields by lower-case name (each stands once), and the body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    fields = [each.decode().split(": ", 1) for each in rest]
    by_name = {name.lower(): value for name, value in fields}
    assert len(fields) == len(by_name)
    return line, by_name, body


@pytest.mark.parametrize("code", KINDS)
def test_every_code_has_one_shape(code: str) -> None:
    """Every response of ours is Mistral's error object with a hint, exactly as long as it says, and marked."""
    line, fields, body = taken_apart(own_response(Failure(code, "What – happened."), NOW_UTC, keeps_alive=True, with_body=True))
    kind = KINDS[code]
    assert line.startswith(b"HTTP/1.1 %d " % kind.status)
    assert {
        "object": "error",
        "message": "What – happened.",
        "type": code,
        "param": None,
        "code": code,
        "raw_status_code": kind.status,
        "hint": kind.hint,
    } == json.loads(body)
    assert {
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-passthrough-error": code,
        "connection": "keep-alive",
        **({"www-authenticate": "Bearer"} if kind.status == 401 else {}),
    } == fields


def test_head_gets_the_head_alone() -> None:
    """The response to HEAD declares the body's length and has no body (RFC 9110 §9.3.2)."""
    failure = Failure("no_route", "No route has this path.")
    whole = own_response(failure, NOW_UTC, keeps_alive=True, with_body=True)
    assert whole[: whole.index(b"\r\n\r\n") + 4] == own_response(failure, NOW_UTC, keeps_alive=True, with_body=False)


@pytest.mark.parametrize(
    ("failure", "keeps_alive", "name", "value"),
    [
        (Failure("method_not_allowed", "No.", allow=["GET", "POST"]), True, "allow", "GET, POST"),
        (Failure("rate_limited", "No.", retry_after_s=7), True, "retry-after", "7"),
        (Failure("overloaded", "No.", retry_after_s=0), True, "retry-after", "0"),
        (Failure("bad_request", "No.", closes=True), False, "connection", "close"),
    ],
)
def test_what_an_answer_adds(failure: Failure, keeps_alive: bool, name: str, value: str) -> None:
    """Allow, Retry-After and Connection say what the failure says."""
    assert value == taken_apart(own_response(failure, NOW_UTC, keeps_alive=keeps_alive, with_body=True))[1][name]


def test_a_hint_of_its_own_replaces_the_tables() -> None:
    """A failure that knows better how to be mended says so; an empty hint is one too."""
    body = taken_apart(own_response(Failure("no_route", "No.", hint="Do this."), NOW_UTC, keeps_alive=True, with_body=True))[2]
    assert "Do this." == json.loads(body)["hint"]
    assert "" == Failure("no_route", "No.", hint="").hint
