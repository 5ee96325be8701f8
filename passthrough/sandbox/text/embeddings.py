"""The sandbox's embeddings: vectors of words, so that texts with the same words are near each other, though no model runs."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Mapping
from typing import Final

from ..checks import Check, field_flaws, mapping, one_of, parsed, whole
from ..errors import error, flaw, unprocessable
from ..models import model_for
from ..provider import fail_if_asked
from .tokens import token_count

_MAX_DIMENSIONS: Final = 3072
_MAX_INPUTS: Final = 512  # Mistral's
_DIGITS: Final = 7
_WORD: Final = re.compile(r"\w+")
_INPUTS: Final = ("string_type", "Input should be a valid string or a list of strings")


def _input(value: object) -> tuple[str, str] | None:
    texts = value if isinstance(value, list) else [value]
    return None if texts and all(isinstance(text, str) for text in texts) else _INPUTS


_FIELDS: Final[Mapping[str, Check]] = {
    "model": lambda value: None if isinstance(value, str) else ("string_type", "Input should be a valid string"),
    "input": _input,
    "metadata": mapping,
    "output_dimension": whole(1, _MAX_DIMENSIONS),
    "output_dtype": one_of("float"),
    "encoding_format": one_of("float"),
}


def embedded(raw: bytes) -> dict[str, object]:
    """Return the response to the embeddings request `raw`. Blocks; runs on the reader's JobThread. Raises Rejection."""
    body = parsed(raw)
    flaws = field_flaws(body, _FIELDS, ("model", "input"))
    if flaws:
        raise unprocessable(flaws)
    name = body["model"]
    fail_if_asked(name)
    model = model_for(name, "embed")
    dimensions = body.get("output_dimension") or model.dimensions
    if dimensions > model.dimensions:
        wrong = ("less_than_equal", f"Input should be less than or equal to {model.dimensions}")
        raise unprocessable([flaw(("body", "output_dimension"), wrong, dimensions)])
    texts: list[str] = body["input"] if isinstance(body["input"], list) else [body["input"]]
    if len(texts) > _MAX_INPUTS:
        raise error(400, "invalid_request_prompt", "Too many inputs in request, split into more batches.", "3210")
    counts = [token_count(text) + 1 for text in texts]
    if max(counts) > model.context:
        message = f"Input id {counts.index(max(counts))} has {max(counts)} tokens, exceeding max {model.context} tokens."
        raise error(400, "invalid_request_prompt", message, "3210")
    used = sum(counts)
    return {
        "id": uuid.uuid4().hex,
        "object": "list",
        "data": [{"object": "embedding", "embedding": vector(text, dimensions), "index": at} for at, text in enumerate(texts)],
        "model": name,
        "usage": {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0},
    }


def vector(text: str, dimensions: int) -> list[float]:
    """Return a vector of length 1: each word of the text adds to one of the dimensions, or takes from it.

    The same text has the same vector, everywhere. A text without words has that of the empty one.
    """
    found = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [""]:
        drawn = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())
        found[(drawn >> 1) % dimensions] += 1.0 if drawn & 1 else -1.0
    length = math.sqrt(sum(value * value for value in found))
    if not length:  # words that cancel each other
        found[0] = length = 1.0
    return [round(value / length, _DIGITS) for value in found]
