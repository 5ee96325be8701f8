"""Validates parts of the file by the schema's models, and turns pydantic's errors into problems with our words."""

from __future__ import annotations

from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .problems import At, Problems, did_you_mean, nearest
from .types import OURS

_Part = TypeVar("_Part", bound=BaseModel)
_MAPPING: Final = ("A mapping (key: value) is expected here.", "Write {key: value}, or each key on a line of its own.")
_LIST: Final = ("A list is expected here.", "Write [a, b], or begin each item with '- '.")
_CLOSE: Final = 0.8
"""How near an unknown key must be to a known one to count as misspelt, whatever else it could mean."""

_OTHER_NAMES: Final = {
    "azure": "entra", "azure_ad": "entra", "aad": "entra", "microsoft": "entra", "gcp": "google", "vertex": "google",
    "rpm_limit": "rpm", "requests_per_minute": "rpm", "max_budget": "budget", "budget_duration": "budget",
    "max_parallel_requests": "max_parallel", "allowed_routes": "routes",
}  # fmt: skip
"""Other names of keys, LiteLLM's among them → ours."""
_EXPECTED: Final = {
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": _LIST,
}
"""pydantic's types of errors in our words. Its own messages are not shown: they can repeat the value."""


def part(model: type[_Part], value: object, at: At, problems: Problems) -> _Part | None:
    """Return the validated part, or None with every problem noted at its own place below `at`."""
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_input=False):
            _note(model, error, at, problems)
        return None


def optional_part(model: type[_Part], value: object, at: At, problems: Problems) -> _Part:
    """Return a part that has no required keys: wrong keys are noted and left out, so that the rest can be checked."""
    whole = part(model, value, at, problems)
    if whole is not None:
        return whole
    if not isinstance(value, dict):
        return model()
    return model.model_validate({key: inner for key, inner in value.items() if _fits(model, key, inner)})


def _fits(model: type[BaseModel], key: str, value: object) -> bool:
    try:
        model.model_validate({key: value})
    except ValidationError:
        return False
    return True


def items(value: object, at: At, problems: Problems) -> list[tuple[At, object]]:
    """Return the items of a list with their places; a value that is no list is noted."""
    if not isinstance(value, list):
        problems.wrong(at, *_LIST)
        return []
    return [((*at, index), item) for index, item in enumerate(value)]


def _note(model: type[BaseModel], error: ErrorDetails, at: At, problems: Problems) -> None:
    where = (*at, *(step for step in error["loc"] if step != "[key]"))
    context = error.get("ctx", {})
    kind = error["type"]
    if kind == OURS:
        problems.wrong(where, str(context["what"]), str(context["hint"]))
    elif kind == "missing":
        problems.wrong(where, "This key is missing.", f"Add it. {_described(model, error['loc'])}".rstrip())
    elif kind == "extra_forbidden":
        problems.wrong(where, "There is no such key here.", _unknown_key_hint(model, error["loc"]))
    else:
        problems.wrong(where, *_EXPECTED.get(kind, ("This does not fit here.", "See 'passthrough schema' for what does.")))


def _unknown_key_hint(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    """Return where a key belongs, or what it was meant to be.

    1. Another name of a key that is known here. 2. A key of what this stands in. 3. A key that is known here, misspelt. 4. A key
    of something that can stand here. 5. A key that is known here, with another spelling.
    """
    key, known = str(loc[-1]), _keys(model, loc[:-1])
    if (other := _OTHER_NAMES.get(key)) in known:
        return f"Did you mean '{other}'?"
    for depth in range(len(loc) - 2, -1, -1):
        if isinstance(loc[depth], str) and key in _keys(model, loc[:depth]):
            return f"Move it one level up, beside '{loc[depth]}': it is for all of them."
    if nearest(key, known, cutoff=_CLOSE) is None:
        for name, field in _at(model, loc[:-1]).model_fields.items():
            inner = _model_in(field.annotation)
            if inner is not None and key in _keys(inner, ()):
                return f"Move it into '{field.alias or name}'."
    return did_you_mean(key, known, _listed(known))


def _listed(known: list[str]) -> str:
    return f"Known here: {', '.join(known)}." if known else "Remove it."


def _keys(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Return the keys that the model knows at a place below it."""
    return sorted(field.alias or name for name, field in _at(model, loc).model_fields.items())


def _described(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    """Return the schema's description of a key."""
    return _at(model, loc[:-1]).model_fields[loc[-1]].description or ""


def _at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel]:
    # A RootModel's only field says what it stands for.
    for step in ("root", *loc):
        inner = _model_in(model.model_fields[step].annotation) if step in model.model_fields else None
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation names, perhaps inside a list or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for argument in get_args(annotation) if (inner := _model_in(argument))), None)
