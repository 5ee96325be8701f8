"""An exchange's entry as OpenTelemetry names it: the name, the attributes and the status of its span.

The names are those of the semantic conventions for HTTP servers and for generative AI; what they have no name for is under
`passthrough.`. Nothing is here that the log has not: no body, no query, no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from ..accounting.entry import Entry
from ..accounting.money import NANO
from ..accounting.pricing.offers import Offers
from ..exchange import Outcome

Value = str | bool | int | float

_METHODS: Final = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"])
_SERVER_ERRORS: Final = 500
_FAILED: Final = frozenset({str(Outcome.UPSTREAM_FAILED), str(Outcome.CUT_OFF)})

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {"mistral": "mistral_ai", "azure": "azure.ai.inference", "vertex": "gcp.vertex_ai"}
)
"""The price list's providers → `gen_ai.provider.name`; others keep their names."""

_OPERATIONS: Final = (
    ("/ocr", "ocr"),
    ("/chat/completions", "chat"),
    ("/agents/completions", "invoke_agent"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
)
"""How a path ends → `gen_ai.operation.name`; for OCR the conventions have no name."""

shared_of: Final = attrgetter(
    *("method", "route", "status", "outcome", "error", "path", "target", "sandbox", "client", "label"),
    *("deployment", "model_group", "unmetered", "why", "attempts", "labels", "upstream_code", "usage.model"),
)
"""Returns what most entries have in common, as a tuple: a key of caches."""

_OF_USAGE: Final = (
    ("pages", "passthrough.pages"),
    ("pages_annotated", "passthrough.pages_annotated"),
    ("tokens_in", "gen_ai.usage.input_tokens"),
    ("tokens_out", "gen_ai.usage.output_tokens"),
    ("tokens_cached", "gen_ai.usage.cache_read.input_tokens"),
)


class SpanConventions:
    """Says of an entry what the semantic conventions want a span to say."""

    def __init__(self, scheme: str, offers: Offers) -> None:
        """`scheme` is how clients speak to this program: http or https. `offers` knows the providers of targets."""
        self._scheme = scheme
        self._offers = offers

    def own(self, entry: Entry) -> Mapping[str, Value]:
        """Return the attributes that differ from entry to entry."""
        found: dict[str, Value] = {"passthrough.id": entry.id}
        usage = entry.usage
        for field, attribute in _OF_USAGE:
            if (count := getattr(usage, field)) is not None:
                found[attribute] = count
        if (cost_nano := entry.cost_nano) is not None:
            found["passthrough.cost_usd"] = cost_nano / NANO
        found["http.request.body.size"] = entry.bytes_up
        found["http.response.body.size"] = entry.bytes_down
        if entry.first_byte_s is not None:
            found["passthrough.first_byte_s"] = entry.first_byte_s
        if entry.overhead_s is not None:
            found["passthrough.overhead_s"] = entry.overhead_s
        return found

    def shared(self, key: tuple[Any, ...]) -> tuple[str, Mapping[str, Value], str | None]:
        """Return the name, the attributes that most entries share, and what failed; `key` is `shared_of` of an entry.

        What failed is None where the span's status is not an error.
        """
        return self._described(*key)

    def _described(
        self,
        method: str,
        route: str | None,
        status: int | None,
        outcome: str,
        error: str | None,
        path: str,
        target: str | None,
        sandbox: bool,
        *more: str | int | None,
    ) -> tuple[str, Mapping[str, Value], str | None]:
        client, label, deployment, group, unmetered, why, attempts, labels, code, model = more
        known = method in _METHODS
        shown = method if known else "HTTP"  # the conventions' name for a method that is not known
        failed = _failure(status, outcome, error)
        found: dict[str, Value | None] = {
            "http.request.method": method if known else "_OTHER",
            "http.request.method_original": None if known else method,
            "http.route": route,
            "http.response.status_code": status,
            "url.scheme": self._scheme,
            "url.path": path,
            "error.type": failed,
            "passthrough.outcome": outcome,
            "passthrough.error": error,
            "passthrough.why": why,
            "passthrough.target": target,
            "passthrough.deployment": deployment,
            "passthrough.client": client,
            "passthrough.label": label,
            "passthrough.labels": labels,
            "passthrough.unmetered": unmetered,
            "passthrough.upstream_code": code,
            "passthrough.tries": attempts,
            "passthrough.sandbox": sandbox or None,
            "gen_ai.request.model": group,
            "gen_ai.response.model": model,
        }
        operation = next((name for end, name in _OPERATIONS if path.endswith(end)), None)
        if operation is not None or model is not None or group is not None:
            offer = self._offers.of(target)
            found["gen_ai.operation.name"] = operation
            if offer.is_known and offer.provider is not None:
                found["gen_ai.provider.name"] = PROVIDERS.get(offer.provider, offer.provider)
        return f"{shown} {route}" if route else shown, {name: what for name, what in found.items() if what is not None}, failed


def _failure(status: int | None, outcome: str, error: str | None) -> str | None:
    """Return what failed, for `error.type`; None where the server did not fail.

    1. A response that broke, or none at all, is an error: our code says which. 2. So is a status of 5xx. 3. A refusal with 4xx is
    the client's, and so is one that left: of a server's span that is no error (semantic conventions, "HTTP server", status).
    """
    if outcome in _FAILED:
        return error or outcome
    if status is not None and status >= _SERVER_ERRORS:
        return error or str(status)
    return None
