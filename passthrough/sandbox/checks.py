"""Checks the JSON of a request: its fields, with what is wrong in pydantic's words, which are those of Mistral's 422."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from .errors import EXTRA, MISSING, flaw, unprocessable

Check = Callable[[object], tuple[str, str] | None]
"""Returns what is wrong with a value: a type and a message, or None."""

STRING: Final = ("string_type", "Input should be a valid string")
OBJECT: Final = ("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
_DEEPEST: Final = 100


def anything(_: object) -> None:
    """Find nothing wrong: the field is known, and the sandbox does nothing with it."""


def text(value: object) -> tuple[str, str] | None:
    """Check that a value is a string."""
    return None if isinstance(value, str) else STRING


def flag(value: object) -> tuple[str, str] | None:
    """Check that a value is a boolean."""
    return None if isinstance(value, bool) else ("bool_type", "Input should be a valid boolean")


def mapping(value: object) -> tuple[str, str] | None:
    """Check that a value is an object."""
    return None if isinstance(value, dict) else OBJECT


def array(value: object) -> tuple[str, str] | None:
    """Check that a value is an array."""
    return None if isinstance(value, list) else ("list_type", "Input should be a valid list")


def count(value: object) -> tuple[str, str] | None:
    """Check that a value is an integer from 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        return "int_type", "Input should be a valid integer"
    return None if value >= 0 else ("greater_than_equal", "Input should be greater than or equal to 0")


def whole(least: int, most: int) -> Check:
    """Return the check that a value is an integer within these bounds."""

    def check(value: object) -> tuple[str, str] | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return "int_type", "Input should be a valid integer"
        if value < least:
            return "greater_than_equal", f"Input should be greater than or equal to {least}"
        return None if value <= most else ("less_than_equal", f"Input should be less than or equal to {most}")

    return check


def number(least: float, most: float) -> Check:
    """Return the check that a value is a number within these bounds."""

    def check(value: object) -> tuple[str, str] | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "float_type", "Input should be a valid number"
        if value < least:
            return "greater_than_equal", f"Input should be greater than or equal to {least}"
        return None if value <= most else ("less_than_equal", f"Input should be less than or equal to {most}")

    return check


def one_of(*choices: str) -> Check:
    """Return the check that a value is one of some strings."""
    wrong = ("literal_error", f"Input should be {' or '.join(repr(choice) for choice in choices)}")
    return lambda value: None if value in choices else wrong


def nullable(check: Check) -> Check:
    """Return the check of a required field that may be null."""
    return lambda value: None if value is None else check(value)


def field_flaws(body: Mapping[str, object], fields: Mapping[str, Check], required: Sequence[str]) -> list[dict[str, object]]:
    """Return the flaws of a request's fields: missing, unknown and wrong ones. Null stands for a missing optional field."""
    flaws = [flaw(("body", name), MISSING, body) for name in required if name not in body]
    for name, value in body.items():
        check = fields.get(name)
        wrong = EXTRA if check is None else None
        if check is not None and (value is not None or name in required):
            wrong = check(value)
        if wrong is not None:
            flaws.append(flaw(("body", name), wrong, value))
    return flaws


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the object that a body is. Raises Rejection (422) for anything else, and for JSON that is nested too deeply."""
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        deep = _deeper(body, _DEEPEST)
    except (ValueError, RecursionError) as wrong:
        at = wrong.pos if isinstance(wrong, json.JSONDecodeError) else 0
        cause = wrong.msg if isinstance(wrong, json.JSONDecodeError) else "Invalid JSON"
        raise unprocessable([_not_json(at, cause)]) from None
    if deep:  # its echo in the 422 would be as deep, and could not be serialised
        raise unprocessable([_not_json(0, "Nested too deeply")])
    if not isinstance(body, dict):
        raise unprocessable([flaw(("body",), OBJECT, body)])
    return body


def _not_json(at: int, cause: str) -> dict[str, object]:
    return {**flaw(("body", at), ("json_invalid", "JSON decode error"), {}), "ctx": {"error": cause}}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 §6)")


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner if isinstance(item, (dict, list)))
