"""The list that ships, against the facts as they were read in the providers' documentation and in LiteLLM's price map."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from passthrough.accounting.pricing.price_list import RESELLERS, shipped
from passthrough.accounting.pricing.prices import Prices
from passthrough.meter.usage import Usage

pytestmark = pytest.mark.fast

TODAY = date(2026, 11, 20)
LISTED = shipped()
PRICES = Prices((), LISTED)
MISTRAL, EU, AZURE = "api.mistral.ai", "api.eu.mistral.ai", "r.services.ai.azure.com"
VERTEX = "us-central1-aiplatform.googleapis.com"
MILLION = 10**6


def usd(usage: Usage, target: str = MISTRAL, on: date = TODAY) -> Decimal | None:
    """Return what a usage costs on a day, in USD; None where it has no price in the list that ships."""
    began_utc = datetime(on.year, on.month, on.day, 12, tzinfo=UTC).timestamp()
    charge = PRICES.charge(usage, terms=None, target=target, began_utc=began_utc)
    assert charge is not None
    assert charge.cost_source == (None if charge.cost_nano is None else "prices.yaml")
    return None if charge.cost_nano is None else Decimal(charge.cost_nano).scaleb(-9)


def per_million(model: str, target: str = MISTRAL, on: date = TODAY) -> tuple[Decimal | None, ...]:
    """Return what a million tokens in, cached and out cost."""
    usages = (
        Usage(model=model, tokens_in=MILLION),
        Usage(model=model, tokens_in=MILLION, tokens_cached=MILLION),
        Usage(model=model, tokens_out=MILLION),
    )
    return tuple(usd(usage, target, on) for usage in usages)


CHAT = """
mistral-small-2603 mistral-small-latest                                      .15   .015  .6
mistral-medium-3-5 mistral-medium-3 mistral-medium-2604 mistral-medium-latest  1.5   .15   7.5
mistral-large-2512 mistral-large-3 mistral-large-latest                      .5    .05   1.5
mistral-large-4 mistral-large-4-0                                            .7    .07   2.1
ministral-3b-2512 ministral-3b-latest ministral-3b                           .1    .01   .1
ministral-8b-2512 ministral-8b-latest ministral-8b                           .15   .015  .15
ministral-14b-2512 ministral-14b-latest ministral-14b                        .2    .02   .2
codestral-latest codestral-2508                                              .3    .03   .9
devstral-latest                                                              .4    .04   2
magistral-small-latest                                                       .15   .015  .6
magistral-medium-latest magistral-medium                                     1.5   .15   7.5
zai-glm-5-2 zai-glm-5-3 zai-glm-latest                                       1.4   .14   4.4
deepseek-v4-1-flash-1017                                                     .3    .007  1.2
voxtral-small-latest                                                         .1    .01   .4
mistral-medium-2505 mistral-medium-2508                                      .4    .04   2
mistral-large-2411 pixtral-large pixtral-large-latest                        2     .2    6
mistral-small-2506                                                           .1    .01   .3
pixtral-12b open-mistral-nemo                                                .15   .015  .15
"""


@pytest.mark.parametrize("line", CHAT.strip().splitlines())
def test_chat_models_have_their_price(line: str) -> None:
    """Every chat model of Mistral's, pinned or `-latest`, costs what its documentation says; cached input mostly 10 %."""
    *models, full, cached, out = line.split()
    for model in models:
        assert (Decimal(full), Decimal(cached), Decimal(out)) == per_million(model), model
    europe = tuple(Decimal(price) * Decimal("1.1") for price in (full, cached, out))
    assert europe == per_million(models[0], EU)


@pytest.mark.parametrize(("model", "price"), [("mistral-embed", ".1"), ("codestral-embed", ".15")])
def test_embeddings_have_their_price(model: str, price: str) -> None:
    """An embedding costs its input."""
    assert Decimal(price) == usd(Usage(model=model, tokens_in=MILLION, tokens_out=0))


@pytest.mark.parametrize(
    ("model", "target", "full", "out"),
    [
        ("mistral-medium-3-5", AZURE, "1.5", "7.5"),
        ("mistral-large-3", AZURE, ".5", "1.5"),
        ("mistral-large-2512", AZURE, ".5", "1.5"),
        ("Mistral-small-2503", AZURE, ".1", ".3"),
        ("mistral-medium-2505", AZURE, ".4", "2"),
        ("ministral-3b", AZURE, ".04", ".04"),
        ("ministral-3b-2512", AZURE, ".1", ".1"),
        ("ministral-3b-latest", AZURE, ".1", ".1"),
        ("mistral-medium-3", VERTEX, ".4", "2"),
        ("mistral-medium-3-5", VERTEX, "1.5", "7.5"),
        ("mistral-medium-2604", VERTEX, "1.5", "7.5"),
        ("mistral-medium-latest", VERTEX, "1.5", "7.5"),
        ("mistral-medium-3@001", VERTEX, ".4", "2"),
        ("vertex_ai/mistralai/mistral-medium-3@001", MISTRAL, ".4", "2"),
        ("mistral-small-2503", VERTEX, ".1", ".3"),
        ("codestral-2", VERTEX, ".3", ".9"),
        ("deepseek-ai/deepseek-ocr-maas", VERTEX, ".3", "1.2"),
    ],
)
def test_clouds_ask_their_own_prices(model: str, target: str, full: str, out: str) -> None:
    """At Azure and Vertex their own rows hold, of which none has a price for cached tokens."""
    assert (Decimal(full), Decimal(full), Decimal(out)) == per_million(model, target)


@pytest.mark.parametrize(
    ("model", "target", "price"),
    [
        ("Cohere-parse-v5", AZURE, "1.5"),
        ("prebuilt-read", AZURE, "1.5"),
        ("azure_ai/doc-intelligence/prebuilt-read", MISTRAL, "1.5"),
        ("prebuilt-layout", AZURE, "10"),
        ("prebuilt-document", AZURE, "10"),
        ("parse-v5.0", "api.cohere.com", "1.5"),
        ("mistral-document-ai-2505", AZURE, "3"),
        ("mistral-document-ai-2512", AZURE, "3"),
        ("mistral-ocr-2505", VERTEX, "1"),
        ("deepseek-ocr-maas", VERTEX, ".3"),
    ],
)
def test_other_pages_have_their_price(model: str, target: str, price: str) -> None:
    """1000 pages of the other OCR models that LiteLLM's price map has."""
    assert Decimal(price) == usd(Usage(1000, model=model), target)


def test_reducto_bills_credits() -> None:
    """A credit of Reducto's costs 1.5 cents."""
    usage = Usage(3, model="reducto/parse-v3", credits="1.5", credits_micro=1_500_000)
    assert Decimal("0.0225") == usd(usage)
    assert Decimal("0.0225") == usd(Usage(3, model="parse-v3", credits="1.5", credits_micro=1_500_000), "platform.reducto.ai")


@pytest.mark.parametrize(
    ("model", "last", "before", "after"),
    [
        ("mistral-ocr-latest", date(2025, 12, 17), "mistral-ocr-2505", "mistral-ocr-2512"),
        ("mistral-ocr-latest", date(2026, 6, 22), "mistral-ocr-2512", "mistral-ocr-4-0"),
        ("mistral-medium-latest", date(2026, 6, 15), "mistral-medium-2508", "mistral-medium-3-5"),
        ("magistral-medium-latest", date(2026, 7, 31), "magistral-medium-2509", "mistral-medium-3-5"),
        ("magistral-small-latest", date(2026, 7, 31), "magistral-small-2509", "mistral-small-2603"),
        ("mistral-small-latest", date(2026, 3, 15), "mistral-small-2506", "mistral-small-2603"),
        ("ministral-3b-latest", date(2025, 12, 1), "ministral-3b-2410", "ministral-3b-2512"),
        ("mistral-large-latest", date(2025, 12, 1), "mistral-medium-2508", "mistral-large-2512"),
        ("zai-glm-latest", date(2026, 9, 27), "zai-glm-5-2", "zai-glm-5-3"),
    ],
)
def test_names_that_moved_mean_what_they_meant(model: str, last: date, before: str, after: str) -> None:
    """A name that was given to another model is priced, and named, as what it was on the day."""
    names = []
    for day in (last, date.fromordinal(last.toordinal() + 1)):
        began_utc = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
        names.append(PRICES.priced_as(model, terms=None, target=MISTRAL, began_utc=began_utc))
    assert [before, after] == names


@pytest.mark.parametrize(
    ("model", "on", "full", "out"),
    [
        ("magistral-medium-latest", date(2026, 7, 31), "2", "5"),
        ("magistral-medium-latest", date(2026, 8, 1), "1.5", "7.5"),
        ("mistral-medium-latest", date(2026, 6, 15), ".4", "2"),
        ("mistral-medium-latest", date(2026, 6, 16), "1.5", "7.5"),
    ],
)
def test_prices_of_names_that_moved(model: str, on: date, full: str, out: str) -> None:
    """Medium and Magistral Medium before and after Medium 3.5."""
    assert (Decimal(full), Decimal(out)) == per_million(model, on=on)[::2]


def test_ocr_latest_cost_a_dollar_until_ocr_3() -> None:
    """1000 pages of mistral-ocr-latest: 2505 at $1 until 2025-12-17, then OCR 3 at $2."""
    costs = [usd(Usage(1000, model="mistral-ocr-latest"), on=date(2025, 12, day)) for day in (17, 18)]
    assert [Decimal(1), Decimal(2)] == costs


def test_mistrals_own_example_of_prompt_caching() -> None:
    """1013 tokens in, of which 1008 were cached, and 30 out of mistral-large-latest: $0.0000979, not $0.0005515."""
    usage = Usage(model="mistral-large-latest", tokens_in=1013, tokens_out=30, tokens_cached=1008)
    assert Decimal("0.0000979") == usd(usage)
    assert Decimal("0.0005515") == usd(Usage(model="mistral-large-latest", tokens_in=1013, tokens_out=30))


def test_a_pinned_model_is_what_its_latest_name_means() -> None:
    """Every name that ends in `-latest` has a price today: the one of the model that it stands for."""
    latest = sorted({alias.alias for alias in LISTED.aliases if alias.alias.endswith("-latest")})
    assert len(latest) > 10
    for name in latest:
        usage = Usage(1000, model=name) if "-ocr-" in name else Usage(model=name, tokens_in=1, tokens_out=1)
        assert usd(usage) is not None, name


def test_every_row_has_a_source_with_a_date() -> None:
    """Each row, and each factor of a host, says where it was read and when."""
    rows = (*LISTED.prices, *(host for host in LISTED.hosts if host.factor != 1))
    assert [] == [row for row in rows if not re.search(r"\b20\d\d-\d\d", row.source)]


def test_every_chat_row_of_mistrals_has_a_price_for_cached_tokens() -> None:
    """A row with a price for tokens out has one for cached tokens in: a tenth, but for two rows."""
    chat = [
        row
        for row in LISTED.prices
        if row.usd_per_million_output_tokens is not None and "/" not in row.model and "moderation" not in row.model
    ]
    assert len(chat) > 40
    others = {}
    for row in chat:
        assert row.usd_per_million_input_tokens is not None
        assert row.usd_per_million_cached_input_tokens is not None, row.model
        if row.usd_per_million_cached_input_tokens * 10 != row.usd_per_million_input_tokens:
            others[row.model] = str(row.usd_per_million_cached_input_tokens)
    assert {"zai-glm-5-3-flash": "0.03", "deepseek-v4-1-flash-1017": "0.007"} == others


def test_no_alias_dangles() -> None:
    """Each alias stands for a model that has a row, and none is a model of Mistral's with a row of its own."""
    models = {row.model for row in LISTED.prices}
    providers = {row.model.partition("/")[0] for row in LISTED.prices if "/" in row.model}
    named = {*models, *(model.partition("/")[2] for model in models if "/" in model)}
    assert [] == [alias for alias in LISTED.aliases if alias.model not in named]
    assert [] == [alias for alias in LISTED.aliases if alias.alias in models]
    assert RESELLERS - {"mistral"} <= providers <= {host.provider for host in LISTED.hosts} & set(LISTED.prefixes.values())
    assert len({(alias.alias, alias.effective_from) for alias in LISTED.aliases}) == len(LISTED.aliases)
    assert len({(row.model, row.effective_from, row.service_tier) for row in LISTED.prices}) == len(LISTED.prices)


def test_no_row_of_a_reseller_prices_what_it_stands_for_at_mistral_otherwise_than_mistral_does() -> None:
    """A reseller's row that is named like an alias holds for its own name, unless the price is the same."""
    rows = [row.model.partition("/") for row in LISTED.prices]
    for provider, target in (("azure", AZURE), ("vertex", VERTEX)):
        own = {model for name, _, model in rows if name == provider}
        meant = {alias.model for alias in LISTED.aliases if alias.alias in own and "/" not in alias.model}
        for model in meant - own:
            at_mistral, at_reseller = per_million(model), per_million(model, target)
            assert (at_mistral[0], at_mistral[2]) == (at_reseller[0], at_reseller[2]), (provider, model)
