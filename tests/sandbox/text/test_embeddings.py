"""Embeddings: vectors that can be compared, tokens that are billed, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.sandbox.text.embeddings import vector
from passthrough.sandbox.text.tokens import token_count
from tests.harness.sandbox_caller import Caller, shaped


async def embed(caller: Caller, texts: object, **rest: object) -> tuple[int, Any]:
    """Return status and JSON of a call."""
    body = {"model": "mistral-embed", "input": texts, **rest}
    return await caller.call("POST", "/v1/embeddings", data=json.dumps(body).encode())


def likeness(one: list[float], other: list[float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_texts_of_the_same_words_are_near_each_other(caller: Caller) -> None:
    """One vector for each text, in order; related texts are nearer than others, and the same text is the same vector."""
    texts = ["The cat sits", "the cat sits on a mat", "Invoice 17", "The cat sits"]
    status, response = await embed(caller, texts)
    assert (200, "list", "mistral-embed") == (status, response["object"], response["model"])
    assert [0, 1, 2, 3] == [one["index"] for one in response["data"]]
    first, near, far, same = (one["embedding"] for one in response["data"])
    assert first == same
    assert likeness(first, near) > 0.5 > likeness(first, far)
    used = sum(token_count(text) + 1 for text in texts)
    assert {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0} == response["usage"]


async def test_vectors_have_the_models_length_or_less(caller: Caller) -> None:
    """1024 for mistral-embed, 1536 for codestral-embed, fewer where that is asked for; a string alone is one text."""
    for rest, dimensions in (({}, 1024), ({"output_dimension": 256}, 256), ({"model": "codestral-embed"}, 1536)):
        _, response = await embed(caller, "text", **rest)
        assert [dimensions] == [len(one["embedding"]) for one in response["data"]]


@given(st.text(), st.integers(1, 50))
def test_every_vector_has_length_one(text: str, dimensions: int) -> None:
    """Also that of a text without words, and of one whose words cancel each other."""
    assert math.isclose(1.0, math.hypot(*vector(text, dimensions)), abs_tol=1e-5)


FLAWS: dict[str, tuple[dict[str, object], list[object], str]] = {
    "no texts": ({"input": []}, ["body", "input"], "string_type"),
    "a number": ({"input": [1]}, ["body", "input"], "string_type"),
    "null": ({"input": None}, ["body", "input"], "string_type"),
    "model": ({"model": 1}, ["body", "model"], "string_type"),
    "dimensions": ({"output_dimension": 2000}, ["body", "output_dimension"], "less_than_equal"),
    "type": ({"output_dtype": "int8"}, ["body", "output_dtype"], "literal_error"),
    "field": ({"inputs": "x"}, ["body", "inputs"], "extra_forbidden"),
}


@pytest.mark.parametrize(("rest", "place", "kind"), FLAWS.values(), ids=FLAWS)
async def test_a_flaw_is_reported_with_its_place(caller: Caller, rest: dict[str, object], place: list[object], kind: str) -> None:
    """A request that is not as documented is a 422 that names the place."""
    status, response = await caller.call("POST", "/v1/embeddings", json={"model": "mistral-embed", "input": "x", **rest})
    assert (422, [(place, kind)]) == (status, [(one["loc"], one["type"]) for one in response["detail"]])


async def test_the_inputs_of_a_call_are_bounded(caller: Caller) -> None:
    """512, as at Mistral: thousands of vectors would be a response of many megabytes, made while nothing else runs."""
    status, response = await embed(caller, ["x"] * 512, output_dimension=1)
    assert (200, 512) == (status, len(response["data"]))
    wrong = shaped("invalid_request_prompt", "Too many inputs in request, split into more batches.", "3210")
    assert (400, wrong) == await embed(caller, ["x"] * 513, output_dimension=1)


async def test_what_a_model_cannot_do_is_refused(caller: Caller) -> None:
    """A chat's model has no vectors, and a text may be too long."""
    wrong = shaped("invalid_model", "Invalid model: mistral-small-latest", "1500")
    assert (400, wrong) == await embed(caller, "x", model="mistral-small-latest")
    status, response = await embed(caller, ["x", "word " * 9000])
    assert (400, "3210") == (status, response["code"])
    assert "Input id 1 has 9002 tokens" in response["message"]
