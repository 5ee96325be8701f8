"""References and the secrets behind them: what is replaced, and that nothing shows."""

from __future__ import annotations

import copy
import pickle
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.secret import PREFIX, Secret, Unset, expand, names_in

ENVIRON = {"A": "one", "B_2": "two", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("os.environ/A", "one", "A"),
        ("Bearer os.environ/A", "Bearer one", "A"),
        ("os.environ/A/v1/ocr", "one/v1/ocr", "A"),
        ("os.environ/A-os.environ/B_2", "one-two", "A, B_2"),
        ("os.environ/Aos.environ/B_2", None, "Aos"),
        ("os.environ/A os.environ/A", "one one", "A"),
        ("os.environ/A.", "one.", "A"),
        ("plain", "plain", "***"),
        ("OS.ENVIRON/A", "OS.ENVIRON/A", "***"),
        ("", "", "***"),
    ],
)
def test_references_are_replaced(text: str, value: str | None, shown: str) -> None:
    """Any number of references; a name ends at the first character outside [A-Za-z0-9_]."""
    if value is None:
        with pytest.raises(Unset, match=shown):
            expand(text, ENVIRON)
        return
    found = expand(text, ENVIRON)
    assert (value, shown) == (found.reveal(), found.shown)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("os.environ/NO", ("NO",)),
        ("os.environ/EMPTY", ("EMPTY",)),
        ("os.environ/A os.environ/NO os.environ/X os.environ/NO", ("NO", "X")),
        ("os.environ/", (PREFIX,)),
        ("os.environ/ä", (PREFIX,)),
    ],
)
def test_what_is_missing_is_named(text: str, names: tuple[str, ...]) -> None:
    """Every variable that is missing or empty is named, once, in order; nothing half-resolved comes back."""
    with pytest.raises(Unset) as caught:
        expand(text, ENVIRON)
    assert names == caught.value.names


def test_values_are_not_expanded_again() -> None:
    """A value that looks like a reference stays as it is."""
    assert "os.environ/B" == expand("os.environ/A", {"A": "os.environ/B", "B": "c"}).reveal()
    assert "\\1" == expand("os.environ/A", {"A": "\\1"}).reveal()


@given(st.text(min_size=4).filter(lambda text: text not in "Secret(***)"))
def test_a_secret_never_shows_itself(value: str) -> None:
    """Neither repr nor str nor formatting holds the value; comparing and hashing go by its digest."""
    secret = Secret(value)
    assert {"Secret(***)"} == {repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret}  # noqa: UP031 - shown too
    assert Secret(value) == secret
    assert hash(Secret(value)) == hash(secret)
    assert secret != Secret(value + "x")
    assert secret != value


def test_a_secret_is_not_pickled() -> None:
    """It does not leave the process by accident."""
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(Secret("canary"))


def test_digest_and_format() -> None:
    """The digest is the SHA-256 of the UTF-8 bytes, undecodable ones of the environment included; padding works."""
    assert sha256("ä".encode()).digest() == Secret("ä").digest()
    assert sha256(b"\xff").digest() == Secret("\udcff").digest()
    assert "Secret(A)   " == f"{Secret('x', 'A'):<12}"


def test_names() -> None:
    """Names come in their order, repeated ones too."""
    assert ("A", "B", "A", "") == names_in("os.environ/A os.environ/B os.environ/A os.environ/-")
