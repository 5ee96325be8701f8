"""The list of models that a client key may call, in OpenAI's shape."""

from __future__ import annotations

import json

from ...exchange import RouteTerms
from ..auth import ClientKey
from ..deployments.model_table import ModelTable
from ..error_response import Reply


def model_list(table: ModelTable, client: ClientKey | None, terms: RouteTerms, lines: tuple[bytes, ...]) -> Reply:
    """Return the response to GET `/v1/models`: names alone, no address; `lines` are added to its head."""
    names = table.names(None if client is None else client.models)
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "passthrough", "mode": "ocr"} for name in names]
    body = json.dumps({"object": "list", "data": models}, ensure_ascii=False).encode()
    return Reply(200, (b"Cache-Control: no-store", *lines), terms, body)
