"""The meter of responses that are billed by their tokens, as one document and as a stream of events."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.meter.meter import ResponseFacts
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.client import asking, client
from tests.harness.metering import cuts, metered, pieces
from tests.harness.proxy import street
from tests.harness.upstream import answering, ok

PATH = b"/mistral/v1/chat/completions"
JSON = ResponseFacts("POST", PATH, 200, None, b"application/json")
SSE = ResponseFacts("POST", PATH, 200, None, b"Text/Event-Stream; charset=utf-8")
NAMED = MeterPlan(shape="chat")

NO_USAGE, NOT_JSON, UNKNOWN_UNIT = Unmetered.NO_USAGE, Unmetered.NOT_JSON, Unmetered.UNKNOWN_UNIT

MESSAGE = {"role": "assistant", "content": 'data: {"usage":{"prompt_tokens":9}}\n\n"usage"'}
RESPONSE = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": MESSAGE, "usage": {"prompt_tokens": 8}}],
    "model": "mistral-small-latest",
    "usage": {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50, "prompt_tokens_details": {"cached_tokens": 3}},
}
REPORTED = Usage(tokens_in=16, tokens_out=34, model="mistral-small-latest", tokens_cached=3)
SEARCHED = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 4150,
    "connector_tokens": 4000,
    "connectors": {"web_search": 2},
}

DOCUMENTS: dict[str, tuple[Any, Usage | None]] = {
    "chat": (RESPONSE, REPORTED),
    "the usage first": (dict(reversed(RESPONSE.items())), REPORTED),
    "a conversation": (
        {"object": "conversation.response", "outputs": [{"model": "m", "content": "x"}], "usage": RESPONSE["usage"]},
        Usage(tokens_in=16, tokens_out=34, model="m", tokens_cached=3),
    ),
    "a response": ({"model": "g", "usage": {"input_tokens": 1, "output_tokens": 2}}, Usage(tokens_in=1, tokens_out=2, model="g")),
    "embeddings": ({"model": "e", "data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(tokens_in=5, model="e")),
    "a counter that is null": ({"usage": {"prompt_tokens": 5, "completion_tokens": None}}, Usage(tokens_in=5)),
    "tokens out alone": ({"usage": {"completion_tokens": 0}}, Usage(tokens_out=0)),
    "two spellings": (
        {"usage": {"prompt_tokens": 5, "completion_tokens": 6, "input_tokens": 7, "output_tokens": 8}},
        Usage(tokens_in=5, tokens_out=6),
    ),
    "cached tokens beside the others": (
        {"usage": {"num_cached_tokens": 976, "prompt_tokens": 997, "completion_tokens": 155}},
        Usage(tokens_in=997, tokens_out=155, tokens_cached=976),
    ),
    "cached tokens of a response": (
        {"usage": {"input_tokens": 9, "input_tokens_details": {"cache_write_tokens": 7, "cached_tokens": 8}, "output_tokens": 1}},
        Usage(tokens_in=9, tokens_out=1, tokens_cached=8),
    ),
    "no cached tokens": (
        {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}}},
        Usage(tokens_in=5, tokens_cached=0),
    ),
    "cached tokens that are null": (
        {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": None}, "num_cached_tokens": 4}},
        Usage(tokens_in=5, tokens_cached=4),
    ),
    "details that are null": ({"usage": {"prompt_tokens": 5, "prompt_tokens_details": None}}, Usage(tokens_in=5)),
    "more cached tokens than tokens in": (
        {"usage": {"prompt_tokens": 5, "num_cached_tokens": 6}},
        Usage(tokens_in=5, tokens_cached=5),
    ),
    "cached tokens that are no count": ({"usage": {"prompt_tokens": 5, "num_cached_tokens": "4"}}, Usage(tokens_in=5)),
    "cached tokens below nothing": ({"usage": {"prompt_tokens": 5, "num_cached_tokens": -4}}, Usage(tokens_in=5)),
    "cached tokens alone": ({"usage": {"num_cached_tokens": 4}}, None),
    "cached tokens without tokens in": ({"usage": {"completion_tokens": 4, "num_cached_tokens": 4}}, Usage(tokens_out=4)),
    "a search": (
        {"object": "conversation.response", "outputs": [{"model": "m"}], "usage": SEARCHED},
        Usage(tokens_in=4120, tokens_out=30, model="m", unmetered=UNKNOWN_UNIT),
    ),
    "tokens of connectors without a fee": (
        {"usage": {**SEARCHED, "connectors": {"web_search": 0, "other": None}}},
        Usage(tokens_in=4120, tokens_out=30),
    ),
    "no connectors": ({"usage": {"prompt_tokens": 5, "connector_tokens": None, "connectors": {}}}, Usage(tokens_in=5)),
    "connectors that are null": ({"usage": {"prompt_tokens": 5, "connectors": None}}, Usage(tokens_in=5)),
    "a connector of any name": (
        {"usage": {"connectors": {"idle": 0, 'a \u00e9 "b"': {"calls": 1}}, "prompt_tokens": 5}},
        Usage(tokens_in=5, unmetered=UNKNOWN_UNIT),
    ),
    "a list of connectors": (
        {"usage": {"prompt_tokens": 5, "connectors": ["web_search"]}},
        Usage(tokens_in=5, unmetered=UNKNOWN_UNIT),
    ),
    "connector tokens alone": ({"usage": {"connector_tokens": 7}}, Usage(tokens_in=7)),
    "connector tokens that are no count": ({"usage": {"prompt_tokens": 5, "connector_tokens": "7"}}, None),
    "seconds of audio": (
        {"model": "v", "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635}},
        Usage(tokens_in=4, tokens_out=635, model="v", unmetered=UNKNOWN_UNIT),
    ),
    "a part of a second": (
        {"usage": {"prompt_audio_seconds": 0.5, "prompt_tokens": 4}},
        Usage(tokens_in=4, unmetered=UNKNOWN_UNIT),
    ),
    "no seconds of audio": ({"usage": {"prompt_audio_seconds": 0, "prompt_tokens": 4}}, Usage(tokens_in=4)),
    "seconds that are null": ({"usage": {"prompt_audio_seconds": None, "prompt_tokens": 4}}, Usage(tokens_in=4)),
    "seconds that are none": ({"usage": {"prompt_audio_seconds": {}, "prompt_tokens": 4}}, Usage(tokens_in=4)),
    "a tier": ({"usage": {"prompt_tokens": 1, "service_tier": " Priority"}}, Usage(tokens_in=1, service_tier="priority")),
    "a tier behind": ({"usage": {"prompt_tokens": 1}, "service_tier": "flex"}, Usage(tokens_in=1, service_tier="flex")),
    "a tier before": ({"service_tier": "flex", "usage": {"prompt_tokens": 1}}, Usage(tokens_in=1, service_tier="flex")),
    "a tier that is null": ({"usage": {"prompt_tokens": 1, "service_tier": None}, "service_tier": None}, Usage(tokens_in=1)),
    "no usage": ({"model": "m"}, None),
    "usage null": ({"usage": None}, None),
    "usage empty": ({"usage": {}}, None),
    "usage a list": ({"usage": [{"prompt_tokens": 1}]}, None),
    "usage a number": ({"usage": 7}, None),
    "counters that are null": ({"usage": {"prompt_tokens": None}}, None),
    "a counter that is no count": ({"usage": {"prompt_tokens": 1, "completion_tokens": "2"}}, None),
    "a counter below nothing": ({"usage": {"prompt_tokens": -1}}, None),
    "null": (None, None),
}


def event(document: Any, *, before: str = "", end: str = "\n") -> str:
    """An event with one line of data."""
    return f"{before}data: {json.dumps(document)}{end}{end}"


def delta(**more: Any) -> dict[str, Any]:
    """A chunk of a streamed chat."""
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"delta": {"content": "data: x\n\n"}}], **more}


LAST = delta(model="mistral-small-latest", usage=RESPONSE["usage"])
DONE = "data: [DONE]\n\n"

STREAMS: dict[str, tuple[str, Usage | None]] = {
    "mistral": (event(delta(model="m")) + event(delta()) + event(LAST) + DONE, REPORTED),
    "nulls before": (event(delta(usage=None)) + event(LAST) + DONE, REPORTED),
    "nulls behind": (event(LAST) + event(delta(usage=None)) + event(delta(usage={})) + DONE, REPORTED),
    "the last wins": (event(delta(usage={"prompt_tokens": 1, "completion_tokens": 1})) + event(LAST) + DONE, REPORTED),
    "carriage returns and line feeds": (event(delta(), end="\r\n") + event(LAST, end="\r\n") + DONE, REPORTED),
    "carriage returns": (event(delta(), end="\r") + event(LAST, end="\r"), REPORTED),
    "comments and other fields": (
        ": ping\n\nretry: 3\nid: 7\n" + event(LAST, before="event: message\n:data: {\ndatas: {\ndata\n") + DONE,
        REPORTED,
    ),
    "no blank behind the colon": (event(LAST).replace("data: ", "data:"), REPORTED),
    "a document in several lines": ("data: " + json.dumps(LAST, indent=1).replace("\n", "\ndata:") + "\n\n" + DONE, REPORTED),
    "several lines with carriage returns": (
        "\r\n" + "data:" + json.dumps(LAST, indent=1).replace("\n", "\r\ndata:  ") + "\r\n\r\n",
        REPORTED,
    ),
    "a byte order mark": ("\ufeff" + event(LAST), REPORTED),
    "no line end at the end": (event(LAST).rstrip("\n"), REPORTED),
    "a response": (
        event({"type": "response.output_text.delta", "delta": "x"}, before="event: response.output_text.delta\n")
        + event(
            {"type": "response.completed", "response": {"model": "g", "usage": {"input_tokens": 3, "output_tokens": 4}}},
            before="event: response.completed\n",
        ),
        Usage(tokens_in=3, tokens_out=4, model="g"),
    ),
    "a conversation": (
        event({"type": "message.output.delta", "model": "m", "content": "x"}, before="event: message.output.delta\n")
        + event({"type": "conversation.response.done", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        Usage(tokens_in=3, tokens_out=4, model="m"),
    ),
    "a search": (
        event({"type": "message.output.delta", "model": "m", "content": "x"})
        + event({"type": "conversation.response.done", "usage": SEARCHED}),
        Usage(tokens_in=4120, tokens_out=30, model="m", unmetered=UNKNOWN_UNIT),
    ),
    "a tier in another event": (
        event(delta(service_tier="priority")) + event(LAST) + event(delta(service_tier=None)) + DONE,
        replace(REPORTED, service_tier="priority"),
    ),
    "a tier of a response": (
        event({"type": "response.created", "response": {"service_tier": "auto", "usage": None}})
        + event({"type": "response.completed", "response": {"service_tier": "flex", "usage": {"output_tokens": 4}}}),
        Usage(tokens_out=4, service_tier="flex"),
    ),
    "the last tier wins": (event(delta(service_tier="flex")) + event({**LAST, "service_tier": "default"}) + DONE, REPORTED),
    "an event that is not JSON": ("data: {oops\n\n" + event(LAST), REPORTED),
    "no usage": (event(delta()) + DONE, None),
    "only the end": (DONE, None),
    "nothing": ("", None),
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def stripped(usage: Usage | None) -> tuple[int | None, int | None, Unmetered | None]:
    """The tokens, and why there are none."""
    assert usage is not None
    return usage.tokens_in, usage.tokens_out, usage.unmetered


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_each_document_has_its_tokens_however_it_is_cut(name: str, decoders: ThreadPoolExecutor) -> None:
    """Tokens in and out, where a usage is; without one the reason, whether chat is named or its path is known."""
    document, expected = DOCUMENTS[name]
    for body in (json.dumps(document).encode(), json.dumps(document, indent=2).encode() + b"\n"):
        for facts in (JSON, replace(JSON, length=len(body))):
            for chunks in cuts(body):
                for plan in (MeterPlan(), NAMED):
                    usage = (await metered(facts, chunks, decoders, plan)).usage
                    assert usage == expected or (None, None, NO_USAGE) == stripped(usage)
                    assert (usage == expected) is (expected is not None)


@pytest.mark.parametrize("name", STREAMS)
async def test_each_stream_has_its_tokens_however_it_is_cut(name: str, decoders: ThreadPoolExecutor) -> None:
    """The last usage that a stream tells counts, however its lines end and wherever the chunks' borders are."""
    text, expected = STREAMS[name]
    for body in (text.encode(), text.encode() + b": more\n\n"):
        for chunks in cuts(body):
            assert (expected or NOTHING) == (await metered(SSE, chunks, decoders)).usage
            named = (await metered(SSE, chunks, decoders, NAMED)).usage
            assert named == expected or (None, None, NO_USAGE) == stripped(named)


async def test_a_stream_that_comes_coded_is_read(decoders: ThreadPoolExecutor) -> None:
    """gzip around a stream of events."""
    coded = gzip.compress((event(delta()) * 300 + event(LAST) + DONE).encode())
    facts = ResponseFacts("POST", PATH, 200, b"gzip", SSE.content_type)
    for chunks in cuts(coded):
        assert REPORTED == (await metered(facts, chunks, decoders)).usage


async def test_large_events_leave_the_loop_and_keep_their_order(decoders: ThreadPoolExecutor) -> None:
    """Events beyond what is read where they pass, in large chunks, many in one."""
    large = event({"x": [{}] * 60_000}) + event({"b64": "A" * 3_000_000}) + event(delta()) * 3000
    body = (large + event(LAST) + DONE).encode()
    for size in (len(body), 65536):
        assert REPORTED == (await metered(SSE, pieces(body, size), decoders)).usage


@pytest.mark.parametrize(
    ("facts", "body", "why"),
    [
        (JSON, b"<html>", NOT_JSON),
        (JSON, event(LAST).encode(), NOT_JSON),
        (SSE, b"data: <html>\n\n", NOT_JSON),
        (SSE, b"data: {", NOT_JSON),
        (SSE, json.dumps(RESPONSE).encode(), NO_USAGE),
        (SSE, b"<html>", NO_USAGE),
    ],
)
async def test_what_is_not_json_is_reported_where_chat_is_named(
    facts: ResponseFacts, body: bytes, why: Unmetered, decoders: ThreadPoolExecutor
) -> None:
    """The content type says how the response is read; what it is not then has no usage. Without a name a stream may have none."""
    for chunks in cuts(body):
        assert (None, None, why) == stripped((await metered(facts, chunks, decoders, NAMED)).usage)
        is_silent = facts is SSE and why is NO_USAGE
        assert (None, None, None if is_silent else why) == stripped((await metered(facts, chunks, decoders)).usage)


@pytest.mark.parametrize("cut", [Unmetered.BROKEN, Unmetered.CANCELLED])
async def test_a_stream_that_breaks_off_has_what_was_reported_before(cut: Unmetered, decoders: ThreadPoolExecutor) -> None:
    """A usage that was complete counts, with the cut beside it until the stream has ended: another usage might have come."""
    whole = (event(LAST) + DONE).encode()
    complete = whole.index(b"}}", whole.index(b'"total_tokens"')) + 2
    ended = whole.index(b"[DONE]") + 1
    for length in range(len(whole) + 1):
        for plan in (MeterPlan(), NAMED):
            for chunks in ([whole[:length]], pieces(whole[:length], 1)):
                usage = (await metered(SSE, chunks, decoders, plan, cut=cut)).usage
                if length < complete:
                    assert (None, None, cut) == stripped(usage)
                else:
                    assert replace(REPORTED, unmetered=None if length >= ended else cut) == usage


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        (b"/v1/chat/completions", True),
        (b"/v1/fim/completions", True),
        (b"/v1/agents/completions", True),
        (b"/openai/deployments/x/chat/completions", True),
        (b"/v1/completions", True),
        (b"/v1/embeddings", True),
        (b"/v1/responses", True),
        (b"/v1/conversations", True),
        (b"/v1/conversations/c-1", True),
        (b"/v1/conversations/c-1/restart", True),
        (b"/v1/publishers/mistralai/models/mistral-small-2503:streamRawPredict", True),
        (b"/v1/publishers/mistralai/models/mistral-small-2503:rawPredict", True),
        (b"/v1/conversations/c-1/history", False),
        (b"/v1/models", False),
        (b"/v1/files", False),
    ],
)
async def test_chat_is_counted_by_its_path(path: bytes, is_read: bool, decoders: ThreadPoolExecutor) -> None:
    """The paths of Mistral and OpenAI whose responses report tokens; a named route counts on every path."""
    body = [json.dumps(RESPONSE).encode()]
    for status in (200, 201):
        assert (REPORTED if is_read else None) == (await metered(ResponseFacts("POST", path, status), body, decoders)).usage
    assert REPORTED == (await metered(ResponseFacts("POST", path, 200), body, decoders, NAMED)).usage
    assert (await metered(ResponseFacts("GET", path, 200), body, decoders)).usage is None
    assert (await metered(ResponseFacts("POST", path, 429), body, decoders)).usage is None


async def test_a_raw_prediction_is_pages_or_tokens(decoders: ThreadPoolExecutor) -> None:
    """One path serves OCR and chat: pages where there are some, else tokens, else the reason, as a count is expected."""
    facts = ResponseFacts("POST", b"/m:rawPredict", 200)
    pages = {"model": "o", "usage_info": {"pages_processed": 2}, "usage": {"prompt_tokens": 1}}
    assert Usage(pages=2, model="o") == (await metered(facts, [json.dumps(pages).encode()], decoders)).usage
    assert Usage(model="m", unmetered=NO_USAGE) == (await metered(facts, [b'{"model":"m"}'], decoders)).usage


LAST_EVENTS = (
    {"type": "conversation.response.done", "usage": {"prompt_tokens": 1}},
    {"usage": {"prompt_tokens": 1}, "type": "conversation.response.done"},
    {"type": "response.completed", "response": {"usage": {"input_tokens": 1}}},
    {"type": "response.incomplete", "response": {"usage": {"input_tokens": 1}}},
)


@pytest.mark.parametrize("last", LAST_EVENTS, ids=lambda last: f"{last['type']}, {next(iter(last))} first")
async def test_a_stream_whose_last_event_has_come_is_not_cut(last: dict[str, Any], decoders: ThreadPoolExecutor) -> None:
    """Conversations and responses end without `[DONE]`: a client that leaves behind the last event misses nothing."""
    for body in (event(last), event(delta(usage={"prompt_tokens": 7})) + event(last)):
        for chunks in cuts(body.encode()):
            assert Usage(tokens_in=1) == (await metered(SSE, chunks, decoders, cut=Unmetered.CANCELLED)).usage
    more = (event(last) + event({"type": "response.created"})).encode()
    assert Usage(tokens_in=1, unmetered=Unmetered.BROKEN) == (await metered(SSE, [more], decoders, cut=Unmetered.BROKEN)).usage


async def test_a_stream_that_has_ended_without_usage_is_not_cut(decoders: ThreadPoolExecutor) -> None:
    """A client that leaves at `[DONE]` has had all of it: there is no usage to wait for."""
    body = (event(delta()) + DONE).encode()
    for chunks in cuts(body):
        assert NOTHING == (await metered(SSE, chunks, decoders, cut=Unmetered.CANCELLED)).usage
        named = (await metered(SSE, chunks, decoders, NAMED, cut=Unmetered.CANCELLED)).usage
        assert (None, None, NO_USAGE) == stripped(named)


@pytest.mark.parametrize("end", ["", " ", "   ", "\n\ndata:  "])
async def test_an_array_that_events_follow_does_not_end_a_stream(end: str, decoders: ThreadPoolExecutor) -> None:
    """Only the last event's data can be `[DONE]`; data that has not come says nothing."""
    body = (event(LAST) + "data: [1]\n\n" + event(delta()) + f"data:{end}").encode()
    for chunks in cuts(body):
        usage = (await metered(SSE, chunks, decoders, cut=Unmetered.CANCELLED)).usage
        assert replace(REPORTED, unmetered=Unmetered.CANCELLED) == usage


async def test_a_stream_that_could_not_be_read_to_its_end_has_the_reason_beside_its_count(decoders: ThreadPoolExecutor) -> None:
    """What is behind the bound, or behind coded bytes that are not complete, may have another usage."""
    early, body = event(delta(usage={"prompt_tokens": 7})), event(LAST) * 9
    usage = (await metered(SSE, [early.encode(), body.encode()], decoders, max_bytes=len(early) + 9)).usage
    assert Usage(tokens_in=7, unmetered=Unmetered.TOO_LARGE) == usage
    facts = ResponseFacts("POST", PATH, 200, b"gzip", SSE.content_type)
    coded = gzip.compress(early.encode())
    assert Usage(tokens_in=7, unmetered=Unmetered.UNKNOWN_CODING) == (await metered(facts, [coded[:-4]], decoders)).usage


async def test_a_document_that_is_cut_behind_its_usage_is_counted(decoders: ThreadPoolExecutor) -> None:
    """A document has one usage: once it is complete, the cut does not matter. Before, it is the reason."""
    body = json.dumps(RESPONSE).encode()
    for cut in (Unmetered.BROKEN, Unmetered.CANCELLED):
        assert REPORTED == (await metered(JSON, [body[:-1]], decoders, cut=cut)).usage
        assert (None, None, cut) == stripped((await metered(JSON, [body[:-2]], decoders, cut=cut)).usage)
        assert (None, None, cut) == stripped((await metered(JSON, [], decoders, cut=cut)).usage)


async def test_a_raw_prediction_can_be_a_stream(decoders: ThreadPoolExecutor) -> None:
    """Where one path serves OCR and chat, the content type tells events from a document."""
    facts = ResponseFacts("POST", b"/m:rawPredict", 200, None, SSE.content_type)
    whole = (event(LAST) + DONE).encode()
    assert REPORTED == (await metered(facts, [whole], decoders)).usage
    cut = (await metered(facts, [whole[:-9]], decoders, cut=Unmetered.CANCELLED)).usage
    assert replace(REPORTED, unmetered=Unmetered.CANCELLED) == cut
    last = event({"type": "response.completed", "response": {"usage": {"input_tokens": 1}}}).encode()
    assert Usage(tokens_in=1) == (await metered(facts, [last], decoders, cut=Unmetered.CANCELLED)).usage


@pytest.mark.parametrize(
    "tier", ["default", "Standard", "auto", " AUTO ", "", " ", None, 7, True, {}, ["priority"], "\u202ex", "x" * 2000]
)
async def test_the_standard_tier_has_no_name(tier: Any, decoders: ThreadPoolExecutor) -> None:
    """Only a tier that is billed apart is told; what can name none is ignored."""
    for document in (
        {"usage": {"prompt_tokens": 1, "service_tier": tier}},
        {"service_tier": tier, "usage": {"prompt_tokens": 1}},
    ):
        body = json.dumps(document).encode()
        for chunks in cuts(body):
            assert Usage(tokens_in=1) == (await metered(JSON, chunks, decoders)).usage


async def test_the_configured_model_wins(decoders: ThreadPoolExecutor) -> None:
    """The plan's model stands in the usage, whatever the response names."""
    usage = (await metered(JSON, [json.dumps(RESPONSE).encode()], decoders, MeterPlan(model="mine"))).usage
    assert usage is not None
    assert "mine" == usage.model


@given(
    st.lists(st.tuples(st.text(max_size=30), st.integers(0, 2**40)), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 60),
)
async def test_random_streams_cut_anywhere_have_the_last_usage(said: list[tuple[str, int]], end: str, size: int) -> None:
    """For any text and any chunk borders the last event's count is found."""
    text = "".join(event(delta(text=each, usage={"prompt_tokens": tokens}), end=end) for each, tokens in said)
    with ThreadPoolExecutor(1) as decoders:
        usage = (await metered(SSE, pieces(text.encode(), size), decoders)).usage
    assert Usage(tokens_in=said[-1][1]) == usage


@pytest.mark.wire
async def test_tokens_are_read_on_the_road() -> None:
    """A chat that streams is counted while its events pass."""
    content = (event(delta()) + event(LAST) + DONE).encode()
    async with street(answering(ok(content, b"Content-Type: text/event-stream"))) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/chat/completions HTTP/1.1", body=b"{}"))
        assert content == (await raw.answer())[1]
        assert REPORTED == (await house.booked())[0].usage_source.usage_if_ready()
