"""The schema of the file as pydantic models: every key, its type and its meaning; and JSON Schema of it for editors."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, RootModel, SkipValidation

from ..proxy.routes import Retries
from . import types
from .identities.schema import UpstreamAuthPart
from .models.schema import CredentialList, LiteLLMSettingsPart, ModelList, OcrPart, RouterPart
from .types import Part

LITELLM_SECTIONS: Final = (
    "environment_variables", "callback_settings", "guardrails", "mcp_servers", "mcp_tools", "mcp_aliases",
    "vector_store_registry", "search_tools", "prompts", "finetune_settings", "files_settings", "assistant_settings",
    "default_vertex_config", "agent_list", "policies", "policy_attachments", "include", "worker_config",
)  # fmt: skip
"""Top-level sections of a LiteLLM file that mean nothing here."""

SPECIAL_HEADER: Final = "litellm_user_api_key"
"""The name among a route's `headers` that is not sent: its value names the client header that carries the client's key."""


class TimeoutsPart(Part):
    """How long a route waits."""

    connect: types.Duration = Field(default=10.0, description="For a connection to the target.")
    header: types.Duration = Field(default=300.0, description="For the response's head, from the request's last byte on.")
    idle: types.Duration = Field(default=60.0, description="Between two pieces of a body.")
    total: types.Limit = Field(default=None, description="For the whole exchange; none: no limit.")


Paths = Annotated[list[types.JsonPath], types.OneOrMany()]
Arrays = Annotated[list[types.JsonArray], types.OneOrMany()]
CostHeaders = Annotated[list[types.CostHeader], types.OneOrMany()]
Texts = Annotated[list[types.Word], types.OneOrMany()]
JobIds = Annotated[list[types.JobId], types.OneOrMany()]
MeteredMethods = Annotated[list[types.MeteredMethod], types.OneOrMany()]


class MeterPart(Part):
    """How a route's responses are counted."""

    shape: types.Shape = Field(default="auto", description="What responses look like: auto, ocr, chat, batch, json or none.")
    model: types.Name | None = Field(default=None, description="The model's name for the prices, where responses do not name it.")
    account: types.Name | None = Field(
        default=None,
        description="The provider's account: within it a batch's line, or a job, is booked once; the target's host by default.",
    )
    price_list: types.PriceListName | None = Field(
        default=None,
        description="By whose list it is priced: mistral, azure, vertex or none; by default that of the target's host.",
    )
    cost_header: CostHeaders = Field(default=[], description="Response headers that hold the cost in USD; the first one counts.")
    pages: Paths = Field(default=[], description="shape json: where the numbers of pages stand: usage.num_pages")
    count: Arrays = Field(
        default=[], description="shape json: the arrays that have one item for each page: document.pages, or [] for the whole."
    )
    max: Paths = Field(default=[], description="shape json: where page numbers stand, of which the highest counts: [].page")
    distinct: Paths = Field(default=[], description="shape json: where page numbers stand: how many different ones there are.")
    constant: types.Count | None = Field(default=None, description="shape json: a fixed number of pages for each response.")
    header: types.FieldName | None = Field(
        default=None, description="A response header with the number of pages; with auto and ocr where the body has none."
    )
    credits: Paths = Field(default=[], description="shape json: where the provider's own units stand: usage.credits")
    credits_header: types.FieldName | None = Field(
        default=None, description="shape json: the response header with the provider's own units."
    )
    tokens_in: Paths = Field(default=[], description="shape json: where the tokens in stand: usage.prompt_tokens")
    tokens_out: Paths = Field(default=[], description="shape json: where the tokens out stand: usage.completion_tokens")
    tokens_cached: Paths = Field(default=[], description="shape json: where those of the tokens in stand that were cached.")
    when: dict[str, Texts] = Field(
        default={}, description="shape json: counted only where each path has this text, or one of these."
    )
    unless: Paths = Field(default=[], description="shape json: counted only where nothing stands at these paths: NextToken")
    once: JobIds = Field(
        default=[], description="shape json: where a job's id stands, job.id or /job/{} in the URL: its result is booked once."
    )
    lines: types.Switch = Field(default=False, description="shape json: each line is a document; their counts are summed.")
    methods: MeteredMethods | None = Field(
        default=None, description="shape json: methods whose responses count; by default all, for a constant POST."
    )
    model_path: types.JsonPath = Field(default="model", description="shape json: where the model's name stands.")


class LabelPart(Part):
    """A request header whose value labels the exchange."""

    name: types.LabelName = Field(description="The header's name.")
    fills: types.LabelFills = Field(
        default=None, alias="as", description="The named label that it fills, such as team; the plain one by default."
    )
    forward: types.Switch = Field(default=True, description="Whether it still goes to the target.")


class UpstreamTlsPart(Part):
    """Whom a route trusts."""

    ca_file: types.FileName = Field(description="PEM file to trust instead of the system's, relative to this file.")


Label = Annotated[LabelPart, types.ShortFor("name")]
Labels = list[Label]
LabelItem = RootModel[Label]
"""One item of a list of labels, validated by itself."""


class RetriesPart(Part):
    """Whether a request is sent again when the target says 'not now' or fails: each try may be billed."""

    attempts: types.Attempts = Field(description="Further tries, 0 to 10.")
    statuses: list[types.RetriedStatus] = Field(
        default=sorted(Retries().statuses), description="Statuses after which it is tried again: 408, 425, 429, 5xx."
    )
    held_body: types.Size = Field(
        default=Retries().held_bytes, description="The largest request body that is kept in memory, to be sent again."
    )
    spool: types.Switch = Field(default=False, description="Keep larger bodies in a temporary file, instead of trying once only.")
    max_wait: types.Duration = Field(
        default=Retries().max_wait_s, description="The longest wait before another try; a response that asks for more is relayed."
    )


class BudgetPart(Part):
    """What may be spent in a period: pages or US dollars."""

    pages: types.Count | None = Field(default=None, description="Pages per period.")
    usd: types.BudgetUsd | None = Field(default=None, description="US dollars per period.")
    per: types.Period = Field(description="day, week or month.")
    warn_at: types.Share = Field(default=0.8, description="The share at which the operator is warned, or none.")
    unpriced: types.Unpriced | None = Field(
        default=None, description="With usd: allow (the default) or refuse requests once something was used that has no price."
    )


class LimitsPart(Part):
    """What may be spent at most: by a client, on a route, or in all."""

    budget: Annotated[list[BudgetPart], types.OneOrMany()] = Field(
        default=[], description="Pages or US dollars per day, week or month: one or a list."
    )
    rpm: types.Count | None = Field(default=None, description="Requests per minute.")
    pages_per_minute: types.Count | None = Field(default=None, description="Pages per minute.")
    max_parallel: types.Count | None = Field(default=None, description="Requests at the same time.")


class PricePart(Part):
    """What a model costs, before the list that ships with the program."""

    model: types.Name = Field(description="As responses, or the route's meter, name it.")
    usd_per_1000_pages: types.Usd | None = Field(default=None, description="Plain pages.")
    usd_per_1000_annotated_pages: types.Usd | None = Field(default=None, description="Instead of the plain price.")
    usd_per_million_input_tokens: types.Usd | None = Field(default=None, description="Tokens in.")
    usd_per_million_cached_input_tokens: types.Usd | None = Field(
        default=None, description="Tokens in that the provider had cached; the full price by default."
    )
    usd_per_million_output_tokens: types.Usd | None = Field(default=None, description="Tokens out.")
    usd_per_credit: types.Usd | None = Field(default=None, description="The provider's own units, where the meter counts them.")
    service_tier: types.Word | None = Field(
        default=None, description="The only service tier of which this is the price; batch: that of batches."
    )
    batch_factor: types.Factor = Field(default=Decimal("0.5"), description="Times the price, for batches.")
    effective_from: types.Day | None = Field(default=None, description="The first day (UTC) on which it holds.")


class PriceListPart(Part):
    """The key of a meter that sets prices."""

    price_list: types.PriceListName | None = None


class TargetPrices(Part):
    """The keys of a target that set prices."""

    id: types.Name | None = None
    meter: PriceListPart | None = None


class RoutePrices(Part):
    """The keys of an endpoint that set prices."""

    path: types.Path
    targets: list[TargetPrices] = Field(default=[])
    meter: PriceListPart = PriceListPart()
    prices: list[PricePart] = Field(default=[])
    cost_per_request: types.NanoUsd | None = None


class TargetPart(Part):
    """One of an endpoint's targets: a key, a region or a gateway of its own."""

    target: types.Target = Field(description="Where it goes: http(s)://host[:port][/path][?query]")
    id: types.Name | None = Field(
        default=None, description="Its name in the log and the ledger, unique; by default the path and its number: /mistral#1"
    )
    headers: dict[types.HeaderName, types.HeaderValue] = Field(
        default={}, description="Set on every request to this target, instead of the endpoint's of the same names."
    )
    upstream_auth: UpstreamAuthPart | None = Field(
        default=None, description="Whose token is fetched for this target, instead of the endpoint's credentials."
    )
    weight: types.Weight = Field(default=1.0, description="Its share among the targets of its order.")
    order: types.Whole = Field(default=1, description="Targets of the lowest order are chosen first.")
    meter: Annotated[MeterPart, types.ShortFor("shape")] | None = Field(
        default=None, description="How this target's responses are counted, instead of the endpoint's meter."
    )


_ONE_OF_BOTH: Final[dict[str, Any]] = {"oneOf": [{"required": ["target"]}, {"required": ["targets"]}]}


class Endpoint(LimitsPart):
    """One route: requests to `path` go to `target`, or to one of `targets`."""

    model_config = ConfigDict(json_schema_extra=_ONE_OF_BOTH)

    path: types.Path = Field(description="Where it listens, raw: /mistral")
    target: types.Target | None = Field(default=None, description="Where it goes: http(s)://host[:port][/path][?query]")
    targets: list[TargetPart] | None = Field(
        default=None, description="Where it goes instead of target: to one of several.", json_schema_extra={"minItems": 1}
    )
    sticky: types.Switch | None = Field(
        default=None,
        description="With targets: whether a client's requests stay with one; by default with include_subpath all but OCR calls.",
    )
    headers: dict[types.HeaderName, types.HeaderValue] = Field(
        default={}, description="Set on every request to the target; os.environ/NAME is replaced."
    )
    upstream_auth: UpstreamAuthPart | None = Field(
        default=None, description="Whose token is fetched, and set as Authorization on every request to the target."
    )
    forward_headers: types.Switch = Field(default=False, description="Also send the client's other headers, never credentials.")
    include_subpath: types.Switch = Field(default=False, description="Serve everything below the path, too.")
    methods: list[types.Method] | None = Field(default=None, description="Allowed methods; all by default.")
    auth: types.Switch = Field(default=True, description="Whether a client key is needed.")
    forward_credentials: types.Switch = Field(default=False, description="Let the client's own key cross; only with auth: false.")
    merge_query_params: types.Switch = Field(default=False, description="true: the client's query wins over the target's.")
    default_query_params: dict[str, types.Text] = Field(default={}, description="Query parameters of lowest priority.")
    cost_per_request: types.NanoUsd | None = Field(default=None, description="US dollars, instead of the price of pages.")
    timeout: types.Limit = Field(default=None, description="Seconds for the whole exchange (LiteLLM's name of timeouts.total).")
    timeouts: TimeoutsPart = Field(default=TimeoutsPart(), description="connect, header, idle, total.")
    retries: Annotated[RetriesPart, types.ShortFor("attempts")] = Field(
        default=RetriesPart.model_validate({"attempts": "0"}),
        description="Further tries: a number, or attempts, statuses, held_body, spool, max_wait.",
    )
    max_body: types.Size = Field(default=10**9, description="The largest request body: 1GB, 512MB, 1GiB.")
    min_upload_rate: types.Rate = Field(default=200, description="Bytes a second, over a minute: 200B, 1KB; none or 0: any.")
    client_gone: types.ClientGone | None = Field(default=None, description="What becomes of a call whose client left.")
    meter: Annotated[MeterPart, types.ShortFor("shape")] = Field(default=MeterPart(), description="How responses are counted.")
    prices: list[PricePart] = Field(default=[], description="Prices on this route, before all others.")
    label_headers: Labels = Field(default=[], description="Further headers that label exchanges on this route.")
    upstream_tls: UpstreamTlsPart | None = Field(default=None, description="Whom to trust.")
    proxy: types.Proxy | None = Field(default=None, description="An HTTP proxy on the way to the target.")
    id: SkipValidation[Any] = Field(default=None, description="LiteLLM's; does nothing here.")
    guardrails: SkipValidation[Any] = Field(default=None, description="LiteLLM's; does nothing here.")
    custom_auth_parser: SkipValidation[Any] = Field(default=None, description="LiteLLM's; does nothing here.")


IDLE_KEYS: Final = frozenset({"id", "guardrails", "custom_auth_parser"})
"""Keys of endpoints that are accepted and do nothing."""


class ClientKeyPart(LimitsPart):
    """A client that may call."""

    name: types.Name = Field(description="Who it is: the name in the log and the ledger.")
    key: types.Key = Field(description="os.environ/NAME, sha256:<64 hexadecimal digits>, or the key itself.")
    routes: list[types.Word] | None = Field(default=None, description="Paths of the routes that are allowed; all by default.")
    models: list[types.Word] | None = Field(default=None, description="Names of model_list that are allowed; all by default.")


class PeriodsPart(Part):
    """Where the days, weeks and months of budgets begin."""

    time_zone: types.TimeZone = Field(default="UTC", description="An IANA name: Europe/Berlin")
    day_starts: types.TimeOfDay = Field(default=0, description='When a day begins there: "06:00"; weeks and months too.')
    week_starts: types.WeekDay = Field(default=0, description="On which day a week begins; monday by default.")
    month_starts: types.MonthDay = Field(
        default=1, description="On which day a month begins, or on its last where it is shorter."
    )


class General(Part):
    """LiteLLM's general_settings, as far as they mean something here."""

    model_config = ConfigDict(extra="ignore")

    pass_through_endpoints: SkipValidation[list[Endpoint]] = Field(default=[], description="Routes, as at the top level.")
    master_key: types.Key | None = Field(default=None, description="The one key that may do everything.")
    admin_key: types.Key | None = Field(default=None, description="Opens the admin port; the master key by default.")
    allow_anonymous: types.Switch = Field(default=False, description="Let everybody call, from other machines too.")
    litellm_key_header_name: types.KeyHeader | None = Field(default=None, description="A further header that carries keys.")
    pass_through_request_timeout: types.Limit = Field(default=None, description="The default of the endpoints' timeout.")


_GENERAL: Final = (
    "LiteLLM's section: master_key, litellm_key_header_name, pass_through_endpoints; its other keys do nothing here."
)


class File(LimitsPart):
    """The configuration of passthrough."""

    pass_through_endpoints: SkipValidation[list[Endpoint]] = Field(default=[], description="The routes.")
    client_keys: SkipValidation[list[ClientKeyPart]] = Field(default=[], description="Who may call.")
    model_list: ModelList = Field(default=[], description="LiteLLM's: models for OCR, each served by one or more deployments.")
    router_settings: SkipValidation[RouterPart] = Field(
        default=RouterPart(), description="LiteLLM's: how deployments are chosen."
    )
    litellm_settings: SkipValidation[LiteLLMSettingsPart] = Field(
        default=LiteLLMSettingsPart(), description="LiteLLM's: tries, fallbacks, time-outs, and which documents are fetched."
    )
    credential_list: CredentialList = Field(default=[], description="LiteLLM's: credentials that entries of model_list share.")
    ocr: SkipValidation[OcrPart] = Field(default=OcrPart(), description="The bounds of OCR requests.")
    prices: SkipValidation[list[PricePart]] = Field(default=[], description="Prices of your own.")
    price_map: types.FileName | None = Field(
        default=None, description="LiteLLM's price map, relative to this file: for what no list has a price."
    )
    label_headers: SkipValidation[Labels] = Field(default=[], description="Request headers whose values label exchanges.")
    general_settings: SkipValidation[General] = Field(default=General(), description=_GENERAL)
    master_key: types.Key | None = Field(default=None, description="The one key that may do everything.")
    admin_key: types.Key | None = Field(default=None, description="Opens the admin port; the master key by default.")
    allow_anonymous: types.Switch = Field(default=False, description="Let everybody call, from other machines too.")
    cors: Annotated[list[types.Origin], types.OneOrMany()] = Field(
        default=[], description="Origins whose web pages may call, and read what comes back: https://app.example"
    )
    ledger: types.Ledger = Field(default="sqlite:///passthrough.db", description="Where exchanges are booked, or none.")
    ledger_keep: types.Days = Field(default=400, description="How long exchanges are kept: 400d, or forever; daily sums stay.")
    journal: types.FileName | None = Field(
        default=None, description="The folder for what is not in the ledger yet; beside the ledger by default."
    )
    budget_periods: PeriodsPart = Field(default=PeriodsPart(), description="Where the periods of budgets begin.")
    budget_webhook: types.Webhook | None = Field(default=None, description="Where warnings of budgets are posted, as JSON.")
    on_ledger_down: types.LedgerDown = Field(
        default="allow", description="allow or refuse: what becomes of requests with a budget while the ledger is away."
    )
    host: types.HostName = Field(default="127.0.0.1", description="Where clients connect.")
    port: types.Port = Field(default=4000, description="Where clients connect.")
    listen_host: types.HostName | None = Field(default=None, description="Another name of host.")
    listen_port: types.Port | None = Field(default=None, description="Another name of port.")
    admin_host: types.HostName = Field(default="127.0.0.1", description="Where operators connect.")
    admin_port: types.Port = Field(default=4001, description="Where operators connect.")
    workers: types.Workers = Field(default=1, description="Processes.")
    drain_delay: types.Delay = Field(
        default=0.0, description="How long it serves on after the order to stop, not ready any more."
    )
    drain_timeout: types.Duration = Field(default=25.0, description="How long running exchanges may take when it stops.")
    log_format: types.LogFormat = Field(default="auto", description="auto, json or text.")
    log_file: types.FileName | None = Field(
        default=None, description="Where the access log goes instead of stdout, relative to this file; SIGHUP opens it once more."
    )
    log_level: types.LogLevel = Field(default="info", description="debug, info, warning or error: the program's own messages.")
    tls_cert: types.FileName | None = Field(default=None, description="PEM file with the certificate for clients.")
    tls_key: types.FileName | None = Field(default=None, description="PEM file with its key.")
    max_connections: types.Count | None = Field(
        default=None, description="Connections of clients at the same time; by default what the limit of open files lets in."
    )
    client_keep_alive: types.Duration = Field(default=75.0, description="How long a client's unused connection is kept.")
    upstream_keep_alive: types.Duration = Field(default=15.0, description="How long an unused connection to a target is kept.")


SECTIONS: Final = frozenset({
    "pass_through_endpoints", "client_keys", "prices", "label_headers", "general_settings", "model_list", "router_settings",
    "litellm_settings", "credential_list", "ocr",
})  # fmt: skip
"""Top-level keys that hold more than one value; each of their items is validated by itself."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the file; LiteLLM's sections are allowed in it."""
    described = File.model_json_schema()
    for section in LITELLM_SECTIONS:
        described["properties"][section] = {"description": "LiteLLM's; does nothing here."}
    for section in sorted(SECTIONS):
        # A section whose lines are all commented out is null.
        one = described["properties"][section]
        texts = {key: one[key] for key in ("description", "title")}
        described["properties"][section] = (
            {**one, "type": ["array", "null"]} if one.get("type") == "array" else {**texts, "anyOf": [one, {"type": "null"}]}
        )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
