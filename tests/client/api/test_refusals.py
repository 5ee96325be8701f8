"""What a response that is no 2xx means for its document, and for the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.api.connection import Endpoint
from passthrough.client.api.error_text import ErrorText
from passthrough.client.api.ocr import StoredSource, ocr
from passthrough.client.api.refusals import Meaning, Refusal
from passthrough.client.errors import DocumentError
from passthrough.errors import KINDS
from tests.harness.api_calls import Act, api, responds, says, sends
from tests.harness.upstream import Peer

KEY, URL = "Check PASSTHROUGH_API_KEY or --api-key.", "Check --base-url or PASSTHROUGH_BASE_URL."


async def failure(act: Act, tmp_path: Path, **options: Any) -> DocumentError:
    """Return the failure of an OCR call, which is sent once."""
    async with api(act, **options) as one:
        with pytest.raises(DocumentError) as caught:
            await ocr(one.connection, StoredSource("file-1"), {"model": "m"}, tmp_path / "response.json", one.on_wait)
        assert 1 == one.raw.connections
    assert [] == os.listdir(tmp_path)
    return caught.value


def by_proxy(status: int, code: str, message: str, hint: str) -> Act:
    """Respond as passthrough does."""
    body = {"object": "error", "message": message, "type": code, "code": code, "hint": hint}
    return says(status, body, b"X-Passthrough-Error: " + code.encode())


@pytest.mark.parametrize(
    ("act", "why", "hint", "ends_run"),
    [
        (says(401, {"detail": "Unauthorized"}), "The API does not accept the key (401): Unauthorized.", KEY, True),
        (
            by_proxy(401, "invalid_key", "No such key.", "Send a client key."),
            "The API does not accept the key (401): No such key.",
            KEY,
            True,
        ),
        (says(403, {}), "The API refused it (403): Forbidden.", KEY, True),
        (says(402, {"message": "Pay."}), "The API refused it (402): Pay.", KEY, True),
        (by_proxy(403, "model_forbidden", "Not m.", "Ask."), "The API refused it (403): Not m.", "Ask.", True),
        (
            by_proxy(404, "no_route", "No route has this path.", "Compare."),
            "The proxy has no such path (404): No route has this path.",
            URL,
            True,
        ),
        (says(404, {"detail": "Not Found"}), "The API has no such path (404): Not Found.", URL, True),
        (responds(b"404: Not Found", status=b"404 X"), "The API has no such path (404): 404: Not Found.", URL, True),
        (responds(b"<html>", status=b"404 X"), "The API has no such path (404): Not Found.", URL, True),
        (says(404, {"detail": "Not Found", "hint": "Look."}), "The API has no such path (404): Not Found.", "Look.", True),
        (says(404, {"message": "Not found", "type": "not_found"}), "The API refused it (404): Not found.", "", False),
        (says(404, {"detail": "No document 7."}), "The API refused it (404): No document 7.", "", False),
        (says(300, {}), "The API redirects (300) to nowhere.", URL, True),
        (says(405, {"detail": "Method Not Allowed"}), "The API has no such path (405): Method Not Allowed.", URL, True),
        (
            says(404, {"message": "File file-1 not found.", "type": "not_found"}),
            "The API refused it (404): File file-1 not found.",
            "",
            False,
        ),
        (
            says(400, {"message": "Document is not a valid PDF.", "code": "3740"}),
            "The API refused it (400): Document is not a valid PDF.",
            "",
            False,
        ),
        (
            says(400, {"message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
            "The API refused it (400): Invalid model: m.",
            "Choose another with --model.",
            True,
        ),
        (
            says(422, {"detail": [{"loc": ["body", "model"], "msg": "Value error, Invalid model: m"}]}),
            "The API refused it (422): model: Value error, Invalid model: m.",
            "Choose another with --model.",
            True,
        ),
        (by_proxy(400, "unknown_model", "No model m.", "Send one."), "The API refused it (400): No model m.", "Send one.", True),
        (
            by_proxy(413, "body_too_large", "Too large.", "Send less."),
            "The API refused it (413): Too large.",
            "Send less.",
            False,
        ),
        (by_proxy(408, "slow_request", "Too slow.", "Faster."), "The API refused it (408): Too slow.", "Faster.", False),
        (by_proxy(508, "proxy_loop", "A loop.", "Name it."), "The API refused it (508): A loop.", "Name it.", True),
        (says(501, {}), "The API refused it (501): Not Implemented.", "", False),
        (
            says(422, {"detail": [{"loc": ["body", "pages"], "msg": "wrong", "input": "x" * 900}]}),
            "The API refused it (422): pages: wrong.",
            "",
            False,
        ),
        (
            says(301, {}, b"Location: https://example.org/v1/ocr?key=secret"),
            "The API redirects (301) to https://example.org/v1/ocr.",
            URL,
            True,
        ),
        (says(307, {}), "The API redirects (307) to nowhere.", URL, True),
    ],
)
async def test_each_refusal_says_what_it_is(act: Act, why: str, hint: str, ends_run: bool, tmp_path: Path) -> None:
    """It is final; where the next document would fail alike, the run ends."""
    error = await failure(act, tmp_path)
    assert (why, hint, ends_run) == (error.why, error.hint, error.ends_run)


CODES: dict[Meaning, list[tuple[int, str]]] = {
    Meaning.PAUSE: [
        *((429, ""), (503, ""), (429, "rate_limited"), (429, "too_many_parallel"), (429, "no_deployment")),
        *((503, "overloaded"), (503, "draining")),
    ],
    Meaning.UNSENT: [(502, "upstream_unreachable"), (502, "upstream_credentials")],
    Meaning.FAILED: [
        *((408, ""), (500, ""), (502, ""), (504, ""), (520, "")),
        *((502, "upstream_broke"), (504, "upstream_timeout"), (502, "bad_upstream_answer")),
    ],
    Meaning.FINAL: [
        *((429, "budget_spent"), (429, "budget_unpriced"), (408, "slow_request"), (508, "proxy_loop")),
        *((501, "not_implemented"), (505, "version_not_supported")),
        *((400, ""), (401, ""), (404, ""), (422, ""), (302, ""), (499, ""), (501, ""), (505, "")),
    ],
}


@pytest.mark.parametrize(("meaning", "cases"), CODES.items())
def test_each_status_has_one_meaning(meaning: Meaning, cases: list[tuple[int, str]]) -> None:
    """By the status, and by the code where the proxy made the response."""
    assert [] == [case for case in cases if meaning is not Refusal(*case, ErrorText(""), 0.0, "").meaning]


def test_all_codes_of_the_proxy_are_understood() -> None:
    """None of its responses looks like a provider's that may have billed, but for those that say so."""
    failed = {code for status, code in CODES[Meaning.FAILED] if code}
    found = {
        kind.code for kind in KINDS.values() if Refusal(kind.status, kind.code, ErrorText(""), 0.0, "").meaning is Meaning.FAILED
    }
    assert failed == found


@pytest.mark.parametrize(
    ("status", "why", "hint"),
    [
        (429, "The API is asked too much (429): Too Many Requests.", "Run it again later."),
        (503, "The API is not available (503): Service Unavailable.", "Run it again later."),
        (500, "The API failed (500): Internal Server Error.", "Run it again later."),
    ],
)
def test_what_is_tried_often_fails_in_the_end(status: int, why: str, hint: str) -> None:
    """A hint of the proxy's comes before the usual one."""
    endpoint = Endpoint.of("http://a.example", None)
    error = Refusal(status, "", ErrorText(""), 0.0, "").error(endpoint, may_be_billed=False)
    assert (why, hint, False) == (error.why, error.hint, error.ends_run)
    error = Refusal(429, "rate_limited", ErrorText("Slow down.", "Wait."), 0.0, "").error(endpoint, may_be_billed=True)
    assert ("The API is asked too much (429): Slow down.", "Wait.") == (error.why, error.hint)


async def test_a_key_that_is_missing_is_said(tmp_path: Path) -> None:
    """Without a key nothing is sent that looks like one."""
    error = await failure(says(401, {"detail": "Unauthorized"}), tmp_path, key=None)
    assert ("The API wants a key (401): Unauthorized.", "Give it by PASSTHROUGH_API_KEY or --api-key.") == (error.why, error.hint)


async def test_an_error_that_is_cut_off_is_one_all_the_same(tmp_path: Path) -> None:
    """The status counts; the rest of the body would only explain it."""
    error = await failure(sends(b'HTTP/1.1 400 X\r\nContent-Length: 99\r\n\r\n{"message": "Half"'), tmp_path)
    assert "The API refused it (400): Half." == error.why
    error = await failure(sends(b"HTTP/1.1 400 X\r\nContent-Length: 99\r\n\r\n"), tmp_path)
    assert "The API refused it (400): Bad Request." == error.why


async def test_an_echo_of_the_document_is_neither_read_nor_shown(tmp_path: Path) -> None:
    """A 422 may repeat the whole document: its beginning says what is wrong."""
    sent = 0

    async def echoes(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        start = b'{"detail":[{"type":"t","loc":["body","document"],"msg":"Input should be a file","input":"'
        await peer.send(b"HTTP/1.1 422 X\r\nContent-Length: 900000000\r\n\r\n" + start)
        for _ in range(1000):
            await peer.send(b"JVBERi0x" * 112_500)
            sent += 900_000

    error = await failure(echoes, tmp_path)
    assert ("The API refused it (422): Input should be a file.", True) == (error.why, sent < 100_000_000)
