"""A token server's words are shown without what it was trusted with."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.credentials.messages import MAX_SHOWN, secrets_in, server_words, without_secrets

SECRET = "cLient~Secret.0123456789-canary_xyz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Invalid JWT Signature.", "Invalid JWT Signature."),
        ("Client is unauthorized to retrieve access tokens.", "Client is unauthorized to retrieve access tokens."),
        ("Permission 'iam.serviceAccounts.getAccessToken' denied", "Permission 'iam.serviceAccounts.getAccessToken' denied"),
        ("insufficient_authentication_scopes", "insufficient_authentication_scopes"),
        ("Bad\r\n\tline\x00\x1b[31m\u202eand  blanks", "Bad line [31m and blanks"),
        ("AADSTS7000215: Invalid. Trace ID: 1\r\nCorrelation ID: 2\r\nTimestamp: 3", "AADSTS7000215: Invalid."),
        ("Invalid.\r\nCorrelation ID: 2", "Invalid."),
        ("", ""),
        ("kürzer 日本", "kürzer 日本"),
        # what looks like a token: base64, base64url, hexadecimal, JWT, percent-encoded; from twenty characters on
        (f"got {'a1' * 9}", f"got {'a1' * 9}"),
        (f"got {'a1' * 10}", "got …"),
        (f"got {'abcdefghijklmnopqrstuvwxyz'}", "got …"),
        (f"got {'a' * 16}_{'b' * 16}", f"got {'a' * 16}_{'b' * 16}"),
        (f"got {'a' * 17}_{'b' * 16}", "got …"),
        ("got eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl!", "got …!"),
        ("got ya29.a0AfH6SMBx-yz_0123 and", "got … and"),
        ("app '66666666-7777-8888-9999-aaaaaaaaaaaa'", "app '…'"),
        ("x" * 19 + " y" * 200, "x" * 19 + (" y" * 200)[: MAX_SHOWN - 20] + "…"),
        (("y " * 99) + "zz", ("y " * 99) + "zz"),
        (("y " * 99) + "zzz", ("y " * 99) + "z…"),
        ("of eight: hunter8! of less: hunter7", "of eight: … of less: hunter7"),
        # secrets: as they are, in any coding, and in pieces
        (f"The secret {SECRET} is wrong", "The secret … is wrong"),
        (f"{SECRET}{SECRET}", "……"),
        (quote(SECRET + "/ +", safe=""), "…%2F%20%2B"),
        (base64.b64encode(SECRET.encode()).decode(), "…"),
        (" ".join(SECRET), ""),
        (SECRET.upper(), ""),
        (SECRET.replace("-", "+"), ""),
        (f"{SECRET[:18]}\n{SECRET[18:]}", ""),
    ],
)
def test_without_secrets(text: str, shown: str) -> None:
    """One short printable line."""
    assert shown == without_secrets(text, {SECRET, "hunter8!", "hunter7", ""})


def test_a_longer_secret_is_taken_out_first() -> None:
    """Nothing of it is left where a shorter one is a part of it."""
    assert "x … y" == without_secrets("x hunter-2-hunter y", {"hunter-2", "hunter-2-hunter", "2-hunter"})


@given(st.text(), st.text(min_size=12, alphabet=st.characters(min_codepoint=33, max_codepoint=126)), st.text())
def test_no_secret_is_ever_shown(before: str, secret: str, after: str) -> None:
    """Whatever stands around it, the line is short and printable, and without it."""
    shown = without_secrets(before + secret + after, {secret})
    assert secret not in shown
    assert shown.isprintable()
    assert len(shown) <= MAX_SHOWN


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, ("invalid_grant", "Invalid JWT Signature.")),
        ({"error": "invalid_grant"}, ("invalid_grant", "")),
        ({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "No right."}}, ("PERMISSION_DENIED", "No right.")),
        ({"error": {"code": 403}}, ("", "")),
        ({"error": "words with blanks"}, ("", "")),
        ({"error": "a" * 17}, ("", "")),
        ({"error": "a_" * 6 + "a"}, ("", "")),
        ({"error": "x" * 1_000_000}, ("", "")),
        ({"error": SECRET, "error_description": SECRET}, ("", "…")),
        ({"error": "word_secret"}, ("", "")),
        ({"error": 7, "error_description": ["x"]}, ("", "")),
        ({}, ("", "")),
        ([], ("", "")),
        ("text", ("", "")),
        (None, ("", "")),
    ],
)
def test_server_words(body: Any, words: tuple[str, str]) -> None:
    """The code is shown where it looks like one, and what describes it."""
    assert words == server_words(json.dumps(body).encode(), {SECRET, "word_secret"})


@pytest.mark.parametrize("body", [b"", b"<html>x</html>", b"\xff\xfe", b"[" * 100_000, b'{"error": "x"'])
def test_what_is_no_json(body: bytes) -> None:
    """Nothing of it is shown."""
    assert ("", "") == server_words(body, ())


def test_secrets_in() -> None:
    """Every text whose key speaks of a secret, at any depth; addresses and kinds are none."""
    said = {
        "private_key": "one",
        "private_key_id": "-",
        "client_id": "-",
        "client_secret": "two",
        "token_uri": "-",
        "token_type": "-",
        "token_endpoint": "-",
        "token_endpoint_auth_methods_supported": ["-"],
        "source_credentials": {"refresh_token": "three", "type": "-", "number": 4, "token_url": "-"},
        "list": [{"password": "four"}, ["-"], {"accessToken": "five"}],
        "client_assertion": "six",
        "client_assertion_type": "-",
        "subject_token": "seven",
    }
    assert {"one", "two", "three", "four", "five", "six", "seven"} == secrets_in(said)
    assert set() == secrets_in("text")
