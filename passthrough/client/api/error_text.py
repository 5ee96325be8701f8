"""The message in the body of an error response, as one line that is safe to show: no document, no key, no control character."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 300
_MAX_DEPTH: Final = 8
_MAX_LISTED: Final = 3
_NO_JSON: Final = object()
_NAMES: Final = (
    "message",
    "detail",
    "error",
    "errors",
    "msg",
    "title",
    "error_description",
    "fault",
    "faultstring",
    "type",
    "code",
)
_MESSAGE: Final = re.compile(r'"(?:msg|message|detail)"\s*:\s*("(?:[^"\\]|\\.){0,2000}")')
_TITLE: Final = re.compile(r"<title[^>]{0,200}>([^<]{0,500})</title", re.IGNORECASE)
_ECHOES: Final = (
    (re.compile(r"data:[\w/+.;=-]{0,100},[A-Za-z0-9+/=_%-]*"), "data:…"),
    (re.compile(r"input(?:_value)?=.*?(?=, input_type=|\]|$)", re.DOTALL), "input=…"),
    (re.compile(r"[A-Za-z0-9+/=_-]{64,}"), "…"),
)


@dataclass(frozen=True, slots=True)
class ErrorText:
    """What an error says: its message and hint, empty where there is none, and the words by which programs tell it apart."""

    message: str
    hint: str = ""
    kinds: frozenset[str] = frozenset()


def error_text(body: bytes | str, secrets: Iterable[str] = ()) -> ErrorText:
    """Return what a body says, whatever its shape; `secrets` are cut out. A body may be the beginning of a larger one."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    value = _parsed(text)
    if value is _NO_JSON:
        return ErrorText(safe_line(_of_text(text), secrets))
    top = value[0] if isinstance(value, list) and value else value
    fields = top if isinstance(top, dict) else {}
    inner = fields["error"] if isinstance(fields.get("error"), dict) else fields
    kinds = frozenset(str(inner[name]) for name in ("type", "code") if isinstance(inner.get(name), (str, int)))
    hint = fields.get("hint")
    return ErrorText(safe_line(_message(value, 0), secrets), safe_line(hint, secrets) if isinstance(hint, str) else "", kinds)


def safe_line(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text of the network as one line of at most 300 printable characters, without secrets and documents."""
    for secret in secrets:
        text = text.replace(secret, "***")
    for pattern, instead in _ECHOES:
        text = pattern.sub(instead, text)
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def _of_text(text: str) -> str:
    """Return what a text says that is no JSON: the beginning of JSON, a page, or plain words."""
    start = text.lstrip()[:1]
    if start in {"{", "["}:
        found = [json.loads(each[1], strict=False) for each in _MESSAGE.finditer(text) if _parsed(each[1]) is not _NO_JSON]
        return "; ".join(found[:_MAX_LISTED])
    if start == "<":
        title = _TITLE.search(text)
        return title[1] if title is not None else ""
    return text


def _message(value: object, depth: int) -> str:
    """Return the message in a value of JSON.

    1. A text that is JSON itself is read as such (Azure).
    2. A list says what its first items say.
    3. One flaw of a field (FastAPI) is its place and what is wrong; never `input`, which is the document.
    4. Of an object the first name counts that leads to a message.
    """
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        inner = _parsed(value) if value.lstrip()[:1] in {"{", "["} else _NO_JSON
        return value if inner is _NO_JSON else _message(inner, depth + 1)
    if isinstance(value, list):
        return "; ".join(found for each in value[:_MAX_LISTED] if (found := _message(each, depth + 1)))
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("msg"), str) and isinstance(value.get("loc"), list):
        place = ".".join(str(each) for each in value["loc"] if each != "body")
        return f"{place}: {value['msg']}" if place else value["msg"]
    return next((found for name in _NAMES if (found := _message(value.get(name), depth + 1))), "")
