"""The OCR parameters in `litellm_params`, as the JSON that a request gets where it does not have them itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from .. import values
from ..problems import At, InvalidValue, Problems

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?", re.ASCII)
_WORDS: Final[Mapping[str, object]] = {"true": True, "false": False}


def _switch(value: object) -> object:
    return values.switch(_text(value))


def _count(value: object) -> object:
    text = _text(value)
    return 0 if text.strip() == "0" else values.count(text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidValue("A single value is expected here, not a list or a mapping.", "Write text, a number, or true or false.")


def _pages(value: object) -> object:
    if isinstance(value, list):
        return [_count(page) for page in value]
    return _text(value)


def _mapping(value: object) -> object:
    if not isinstance(value, dict):
        raise InvalidValue("A mapping (key: value) is expected here.", "Write {key: value}, or each key on a line of its own.")
    return _json(value)


def _json(value: object) -> object:
    """Return a part of the file as JSON has it: the file has texts only, of which some spell a number or a truth value."""
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value in _WORDS:
        return _WORDS[value]
    if _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


_KINDS: Final[Mapping[str, Callable[[object], object]]] = {
    "pages": _pages,
    "include_image_base64": _switch,
    "image_limit": _count,
    "image_min_size": _count,
    "bbox_annotation_format": _mapping,
    "document_annotation_format": _mapping,
    "document_annotation_prompt": _text,
    "table_format": _text,
    "extract_header": _switch,
    "extract_footer": _switch,
    "confidence_scores_granularity": _text,
    "include_blocks": _switch,
}
"""Each parameter of Mistral's OCR API (docs.mistral.ai, POST /v1/ocr) → what its value in the file must be."""

DEFAULTS: Final = tuple(_KINDS)


def as_json(params: Mapping[str, object], at: At, problems: Problems) -> dict[str, object]:
    """Return the parameters with those of OCR as JSON texts; wrong ones are noted and left out."""
    found = dict(params)
    for name in _KINDS:
        if name not in found:
            continue
        value = found.pop(name)
        try:
            found[name] = json.dumps(_KINDS[name](value), ensure_ascii=False, separators=(",", ":"))
        except InvalidValue as invalid:
            problems.wrong((*at, name), invalid.what, invalid.hint)
    return found
