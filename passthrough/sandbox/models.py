"""The models that the sandbox offers, with their aliases."""

from __future__ import annotations

from typing import Final

from .errors import Rejection, error

LATEST: Final = "mistral-ocr-4-1"
_ALIASES: Final = {"mistral-ocr-latest": LATEST, "mistral-ocr-4": LATEST}
_MODELS: Final = (
    "mistral-ocr-2503",
    "mistral-ocr-2505",
    "mistral-ocr-2512",
    "mistral-ocr-3",
    "mistral-ocr-3-0",
    "mistral-ocr-4-0",
    LATEST,
    "mistral-document-ai-2505",
    "mistral-document-ai-2512",
)
_CREATED: Final = 1_752_624_000
NAMES: Final = (*_MODELS, *_ALIASES)
"""Every name that `/v1/ocr` accepts."""


def resolved(name: str) -> str:
    """Return the model that a name or an alias stands for. Raises Rejection (400, code 1500) for an unknown one."""
    if name not in NAMES:
        raise error(400, "invalid_model", f"Invalid model: {name}", "1500")
    return _ALIASES.get(name, name)


def card(name: str) -> dict[str, object]:
    """Return a model's object in `GET /v1/models/{id}`. Raises Rejection (404) for an unknown one."""
    if name not in NAMES:
        raise unknown(name)
    twins = [alias for alias, model in _ALIASES.items() if model == _ALIASES.get(name, name)]
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "mistralai",
        "capabilities": {"completion_chat": False, "completion_fim": False, "function_calling": False, "ocr": True},
        "name": resolved(name),
        "description": "A stand-in of the passthrough sandbox: it reads the text of PDFs and runs no model.",
        "max_context_length": 16384,
        "aliases": [alias for alias in (*twins, _ALIASES.get(name, name)) if alias != name] if twins else [],
        "type": "base",
    }


def unknown(name: str) -> Rejection:
    """Return the 404 for an unknown model."""
    return error(404, "invalid_model", f"The model '{name}' does not exist.", "1500")


def listed() -> dict[str, object]:
    """Return the body of `GET /v1/models`."""
    return {"object": "list", "data": [card(name) for name in NAMES]}
