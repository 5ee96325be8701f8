"""Who is calling, and may they."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import Refusal
from passthrough.exchange import RouteTerms
from passthrough.proxy.auth import CREDENTIAL_HEADERS, Authenticator, ClientKey
from passthrough.proxy.headers import Fields, fields_of
from passthrough.proxy.routes import Route, Target

TARGET = Target(tls=True, host="api.test", port=443, base_path=b"")
OPEN = Route(b"/open", (TARGET,), RouteTerms("/open"), auth=False)
OCR = Route(b"/ocr", (TARGET,), RouteTerms("/ocr"))
FILES = Route(b"/files", (TARGET,), RouteTerms("/files"), key_header=b"x-team-key")


def client(name: str, *routes: str) -> ClientKey:
    """Return a client whose key is `key-NAME`, for these routes or for all."""
    return ClientKey(name, sha256(b"key-" + name.encode()).digest(), frozenset(routes) or None)


GATE = Authenticator([client("master"), client("ann", "/ocr"), client("bob", "/files")], key_header=b"x-gate-key")


def sent(*raw: tuple[bytes, bytes]) -> Fields:
    """Return fields as a client sends them."""
    return fields_of(raw)


@pytest.mark.parametrize("name", [b"X-Gate-Key", *CREDENTIAL_HEADERS])
@pytest.mark.parametrize("spelling", [b"key-ann", b"Bearer key-ann", b"bearer key-ann", b"BEARER   key-ann", b"Bearer\tkey-ann"])
def test_a_key_may_stand_in_any_credential_header(name: bytes, spelling: bytes) -> None:
    """Every header of the list carries a key, bare or behind `Bearer`, whose case does not matter (RFC 9110 §11.1)."""
    found = GATE.admit(OCR, sent((b"Accept", b"*/*"), (name, spelling)))
    assert "ann" == (found.name if found else None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"key-an",
        b"key-ann ",
        b"KEY-ANN",
        b"Bearer",
        b"Bearer ",
        b"Bearerkey-ann",
        b"Basic key-ann",
        b"Digest key-ann",
        b"key-ann, key-ann",
        b"\xff",
    ],
)
def test_what_is_not_a_key_admits_nobody(value: bytes) -> None:
    """Only the key itself is the key."""
    with pytest.raises(Refusal) as caught:
        GATE.admit(OCR, sent((b"Authorization", value)))
    assert "invalid_key" == caught.value.kind.code


def test_no_key_at_all() -> None:
    """The refusal of a request without a credential says that it has none, also where a variable that was empty stands there."""
    for field in ((b"Accept", b"*/*"), (b"Authorization", b"Bearer"), (b"Authorization", b"bearer "), (b"x-api-key", b"")):
        with pytest.raises(Refusal) as caught:
            GATE.admit(OCR, sent(field))
        assert ("invalid_key", "No client key was sent.", "no client key") == (
            caught.value.kind.code,
            caught.value.message,
            caught.value.why,
        )
    with pytest.raises(Refusal) as caught:
        GATE.admit(OCR, sent((b"Authorization", b"Bearer x")))
    assert ("The key is not one of this proxy's.", "unknown client key") == (caught.value.message, caught.value.why)


def test_a_refusal_never_shows_what_was_presented() -> None:
    """The message about a wrong key does not repeat it."""
    with pytest.raises(Refusal) as caught:
        GATE.admit(OCR, sent((b"Authorization", b"Bearer not-ours")))
    assert "not-ours" not in f"{caught.value} {caught.value.hint}"


@given(st.permutations([(name, b"Bearer wrong") for name in CREDENTIAL_HEADERS]), st.sampled_from(CREDENTIAL_HEADERS))
def test_one_valid_credential_is_enough(order: list[tuple[bytes, bytes]], right: bytes) -> None:
    """A valid key counts wherever it stands among wrong ones: SDKs send headers of their own besides."""
    found = GATE.admit(OCR, sent(*((name, b"key-ann" if name == right else value) for name, value in order)))
    assert "ann" == (found.name if found else None)


@given(st.permutations([b"x-team-key", b"x-gate-key", *CREDENTIAL_HEADERS]))
def test_of_several_valid_keys_the_first_in_the_order_of_look_up_counts(order: list[bytes]) -> None:
    """The rank of the header decides, not where it stands: the route's, the gate's, then LiteLLM's order."""
    raw = [(name, b"key-bob" if name == b"x-team-key" else b"key-master") for name in order]
    found = GATE.admit(FILES, sent(*raw))
    assert "bob" == (found.name if found else None)


@pytest.mark.parametrize(
    ("first", "second"), [(b"x-team-key", b"x-gate-key"), (b"x-gate-key", b"x-litellm-api-key"), *pairwise(CREDENTIAL_HEADERS)]
)
def test_of_two_valid_keys_the_one_of_higher_rank_counts(first: bytes, second: bytes) -> None:
    """Two keys in two headers, also where the lower one stands before: the call would be booked to the other client."""
    keys = ((first, b"key-bob"), (second, b"Bearer key-master"))
    found = [GATE.admit(FILES, sent(*each)) for each in (keys, reversed(keys))]
    assert ["bob", "bob"] == [each.name if each else None for each in found]


def test_of_two_fields_with_one_name_the_earlier_valid_one_counts() -> None:
    """Values of one rank are tried in the order in which they came."""
    raw = ((b"api-key", b"wrong"), (b"Api-Key", b"key-master"), (b"api-key", b"key-ann"))
    found = GATE.admit(OCR, sent(*raw))
    assert "master" == (found.name if found else None)


def test_a_key_header_of_one_route_is_none_elsewhere() -> None:
    """A header that carries keys on one route does so on that route only."""
    with pytest.raises(Refusal):
        GATE.admit(OCR, sent((b"X-Team-Key", b"key-ann")))


@pytest.mark.parametrize("header", [None, b"x-gate-key", b"authorization"])
def test_headers_of_credentials_are_listed_once(header: bytes | None) -> None:
    """A route's key header that is one of the others changes nothing."""
    route = Route(b"/", (TARGET,), RouteTerms("/"), key_header=header)
    assert (b"x-gate-key", *CREDENTIAL_HEADERS) == GATE.credential_headers(route)


@pytest.mark.parametrize(
    ("key", "route", "admitted"), [("ann", OCR, True), ("ann", FILES, False), ("bob", OCR, False), ("master", FILES, True)]
)
def test_a_key_is_for_the_routes_it_names(key: str, route: Route, admitted: bool) -> None:
    """A client with `routes` may use those; without, all. 403 names the client, so that the operator can help."""
    fields = sent((b"authorization", f"Bearer key-{key}".encode()))
    if admitted:
        found = GATE.admit(route, fields)
        assert key == (found.name if found else None)
        return
    with pytest.raises(Refusal) as caught:
        GATE.admit(route, fields)
    assert ("route_forbidden", True) == (caught.value.kind.code, key in caught.value.message)


def test_a_route_without_auth_asks_nobody() -> None:
    """`auth: false` lets everybody in, nameless, with a key or without."""
    assert (None, None) == (GATE.admit(OPEN, ()), GATE.admit(OPEN, sent((b"api-key", b"key-ann"))))


def test_a_gate_without_clients_asks_nobody() -> None:
    """Without keys everybody may call: the configuration allows that on loopback, or when told to."""
    gate = Authenticator([])
    assert (True, None) == (gate.anonymous, gate.admit(OCR, sent((b"api-key", b"anything"))))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ((), None),
        (((b"Authorization", b"Bearer key-ann"),), "ann"),
        (((b"X-Gate-Key", b"key-bob"),), "bob"),
        (((b"X-Other", b"key-ann"), (b"Authorization", b"wrong")), None),
        (((b"Authorization", b"wrong"), (b"API-KEY", b"key-ann"), (b"X-Api-Key", b"key-bob")), "ann"),
    ],
)
def test_whose_request_was_refused(raw: tuple[tuple[bytes, bytes], ...], expected: str | None) -> None:
    """The log of a request that could not be read names the client whose key stands in a header of credentials."""
    known = GATE.known(raw)
    assert expected == (None if known is None else known.name)


def test_the_empty_key_is_nobodys() -> None:
    """A header without a value is held by no client."""
    assert None is GATE.holder(b"")
