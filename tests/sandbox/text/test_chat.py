"""Chat and fill-in-the-middle: what is answered, what it costs, and how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.sandbox.text.tokens import image_token_count, token_count, tokens
from tests.harness.documents import image, pdf
from tests.harness.office import docx, paragraph
from tests.harness.sandbox_caller import Caller, data_uri, shaped

MODEL = "mistral-small-latest"
Json = Any


async def chat(caller: Caller, content: object = "Hello there", **rest: object) -> tuple[int, Json]:
    """Return status and JSON of a chat of one message."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **rest}
    return await caller.call("POST", "/v1/chat/completions", data=json.dumps(body).encode())


async def streamed(caller: Caller, **rest: object) -> list[Json]:
    """Return the chunks of a streamed chat, after a look at its frame."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello there"}], "stream": True, **rest}
    async with caller.session.post(f"{caller.base}/v1/chat/completions", json=body) as response:
        assert (200, "text/event-stream; charset=utf-8") == (response.status, response.headers["content-type"])
        assert response.headers["x-passthrough-sandbox"] == "true"
        events = (await response.read()).decode().split("\n\n")
    assert ["data: [DONE]", ""] == events[-2:]
    assert all(event.startswith("data: ") for event in events[:-1])
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


async def test_an_answer_has_every_key_of_mistrals(caller: Caller) -> None:
    """The model is answered by the name that was asked for, as Mistral does; the usage is the sum of its parts."""
    status, response = await chat(caller)
    assert 200 == status
    assert {"id", "object", "created", "model", "usage", "choices"} == set(response)
    assert ("chat.completion", 1_800_000_000, MODEL) == (response["object"], response["created"], response["model"])
    (choice,) = response["choices"]
    said = "This is the passthrough sandbox, where no model runs. You said: Hello there"
    assert {"role": "assistant", "tool_calls": None, "content": said} == choice["message"]
    assert (0, "stop") == (choice["index"], choice["finish_reason"])
    used = response["usage"]
    assert (token_count("Hello there") + 3, token_count(said)) == (used["prompt_tokens"], used["completion_tokens"])
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


async def test_a_stream_says_the_same_and_ends_with_its_usage(caller: Caller) -> None:
    """A token in each event, the reason of the end and the usage in the last one only, and then the mark of the end."""
    _, whole = await chat(caller)
    chunks = await streamed(caller)
    assert {"role": "assistant", "content": ""} == chunks[0]["choices"][0]["delta"]
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert whole["choices"][0]["message"]["content"] == said
    assert [None] * (len(chunks) - 1) + ["stop"] == [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert [whole["usage"]] == [chunk["usage"] for chunk in chunks if "usage" in chunk]
    assert whole["usage"] == chunks[-1]["usage"]
    assert len(chunks) == whole["usage"]["completion_tokens"] + 2
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}


async def test_answers_are_as_long_as_is_asked_for(caller: Caller) -> None:
    """`max_tokens` cuts and says so, `min_tokens` lengthens, `n` multiplies what is billed."""
    for rest, new, reason, choices in (
        ({"max_tokens": 5}, 5, "length", 1),
        ({"max_tokens": 0}, 0, "length", 1),
        ({"min_tokens": 3000}, 3000, "stop", 1),
        ({"min_tokens": 3000, "max_tokens": 7}, 7, "length", 1),
        ({"max_tokens": 5, "n": 3}, 15, "length", 3),
    ):
        _, response = await chat(caller, **rest)
        assert (new, choices) == (response["usage"]["completion_tokens"], len(response["choices"]))
        assert {reason} == {choice["finish_reason"] for choice in response["choices"]}
        chunks = await streamed(caller, **rest)
        assert new == chunks[-1]["usage"]["completion_tokens"]
        assert set(range(choices)) == {chunk["choices"][0]["index"] for chunk in chunks}


async def test_a_document_is_read_and_costs_its_text(caller: Caller) -> None:
    """The text of a PDF, a DOCX, or a file that was uploaded is in the answer and in the prompt's tokens."""
    _, uploaded = await caller.upload(pdf(2, "Uploaded page {page}"))
    _, plain = await chat(caller, [{"type": "text", "text": "What is it?"}])
    for source, text in (
        ({"type": "document_url", "document_url": data_uri(pdf(1, "A page"))}, "Of 1 page I read: A page"),
        ({"type": "document_url", "document_url": data_uri(docx(paragraph("A letter")))}, "Of 1 page I read: A letter"),
        ({"type": "file", "file_id": uploaded["id"]}, "Of 2 pages I read: Uploaded page 0\n\nUploaded page 1"),
    ):
        status, response = await chat(caller, [{"type": "text", "text": "What is it?"}, source])
        assert (200, True) == (status, text in response["choices"][0]["message"]["content"])
        read = token_count(text.partition(": ")[2])
        assert plain["usage"]["prompt_tokens"] + read + 1 >= response["usage"]["prompt_tokens"] >= read


async def test_an_image_costs_its_patches(caller: Caller) -> None:
    """An image has no text, and is billed by its size."""
    _, plain = await chat(caller, [{"type": "text", "text": "What is it?"}])
    for source in ({"type": "image_url", "image_url": data_uri(image("PNG", 280, 100), "image/png")},):
        _, response = await chat(caller, [{"type": "text", "text": "What is it?"}, source])
        assert 40 == response["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"] - token_count("\n")


def test_images_are_scaled_before_they_are_counted() -> None:
    """A token is a patch of 28 by 28 pixels of an image that fits into 1540 by 1540: none costs nothing or more than 3025."""
    assert [1, 1, 2, 3025, 3025, 55] == [
        image_token_count(*size) for size in ((1, 1), (28, 28), (29, 28), (1540, 1540), (10_000, 10_000), (10_000, 10))
    ]


@given(st.text())
def test_tokens_are_the_text(text: str) -> None:
    """Put together they are the text again, whatever it is, and their number is what is billed."""
    found = list(tokens(text))
    assert text == "".join(found)
    assert len(found) == token_count(text)


async def test_json_is_answered_with_json(caller: Caller) -> None:
    """JSON mode is an object, a schema one of empty values that fits it."""
    _, response = await chat(caller, response_format={"type": "json_object"})
    assert {"sandbox": "No model runs."} == json.loads(response["choices"][0]["message"]["content"])
    schema = {"schema": {"type": "object", "properties": {"total": {"type": "number"}}}}
    _, response = await chat(caller, response_format={"type": "json_schema", "json_schema": schema})
    assert {"total": 0} == json.loads(response["choices"][0]["message"]["content"])
    _, response = await chat(caller, response_format={"type": "text"})
    assert "sandbox" in response["choices"][0]["message"]["content"]


async def test_code_is_filled_in(caller: Caller) -> None:
    """Codestral's endpoint takes a prompt and a suffix, whole and streamed; a model that cannot is refused."""
    body = {"model": "codestral-latest", "prompt": "def f():", "suffix": "return x"}
    status, response = await caller.call("POST", "/v1/fim/completions", json=body)
    assert (200, "codestral-latest") == (status, response["model"])
    assert response["usage"]["prompt_tokens"] == token_count("def f():return x") + 3
    async with caller.session.post(f"{caller.base}/v1/fim/completions", json={**body, "stream": True}) as streaming:
        assert (await streaming.read()).endswith(b"data: [DONE]\n\n")
    refused = await caller.call("POST", "/v1/fim/completions", json={**body, "model": MODEL})
    assert (400, shaped("invalid_model", f"Invalid model: {MODEL}", "1500")) == refused
    status, response = await caller.call("POST", "/v1/fim/completions", json={"model": "codestral-latest", "x": 1})
    assert (422, ["missing", "extra_forbidden"]) == (status, [one["type"] for one in response["detail"]])


USER = {"role": "user", "content": "x"}
FLAWS: dict[str, tuple[dict[str, object], list[object], str]] = {
    "unknown field": ({"foo": 1}, ["body", "foo"], "extra_forbidden"),
    "no messages": ({"messages": []}, ["body", "messages"], "too_short"),
    "messages no list": ({"messages": "x"}, ["body", "messages"], "list_type"),
    "message no object": ({"messages": ["x"]}, ["body", "messages", 0], "model_attributes_type"),
    "no role": ({"messages": [{"content": "x"}]}, ["body", "messages", 0, "role"], "missing"),
    "odd role": ({"messages": [USER, {"role": "king"}]}, ["body", "messages", 1, "role"], "literal_error"),
    "content a number": ({"messages": [{"role": "user", "content": 1}]}, ["body", "messages", 0, "content"], "string_type"),
    "chunk a number": (
        {"messages": [{"role": "user", "content": [1]}]},
        ["body", "messages", 0, "content", 0],
        "model_attributes_type",
    ),
    "odd chunk": (
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        ["body", "messages", 0, "content", 0, "type"],
        "literal_error",
    ),
    "text a number": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        ["body", "messages", 0, "content", 0, "text"],
        "string_type",
    ),
    "document without URL": (
        {"messages": [{"role": "user", "content": [{"type": "document_url"}]}]},
        ["body", "messages", 0, "content", 0, "document_url"],
        "missing",
    ),
    "too hot": ({"temperature": 2.0}, ["body", "temperature"], "less_than_equal"),
    "too cold": ({"temperature": -1}, ["body", "temperature"], "greater_than_equal"),
    "warm": ({"temperature": "warm"}, ["body", "temperature"], "float_type"),
    "negative": ({"max_tokens": -5}, ["body", "max_tokens"], "greater_than_equal"),
    "half": ({"max_tokens": 0.5}, ["body", "max_tokens"], "int_type"),
    "too many": ({"n": 100}, ["body", "n"], "less_than_equal"),
    "model null": ({"model": None}, ["body", "model"], "string_type"),
}


@pytest.mark.parametrize(("rest", "place", "kind"), FLAWS.values(), ids=FLAWS)
async def test_a_flaw_is_reported_with_its_place(caller: Caller, rest: dict[str, object], place: list[object], kind: str) -> None:
    """A request that is not as documented is a 422 that names the place."""
    status, response = await chat(caller, **rest)
    assert (422, [(place, kind)]) == (status, [(one["loc"], one["type"]) for one in response["detail"]])


async def test_null_is_as_good_as_nothing(caller: Caller) -> None:
    """Clients send null for what they do not set."""
    status, _ = await chat(caller, max_tokens=None, temperature=None, stream=None, tools=None, response_format=None, n=None)
    assert 200 == status


async def test_errors_are_mistrals(caller: Caller) -> None:
    """Unknown models, an order of roles that cannot be answered, too long a prompt, a document that is not there."""
    said = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
    answered = [USER, {"role": "assistant", "content": "y"}]
    long = "word " * 140_000
    for rest, expected in (
        ({"model": "gpt"}, shaped("invalid_model", "Invalid model: gpt", "1500")),
        ({"model": "mistral-embed"}, shaped("invalid_model", "Invalid model: mistral-embed", "1500")),
        ({"messages": answered}, shaped("invalid_request_message_order", said, "3230")),
        (
            {"model": "ministral-3b-latest", "messages": [{"role": "user", "content": long}]},
            shaped(
                "invalid_request_invalid_args",
                f"Prompt contains {token_count(long) + 3} tokens and 0 draft tokens, "
                "too large for model with 131072 maximum context length",
                "3051",
            ),
        ),
    ):
        assert (400, expected) == await chat(caller, **rest)
        assert (400, expected) == await chat(caller, **rest, stream=True)
    status, _ = await chat(caller, messages=[USER, {"role": "assistant", "content": "y", "prefix": True}])
    assert 200 == status
    status, response = await chat(caller, [{"type": "document_url", "document_url": "https://example.com/a.pdf"}])
    assert (400, "3310") == (status, response["code"])


async def test_clients_that_leave_a_stream_do_no_harm(caller: Caller) -> None:
    """A stream that breaks behind its first event leaves a sandbox that answers the next."""
    body = {"model": MODEL, "messages": [USER], "stream": True, "min_tokens": 30_000}
    response = await caller.session.post(f"{caller.base}/v1/chat/completions", json=body)
    assert b"data: " == await response.content.readexactly(6)
    response.close()
    assert 200 == (await chat(caller))[0]
