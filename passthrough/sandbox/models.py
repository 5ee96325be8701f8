"""The models that the sandbox offers, with their aliases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import Rejection, error

LATEST: Final = "mistral-ocr-4-1"
_OCR, _CHAT, _FIM, _EMBED = "ocr", "chat", "fim", "embed"


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its `name`, its aliases, what it does (`ocr`, `chat`, `fim`, `embed`), and how many tokens it takes at once."""

    name: str
    uses: tuple[str, ...]
    context: int
    aliases: tuple[str, ...] = ()
    dimensions: int = 0


_MODELS: Final = (
    Model("mistral-ocr-2503", (_OCR,), 16_384),
    Model("mistral-ocr-2505", (_OCR,), 16_384),
    Model("mistral-ocr-2512", (_OCR,), 16_384),
    Model("mistral-ocr-3", (_OCR,), 16_384),
    Model("mistral-ocr-3-0", (_OCR,), 16_384),
    Model("mistral-ocr-4-0", (_OCR,), 16_384),
    Model(LATEST, (_OCR,), 16_384, ("mistral-ocr-latest", "mistral-ocr-4")),
    Model("mistral-document-ai-2505", (_OCR,), 16_384),
    Model("mistral-document-ai-2512", (_OCR,), 16_384),
    Model("mistral-small-2603", (_CHAT,), 262_144, ("mistral-small-latest",)),
    Model("mistral-medium-3-5", (_CHAT,), 262_144, ("mistral-medium-latest",)),
    Model("mistral-large-2512", (_CHAT,), 262_144, ("mistral-large-latest",)),
    Model("ministral-3b-2512", (_CHAT,), 131_072, ("ministral-3b-latest",)),
    Model("ministral-8b-2512", (_CHAT,), 262_144, ("ministral-8b-latest",)),
    Model("ministral-14b-2512", (_CHAT,), 262_144, ("ministral-14b-latest",)),
    Model("codestral-2508", (_CHAT, _FIM), 131_072, ("codestral-latest",)),
    Model("mistral-embed-2312", (_EMBED,), 8192, ("mistral-embed",), 1024),
    Model("codestral-embed-2505", (_EMBED,), 8192, ("codestral-embed",), 1536),
)
_CREATED: Final = 1_752_624_000
_BY_NAME: Final = {name: model for model in _MODELS for name in (model.name, *model.aliases)}
NAMES: Final = tuple(_BY_NAME)
"""Every name that a request may have for a model."""


def model_for(name: str, use: str) -> Model:
    """Return the model of this name that is there for this use. Raises Rejection (400, code 1500) if there is none."""
    model = _BY_NAME.get(name)
    if model is None or use not in model.uses:
        raise error(400, "invalid_model", f"Invalid model: {name}", "1500")
    return model


def resolved(name: str) -> str:
    """Return the OCR model that a name or an alias stands for. Raises Rejection (400, code 1500) for an unknown one."""
    return model_for(name, _OCR).name


def card(name: str) -> dict[str, object]:
    """Return a model's object in `GET /v1/models/{id}`. Raises Rejection (404) for an unknown one."""
    model = _BY_NAME.get(name)
    if model is None:
        raise unknown(name)
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "mistralai",
        "capabilities": {
            "completion_chat": _CHAT in model.uses,
            "completion_fim": _FIM in model.uses,
            "function_calling": False,
            "ocr": _OCR in model.uses,
        },
        "name": model.name,
        "description": "A stand-in of the passthrough sandbox: it reads the text of documents and runs no model.",
        "max_context_length": model.context,
        "aliases": [alias for alias in (*model.aliases, model.name) if alias != name],
        "type": "base",
    }


def unknown(name: str) -> Rejection:
    """Return the 404 for an unknown model."""
    return error(404, "invalid_model", f"The model '{name}' does not exist.", "1500")


def listed() -> dict[str, object]:
    """Return the body of `GET /v1/models`."""
    return {"object": "list", "data": [card(name) for name in NAMES]}
