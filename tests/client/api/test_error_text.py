"""Errors in all shapes that APIs have: one safe line of each."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.api.error_text import MAX_CHARACTERS, error_text, safe_line

URI = "data:application/pdf;base64," + "JVBERi0x" * 50_000
EXTRA = {"type": "extra_forbidden", "loc": ["body", "foo"], "msg": "Extra inputs are not permitted", "input": URI}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # Mistral
        ({"detail": "Unauthorized"}, "Unauthorized"),
        ({"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}, "Rate limit exceeded"),
        ({"message": "Unauthorized", "request_id": "c61f"}, "Unauthorized"),
        ({"detail": [EXTRA]}, "foo: Extra inputs are not permitted"),
        ({"detail": [{**EXTRA, "loc": ["body"]}]}, "Extra inputs are not permitted"),
        ({"detail": [{**EXTRA, "loc": ["body", "document", 0]}, {**EXTRA, "loc": []}]},
         "document.0: Extra inputs are not permitted; Extra inputs are not permitted"),
        ({"object": "error", "message": {"detail": [EXTRA]}}, "foo: Extra inputs are not permitted"),
        # Azure: JSON within a text
        ({"error": {"code": "Invalid input", "message": json.dumps({"detail": [{"type": "extra_forbidden"}]}), "status": 422}},
         "extra_forbidden"),
        ({"error": {"code": "429", "message": "Too many."}}, "Too many."),
        # Google, LiteLLM, others
        ([{"error": {"code": 403, "message": "No.", "status": "PERMISSION_DENIED"}}], "No."),
        ({"error": "wrong"}, "wrong"),
        ({"errors": [{"message": "one"}, {"message": "two"}, {}, 7]}, "one; two"),
        ({"errors": ["one", "two", "three", "four"]}, "one; two; three"),
        ({"title": "Bad", "status": 400}, "Bad"),
        ({"error": "invalid_request", "error_description": "why"}, "invalid_request"),
        ({"fault": {"faultstring": "Policy"}}, "Policy"),
        ({"error": {"type": "internal"}}, "internal"),
        ("words", "words"),
        # nothing
        ({}, ""), ([], ""), (None, ""), (7, ""), ({"message": None, "detail": []}, ""),
    ],
)  # fmt: skip
def test_the_message_is_found_in_every_shape(body: object, message: str) -> None:
    """Never the place where an API echoes what was sent."""
    assert message == error_text(json.dumps(body).encode()).message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"upstream connect error\nor disconnect", "upstream connect error or disconnect"),
        (b"<html><head><title>502 Bad\n Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        (b"  <!DOCTYPE html><p>none", ""),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
        (b'{"detail":[{"type":"x","loc":["body"],"msg":"Input is \\"wrong\\"","input":"' + URI.encode(), 'Input is "wrong"'),
        (b'{"object":"error","message":"It is large","input":"' + URI.encode(), "It is large"),
        (b'{"message": "cut of', ""),
        (b"[" * 100_000, ""),
        (b'{"message":' * 50_000, ""),
        (json.dumps({"message": "[" * 100_000}).encode(), "[" * (MAX_CHARACTERS - 1) + "…"),
    ],
)
def test_what_is_no_json_is_shown_as_far_as_it_says_something(body: bytes, message: str) -> None:
    """Pages of gateways, plain words, and the beginning of a response that is too large to be read to its end."""
    assert message == error_text(body).message


def test_depth_ends() -> None:
    """A message within messages beyond all measure is none."""
    value, texts = "deep", []
    for _ in range(10):
        value = json.dumps({"message": value})
        texts.append(error_text(value).message)
    assert (["deep"] * 4, [""] * 5) == (texts[:4], texts[5:])
    assert "" == error_text("[" * 20 + '"deep"' + "]" * 20).message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\n\tb\x00\x1b[31mc\x9b\u202ed\u2028e\u200bf", "a b [31mc d e f"),
        (f"bad: {URI} here", "bad: data:… here"),
        ("data:,plain", "data:…"),
        ("JVBERi0x" * 20, "…"),
        ("1 error [type=x, input_value='my secret contract', input_type=str]", "1 error [type=x, input=…, input_type=str]"),
        ("key sk-1234 and sk-1234", "key *** and ***"),
        ("wort " * 100, ("wort " * 100)[: MAX_CHARACTERS - 1] + "…"),
    ],
)
def test_a_line_is_safe_to_show(text: str, line: str) -> None:
    """No control character, no document, no key, no second line."""
    assert line == safe_line(text, ["sk-1234"])


@given(st.text(max_size=500) | st.text(alphabet="a\x1b\n\u202e\ud800{}[]\"'=,:", max_size=100))
def test_every_line_is_short_and_printable(text: str) -> None:
    """Whatever the text is."""
    line = safe_line(text)
    assert (True, True) == (len(line) <= MAX_CHARACTERS, line.isprintable())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["message", "detail", "error", "msg", "loc", "x", "type", "hint"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_json_is_too_odd(value: object) -> None:
    """There is a line for every value."""
    found = error_text(json.dumps(value))
    assert (True, True) == (found.message.isprintable(), found.hint.isprintable())


def test_the_proxys_hint_and_the_words_for_programs_are_kept() -> None:
    """`hint` is passthrough's; `type` and `code` tell an error apart, also in an object of its own."""
    found = error_text(json.dumps({"message": "No route.", "hint": "Compare\nthe path.", "type": "no_route", "code": 7}))
    assert ("No route.", "Compare the path.", {"no_route", "7"}) == (found.message, found.hint, found.kinds)
    assert {"invalid_model"} == error_text(json.dumps({"error": {"type": "invalid_model", "code": None}})).kinds
