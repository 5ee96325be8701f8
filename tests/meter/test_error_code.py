"""The provider's own error code: from every shape of a 4xx body, in every coding, and from nothing else."""

from __future__ import annotations

import gzip
import json
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.error_code import MAX_BYTES, ErrorBody


def code_of(body: bytes, coding: bytes = b"", secrets: tuple[bytes, ...] = (), step: int = 0) -> str | None:
    """Return the code of a body that comes in pieces of `step` bytes (0: whole)."""
    held = ErrorBody(coding, secrets)
    for at in range(0, len(body), step or len(body) or 1):
        assert held.feed(body[at : at + (step or len(body))])
    held.end()
    return held.code()


MISTRAL = {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}
OTHER_TYPE = {"message": "m", "type": "invalid_request_error", "code": None}
AZURE = {"error": {"code": "DeploymentNotFound", "message": "The API deployment … does not exist."}}
GOOGLE = {"error": {"code": 401, "message": "Request had invalid credentials", "status": "UNAUTHENTICATED"}}
OPENAI = {"error": {"message": "Incorrect API key provided: sk-…", "type": "invalid_request_error", "code": "invalid_api_key"}}
INVALID = {"object": "error", "message": {"detail": [{"type": "missing", "loc": ["document"]}]}, "type": "x", "code": 1001}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (MISTRAL, "1500"),
        (INVALID, "1001"),
        (OTHER_TYPE, "invalid_request_error"),
        (AZURE, "DeploymentNotFound"),
        (GOOGLE, "UNAUTHENTICATED"),
        ([GOOGLE], "UNAUTHENTICATED"),
        (OPENAI, "invalid_api_key"),
        ({"detail": [{"type": "string_type", "loc": ["body"]}]}, "string_type"),
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": "No such model: sk-1 2"}, None),
        ({"error": {"code": None, "type": "a.b-c_9"}}, "a.b-c_9"),
        ({"code": "x" * 64}, "x" * 64),
        ({"code": "x" * 65}, None),
        ({"code": "x" * 65, "type": "short"}, "short"),
        ({"code": "ü"}, None),
        ({"code": "a\n"}, None),
        ({"code": True}, None),
        ({"code": 404}, None),
        ({"code": "404", "type": "404"}, None),
        ({"code": 1e3}, None),
        ({"code": {"code": "deep"}}, None),
        ({"message": "Unauthorized", "request_id": "1"}, None),
        ({}, None),
        ([], None),
        ([[]], None),
        ("code", None),
        (None, None),
        ({"detail": []}, None),
        ({"detail": ["x"]}, None),
        ({"detail": "Unauthorized"}, None),
    ],
)
def test_the_code_stands_in_one_of_the_known_places(document: object, code: str | None) -> None:
    """The most telling one counts; a status, a long text, and what is no plain word are none."""
    body = json.dumps(document).encode()
    for step in (0, 1):
        assert code == code_of(body, step=step)


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"br", brotli.compress),
        (b"zstd", lambda body: zstandard.ZstdCompressor().compress(body)),
        (b"gzip, br", lambda body: brotli.compress(gzip.compress(body))),
        (b"identity", bytes),
        (b"unheard-of", bytes),
    ],
)
def test_every_coding_that_the_meter_reads_is_read(coding: bytes, coded) -> None:  # type: ignore[no-untyped-def]
    """Whole and byte by byte; half of it has no code."""
    body = coded(json.dumps(AZURE).encode())
    assert ["DeploymentNotFound"] * 2 == [code_of(body, coding, step=step) for step in (0, 1)]
    assert None is code_of(body[: len(body) // 2], coding)


def test_only_a_small_body_is_read() -> None:
    """Neither a long one, nor a short one that is long once it is decoded; nothing of it is kept."""
    long = json.dumps({"code": "a", "message": "m" * MAX_BYTES}).encode()
    assert [None, None] == [code_of(long, step=step) for step in (0, 100)]
    assert None is code_of(gzip.compress(long), b"gzip")
    exact = b'{"code":"a","m":"' + b"m" * (MAX_BYTES - 19) + b'"}'
    assert (MAX_BYTES, "a") == (len(exact), code_of(exact))


@pytest.mark.parametrize("body", [b"", b"no JSON", b"{", b"\xff", b'{"code":"a"}x', b"[" * 8000, b'{"a":' * 1500])
def test_what_is_no_json_has_no_code(body: bytes) -> None:
    """Nor an empty one, and none is so deep that reading it fails."""
    assert None is code_of(body)


@pytest.mark.parametrize(
    "code",
    [
        "provider-key-Qx81",
        "PROVIDER-KEY-QX81",
        "key.provider-key-qx81.x",
        "provider-key-q",
        "er-key-Qx81",
        "invalid_provider-key-Q",
        "invalid_vider-key-Qx8",
        "hidden.word",
        "of-a-url",
    ],
)
def test_a_secret_is_no_code(code: str) -> None:
    """A provider that sends back the key that it got: whole or in part, in any case, alone or in a longer word."""
    secrets = (b"", b"provider-key-Qx81", b"HIDDEN.WORD", b"two/part-of-a-url/x")
    assert None is code_of(json.dumps({"code": code, "type": "other"}).encode(), secrets=secrets)


@pytest.mark.parametrize(
    ("code", "is_kept"),
    [
        ("2f0b41c9e7d84aa6b3d15c", False),
        ("sk-proj-AbCdEfGhIjKlMnOpQrSt1", False),
        ("key_1ABCDEFGHIJKLMNOPQRSTU", False),
        ("123456789012345678901", False),
        ("12345678901234567890", True),
        ("DeploymentNotFoundInThisRegion", True),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", True),
        ("string_pattern_mismatch_v2_2024", True),
        ("key", True),
        ("invalid_provider", True),
    ],
)
def test_what_looks_like_a_key_is_no_code(code: str, is_kept: bool) -> None:
    """More than twenty letters and digits without a separator: a key that this program does not know."""
    assert (code if is_kept else None) == code_of(json.dumps({"code": code}).encode(), secrets=(b"provider-key",))


@given(st.binary(max_size=200), st.sampled_from([b"", b"gzip", b"br", b"zstd", b"deflate", b"a, b, c, d, e"]))
def test_no_body_raises(body: bytes, coding: bytes) -> None:
    """Whatever comes."""
    code_of(body, coding)
