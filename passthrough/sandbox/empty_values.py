"""Builds the object of empty values that answers a JSON schema, for no model runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

_EMPTY: Final = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def empty_json(form: Mapping[str, object]) -> str:
    """Return JSON that fits the top level of the schema in a `response_format` or an annotation's format."""
    outer = form.get("json_schema")
    schema = outer.get("schema", outer.get("schema_definition")) if isinstance(outer, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return "{}"
    kinds = {name: one.get("type") if isinstance(one, dict) else None for name, one in properties.items()}
    return json.dumps({name: _EMPTY.get(kind) if isinstance(kind, str) else None for name, kind in kinds.items()})
