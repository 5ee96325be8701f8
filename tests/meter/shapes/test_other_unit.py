"""Responses that are billed in a unit without a price here: they are flagged, with the model where it is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from passthrough.meter.meter import ResponseFacts, open_meter
from passthrough.meter.plan import MeterPlan
from passthrough.meter.request import BufferedRequestMeter
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.client import asking, client
from tests.harness.metering import CODINGS, cuts, metered
from tests.harness.proxy import street
from tests.harness.upstream import answering, ok

SPEECH = ResponseFacts("POST", b"/v1/audio/speech", 200)
FLAGGED = Usage(unmetered=Unmetered.UNKNOWN_UNIT)
TRANSCRIPTION = {
    "model": "voxtral-mini-latest",
    "text": "words",
    "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635},
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.mark.parametrize(
    ("path", "is_flagged"),
    [
        (b"/v1/libraries/l-1/documents", True),
        (b"/v1/libraries/l-1/documents/", True),
        (b"/v1/libraries/l-1/documents/d-1/reprocess", True),
        (b"/mistral/v1/audio/transcriptions", True),
        (b"/v1/audio/speech", True),
        (b"/v1/AUDIO/Speech", True),
        (b"/v1/audio%2Fspeech", True),
        (b"/v1//audio/./speech.json", True),
        (b"/v1/audio/speech%0A", True),
        (b"/v1/%6Cibraries/l-1/documents", True),
        (b"/v1/libraries", False),
        (b"/v1/libraries/l-1", False),
        (b"/v1/libraries/l-1/documents/d-1", False),
        (b"/v1/audio/voices", False),
    ],
)
async def test_it_is_known_by_its_path(path: bytes, is_flagged: bool, decoders: ThreadPoolExecutor) -> None:
    """However the path is spelt, and for every success; a failure costs nothing."""
    for status in (200, 201, 202, 204):
        assert (FLAGGED if is_flagged else None) == (await metered(ResponseFacts("POST", path, status), [b"{}"], decoders)).usage
    assert (await metered(ResponseFacts("POST", path, 422), [b"{}"], decoders)).usage is None
    assert (await metered(ResponseFacts("GET", path, 200), [b"{}"], decoders)).usage is None
    for shape in ("none", "batch"):
        assert (await metered(ResponseFacts("POST", path, 200), [b"{}"], decoders, MeterPlan(shape))).usage is None
    assert not MeterPlan().expects_count(MeterPlan().reads("POST", b"/v1/audio/speech"))  # type: ignore[arg-type] # it is read


@pytest.mark.parametrize("cut", [None, Unmetered.BROKEN, Unmetered.CANCELLED])
@pytest.mark.parametrize(
    ("body", "model"),
    [
        (json.dumps(TRANSCRIPTION).encode(), "voxtral-mini-latest"),
        (b'{"audio_data":"UklGRg=="}', None),
        (b"ID3\x04\x00" + bytes(range(256)) * 40, None),
        (b"", None),
    ],
)
async def test_the_flag_does_not_depend_on_the_body(
    body: bytes, model: str | None, cut: Unmetered | None, decoders: ThreadPoolExecutor
) -> None:
    """JSON, sound or nothing, whole or cut: there is no count; the model is told where it is named."""
    for coding, encode in CODINGS:
        for facts in (replace(SPEECH, content_encoding=coding), replace(SPEECH, content_encoding=coding, length=len(body))):
            for chunks in cuts(encode(body)):
                usage = (await metered(facts, chunks, decoders, cut=cut)).usage
                assert replace(FLAGGED, model=model) == usage


@pytest.mark.parametrize("cut", [None, Unmetered.CANCELLED])
async def test_a_stream_names_its_model_in_an_event(cut: Unmetered | None, decoders: ThreadPoolExecutor) -> None:
    """A streamed transcription: no count either, whole or cut."""
    done = f"data: {json.dumps({'type': 'transcription.done', **TRANSCRIPTION})}\n\n"
    body = f'data: {{"type":"transcription.text.delta","text":"w"}}\n\n{done}'.encode()
    facts = replace(SPEECH, content_type=b"text/event-stream")
    for chunks in cuts(body):
        usage = (await metered(facts, chunks, decoders, cut=cut)).usage
        assert replace(FLAGGED, model="voxtral-mini-latest") == usage


@pytest.mark.parametrize(("alias", "told", "model"), [(None, None, "asked"), (None, "told", "told"), ("mine", "told", "mine")])
async def test_the_request_names_the_model_where_the_response_does_not(
    alias: str | None, told: str | None, model: str, decoders: ThreadPoolExecutor
) -> None:
    """The route's model, else the response's, else the request's."""
    body = json.dumps({"model": told}).encode()
    meter = open_meter(
        MeterPlan(model=alias),
        replace(SPEECH, length=len(body)),
        decoders,
        request_meter=BufferedRequestMeter(b'{"model":"asked"}'),
        passed=print,
    )
    assert meter is not None
    meter.feed(body)
    meter.end()
    assert replace(FLAGGED, model=model) == await meter.usage()


@pytest.mark.wire
@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(("status", "expected"), [(b"200 OK", FLAGGED), (b"201 Created", FLAGGED), (b"429 Slow", Usage())])
async def test_it_is_flagged_on_the_road(size: int, status: bytes, expected: Usage) -> None:
    """With the model of a request that is whole at once, and of one that is not; a failure is no cost."""
    body = b'{"input":"%b","model":"asked"}' % (b"x" * size)
    answer = ok(b"ID3\x04" + bytes(9000), b"Content-Type: audio/mpeg", status=status)
    async with street(answering(answer)) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/audio/speech HTTP/1.1", body=body))
        await raw.answer()
        usage = await (await house.booked())[0].usage_source.usage()
        assert replace(expected, model="asked" if expected == FLAGGED else None) == usage
