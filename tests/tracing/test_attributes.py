"""A span's name, attributes and status, of entries as they are logged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from passthrough.accounting.entry import Charge, Entry
from passthrough.accounting.pricing.offers import Offers
from passthrough.accounting.pricing.prices import shipped
from passthrough.meter.usage import Usage
from passthrough.tracing.attributes import PROVIDERS, SpanConventions, Value, shared_of
from tests.harness.entries import booked

CONVENTIONS = SpanConventions("http", Offers(shipped()))
KNOWN = frozenset(host.provider for host in shipped().hosts)


def entry(**more: Any) -> Entry:
    """Return the entry of an OCR call with what is given."""
    return replace(booked(exchange_id="0" * 31 + "1"), **more)


def described(made: Entry) -> tuple[str, dict[str, Value], str | None]:
    """Return the name, all attributes, and what failed."""
    name, shared, failed = CONVENTIONS.shared(shared_of(made))
    return name, {**shared, **CONVENTIONS.own(made)}, failed


def test_an_ocr_call_in_full() -> None:
    """All that the conventions name has their names; the rest is under `passthrough.`."""
    made = entry(
        deployment="azure-1",
        model_group="ocr",
        label="invoices",
        labels='{"team": "a"}',
        first_byte_s=0.5,
        overhead_s=0.001,
        bytes_up=10,
        bytes_down=20,
        usage=Usage(pages=2, pages_annotated=1, model="mistral-ocr-2512"),
    )
    name, attributes, failed = described(made)
    assert ("POST /mistral", None) == (name, failed)
    assert {
        "http.request.method": "POST",
        "http.route": "/mistral",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/mistral/v1/ocr",
        "http.request.body.size": 10,
        "http.response.body.size": 20,
        "gen_ai.operation.name": "ocr",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.model": "ocr",
        "gen_ai.response.model": "mistral-ocr-2512",
        "passthrough.id": made.id,
        "passthrough.outcome": "completed",
        "passthrough.target": "api.mistral.ai",
        "passthrough.deployment": "azure-1",
        "passthrough.client": "invoices",
        "passthrough.label": "invoices",
        "passthrough.labels": '{"team": "a"}',
        "passthrough.tries": 1,
        "passthrough.pages": 2,
        "passthrough.pages_annotated": 1,
        "passthrough.cost_usd": 0.002,
        "passthrough.first_byte_s": 0.5,
        "passthrough.overhead_s": 0.001,
    } == attributes


def test_a_chat_has_its_tokens() -> None:
    """They are the conventions', with those that the provider had cached."""
    used = Usage(tokens_in=5, tokens_out=7, tokens_cached=3, model="mistral-small")
    _, attributes, _ = described(entry(path="/mistral/v1/chat/completions", usage=used, charges=(Charge(),), sandbox=True))
    assert (5, 7, 3, "chat", True) == tuple(
        attributes[name]
        for name in (
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.operation.name",
            "passthrough.sandbox",
        )
    )
    assert "passthrough.cost_usd" not in attributes  # it is not known: that is not 0


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/m/v1/ocr", "ocr"),
        ("/m/v1/agents/completions", "invoke_agent"),
        ("/m/v1/fim/completions", "text_completion"),
        ("/m/v1/embeddings", "embeddings"),
        ("/m/v1/files", None),
    ],
)
def test_operations_by_paths(path: str, operation: str | None) -> None:
    """A path that is no generation has no operation."""
    assert operation == described(entry(path=path))[1].get("gen_ai.operation.name")


@pytest.mark.parametrize(
    ("target", "provider"),
    [
        ("api.mistral.ai", "mistral_ai"),
        ("res.services.ai.azure.com", "azure.ai.inference"),
        ("us-central1-aiplatform.googleapis.com:443", "gcp.vertex_ai"),
        ("api.cohere.com", "cohere"),
        ("sandbox", None),
        ("127.0.0.1:9", None),
        (None, None),
    ],
)
def test_providers_by_targets(target: str | None, provider: str | None) -> None:
    """A host that is not known has none: it may be a gateway."""
    assert provider == described(entry(target=target))[1].get("gen_ai.provider.name")


def test_providers_that_are_renamed_are_those_of_the_price_list() -> None:
    """A provider that the list renames would lose its name here."""
    assert PROVIDERS.keys() <= KNOWN


@pytest.mark.parametrize(
    ("more", "failed"),
    [
        ({"status": 404, "outcome": "refused", "error": "no_route"}, None),
        ({"status": 422}, None),
        ({"status": 503}, "503"),
        ({"status": 500, "outcome": "completed"}, "500"),
        ({"status": 502, "outcome": "upstream_failed", "error": "connect_failed"}, "connect_failed"),
        ({"status": 200, "outcome": "upstream_failed", "error": "upstream_broke"}, "upstream_broke"),
        ({"status": 503, "outcome": "refused", "error": "draining"}, "draining"),
        ({"status": None, "outcome": "cut_off"}, "cut_off"),
        ({"status": None, "outcome": "client_gone"}, None),
        ({"status": 200, "outcome": "client_gone"}, None),
    ],
)
def test_what_is_an_error(more: dict[str, Any], failed: str | None) -> None:
    """What the client did wrong is none of a server's span; what broke is one, whatever its status was."""
    _, attributes, found = described(entry(**more))
    assert (failed, failed) == (found, attributes.get("error.type"))


def test_a_method_that_is_not_known_is_other() -> None:
    """Names of spans are few: an invented method is not among them. Nor is a path without a route."""
    name, attributes, _ = described(entry(method="BREW", route=None))
    assert ("HTTP", "_OTHER", "BREW") == (
        name,
        attributes["http.request.method"],
        attributes["http.request.method_original"],
    )
    assert "http.route" not in attributes
