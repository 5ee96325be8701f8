"""The sandbox's chat and fill-in-the-middle endpoints: an echo, with the tokens that a model would have been billed for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Final

from ..documents import is_image, read
from ..empty_values import empty_json
from ..errors import error
from ..file_store import FileStore
from ..job_thread import IsCancelled
from ..models import Model, model_for
from ..pages import ReadOptions
from ..provider import Api, fail_if_asked
from ..sources import fetched
from .chat_request import MAX_NEW_TOKENS, ChatRequest, parse_chat, parse_fim
from .tokens import image_token_count, token_count, tokens

_PER_MESSAGE: Final = 3
"""Tokens that a message costs beside its text."""
_MAX_ECHO: Final = 200  # tokens
_MAX_EXCERPT: Final = 40


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat's answer: its tokens, why it ends (`stop`, `length`), and what it costs. `stream`: it is wanted as events."""

    model: str
    tokens: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int
    choices: int
    stream: bool
    id: str
    created_utc: int

    @property
    def usage(self) -> dict[str, object]:
        """The tokens of all choices, as Mistral reports them."""
        new = len(self.tokens) * self.choices
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + new, "completion_tokens": new}

    def to_json(self) -> dict[str, object]:
        """Return the response in one piece."""
        message = {"role": "assistant", "tool_calls": None, "content": "".join(self.tokens)}
        choices = [{"index": at, "finish_reason": self.finish_reason, "message": message} for at in range(self.choices)]
        return {**self._head("chat.completion"), "usage": self.usage, "choices": choices}

    def events(self) -> Iterator[dict[str, object]]:
        """Yield the response as the chunks of a stream: a token each; the usage is in the last one."""
        for at in range(self.choices):
            yield self._chunk(at, {"role": "assistant", "content": ""}, None)
            for token in self.tokens:
                yield self._chunk(at, {"content": token}, None)
        for at in range(self.choices):
            last = self._chunk(at, {"content": ""}, self.finish_reason)
            yield {**last, "usage": self.usage} if at == self.choices - 1 else last

    def _chunk(self, at: int, delta: dict[str, str], finish_reason: str | None) -> dict[str, object]:
        return {
            **self._head("chat.completion.chunk"),
            "choices": [{"index": at, "delta": delta, "finish_reason": finish_reason}],
        }

    def _head(self, kind: str) -> dict[str, object]:
        return {"id": self.id, "object": kind, "created": self.created_utc, "model": self.model}


def chat_completion(raw: bytes, files: FileStore, is_cancelled: IsCancelled) -> Completion:
    """Return the answer to the chat request `raw`. Blocks; runs on the reader's JobThread. Raises Rejection, JobCancelled."""
    return _completion(parse_chat(raw), "chat", files, is_cancelled)


def fim_completion(raw: bytes, files: FileStore, is_cancelled: IsCancelled) -> Completion:
    """Return the answer to the fill-in-the-middle request `raw`, as `chat_completion` does."""
    return _completion(parse_fim(raw), "fim", files, is_cancelled)


def _completion(request: ChatRequest, use: str, files: FileStore, is_cancelled: IsCancelled) -> Completion:
    fail_if_asked(request.model)
    model = model_for(request.model, use)
    documents = [_read(fetched(source, files, Api.MISTRAL), is_cancelled) for source in request.sources]
    prompt = token_count(request.prompt) + _PER_MESSAGE * request.messages + sum(cost for _, _, cost in documents)
    _check_context(prompt, model)
    answer = _answer(request, documents, use)
    wanted = len(answer) if request.max_tokens is None else min(len(answer), request.max_tokens)
    return Completion(
        model=request.model,
        tokens=tuple(answer[:wanted]),
        finish_reason="stop" if wanted == len(answer) else "length",
        prompt_tokens=prompt,
        choices=request.choices,
        stream=request.stream,
        id=uuid.uuid4().hex,
        created_utc=int(files.clock()),
    )


def _read(document: bytes, is_cancelled: IsCancelled) -> tuple[int, str, int]:
    """Return the pages of a document, its text, and what it costs in tokens: its text, or the patches of an image."""
    pages = read(document, ReadOptions(range), is_cancelled)
    text = "\n\n".join(page.markdown for page in pages)
    return len(pages), text, image_token_count(pages[0].width, pages[0].height) if is_image(document) else token_count(text)


def _check_context(prompt: int, model: Model) -> None:
    if prompt > model.context:
        limit = f"too large for model with {model.context} maximum context length"
        raise error(400, "invalid_request_invalid_args", f"Prompt contains {prompt} tokens and 0 draft tokens, {limit}", "3051")


def _answer(request: ChatRequest, documents: list[tuple[int, str, int]], use: str) -> list[str]:
    """Return the tokens of the answer: JSON where that is asked for, else an echo; repeated until `min_tokens` are there."""
    if request.form is not None:
        answer = _json(request)
    elif use == "fim":
        answer = "    pass  # passthrough sandbox: no model runs"
    else:
        said = "".join(islice(tokens(request.last.strip()), _MAX_ECHO))
        read_of = "".join(
            f" Of {count} page{'' if count == 1 else 's'} I read: {''.join(islice(tokens(text), _MAX_EXCERPT))}"
            for count, text, _ in documents
        )
        answer = f"This is the passthrough sandbox, where no model runs. You said: {said}{read_of}"
    found = list(tokens(answer))
    if len(found) >= request.min_tokens:
        return found
    return list(islice(chain(found, cycle([" and", " so", " on"])), min(request.min_tokens, MAX_NEW_TOKENS)))


def _json(request: ChatRequest) -> str:
    form = request.form or {}
    return empty_json(form) if form.get("type") == "json_schema" else json.dumps({"sandbox": "No model runs."})


Complete = Callable[[bytes, FileStore, IsCancelled], Completion]
"""What answers a request for text: `chat_completion`, `fim_completion`."""
