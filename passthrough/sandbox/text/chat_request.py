"""Parses the JSON of a chat or a fill-in-the-middle request, or answers with a 422 that lists every flaw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..checks import OBJECT, Check, anything, array, field_flaws, flag, mapping, number, one_of, parsed, text, whole
from ..errors import MISSING, error, flaw, unprocessable
from ..request import Source, named_source

MAX_NEW_TOKENS: Final = 32_768
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_LAST_ROLES: Final = {"user", "tool"}
_SOURCES: Final = {"document_url": "document_url", "image_url": "image_url", "file": "file_id"}
_OTHER_CHUNKS: Final = ("text", "reference", "thinking")

_COMMON: Final[Mapping[str, Check]] = {
    "model": text,
    "temperature": number(0, 1.5),
    "top_p": number(0, 1),
    "max_tokens": whole(0, 2**31),
    "min_tokens": whole(0, MAX_NEW_TOKENS),
    "stream": flag,
    "stop": anything,
    "random_seed": whole(0, 2**63),
    "metadata": mapping,
    "prompt_cache_key": text,
}
_CHAT: Final[Mapping[str, Check]] = {
    **_COMMON,
    "messages": array,
    "response_format": mapping,
    "tools": array,
    "tool_choice": anything,
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "n": whole(1, 16),
    "prediction": mapping,
    "parallel_tool_calls": flag,
    "reasoning_effort": text,
    "prompt_mode": one_of("reasoning"),
    "guardrails": array,
    "service_tier": text,
    "safe_prompt": flag,
}
_FIM: Final[Mapping[str, Check]] = {**_COMMON, "prompt": text, "suffix": text}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request for text.

    `prompt` is everything that was said, `last` the last message alone, `messages` their number. `sources` are the documents
    and images within. `max_tokens` None: as many as the answer has. `form` is the `response_format`, None for plain text.
    """

    model: str
    prompt: str
    last: str
    messages: int
    sources: tuple[Source, ...] = ()
    max_tokens: int | None = None
    min_tokens: int = 0
    choices: int = 1
    stream: bool = False
    form: Mapping[str, object] | None = None


def parse_chat(raw: bytes) -> ChatRequest:
    """Return the parsed body of a chat request. Raises Rejection: 422 with every flaw, 400 if the roles are out of order."""
    body = parsed(raw)
    flaws = field_flaws(body, _CHAT, ("model", "messages"))
    messages = body.get("messages")
    sources: list[Source] = []
    said = [
        _message(one, ("body", "messages", at), sources, flaws)
        for at, one in enumerate(messages if isinstance(messages, list) else [])
    ]
    if not flaws and not said:
        flaws.append(flaw(("body", "messages"), ("too_short", "List should have at least 1 item after validation"), messages))
    if flaws:
        raise unprocessable(flaws)
    _check_order(body["messages"][-1])
    form = body.get("response_format")
    is_json = isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}
    return ChatRequest(
        prompt="\n".join(said),
        last=said[-1],
        messages=len(said),
        sources=tuple(sources),
        choices=body.get("n") or 1,
        form=form if is_json else None,
        **_common(body),
    )


def parse_fim(raw: bytes) -> ChatRequest:
    """Return the parsed body of a fill-in-the-middle request. Raises Rejection (422) with every flaw."""
    body = parsed(raw)
    flaws = field_flaws(body, _FIM, ("model", "prompt"))
    if flaws:
        raise unprocessable(flaws)
    prompt = f"{body['prompt']}{body.get('suffix') or ''}"
    return ChatRequest(prompt=prompt, last=body["prompt"], messages=1, **_common(body))


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": body["model"],
        "max_tokens": body.get("max_tokens"),
        "min_tokens": body.get("min_tokens") or 0,
        "stream": bool(body.get("stream")),
    }


def _check_order(last: Mapping[str, object]) -> None:
    role = last["role"]
    if role not in _LAST_ROLES and not (role == "assistant" and last.get("prefix") is True):
        message = f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {role}"
        raise error(400, "invalid_request_message_order", message, "3230")


def _message(one: object, at: tuple[str | int, ...], sources: list[Source], flaws: list[dict[str, object]]) -> str:
    """Return the text of a message; add its documents to `sources`, and what is wrong with it to `flaws`."""
    if not isinstance(one, dict):
        flaws.append(flaw(at, OBJECT, one))
        return ""
    wrong = one_of(*_ROLES)(one.get("role"))
    if wrong:
        flaws.append(flaw((*at, "role"), wrong, one.get("role")) if "role" in one else flaw((*at, "role"), MISSING, one))
    content = one.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        flaws.append(flaw((*at, "content"), ("string_type", "Input should be a valid string"), content))
        return ""
    return "\n".join(_chunk(chunk, (*at, "content", place), sources, flaws) for place, chunk in enumerate(content))


def _chunk(chunk: object, at: tuple[str | int, ...], sources: list[Source], flaws: list[dict[str, object]]) -> str:
    if not isinstance(chunk, dict):
        flaws.append(flaw(at, OBJECT, chunk))
        return ""
    kind = chunk.get("type", "text")
    if not isinstance(kind, str) or kind not in {*_SOURCES, *_OTHER_CHUNKS}:
        flaws.append(flaw((*at, "type"), one_of(*_OTHER_CHUNKS, *_SOURCES)(None) or MISSING, kind))
        return ""
    if kind in _SOURCES:
        source = named_source(chunk, at, flaws)
        sources += [] if source is None else [source]
        return ""
    found = chunk.get("text", "")
    wrong = text(found)
    if wrong:
        flaws.append(flaw((*at, "text"), wrong, found))
        return ""
    return str(found)
