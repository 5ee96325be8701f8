"""The types of the schema's fields for pydantic, and of its mappings: each says, in JSON Schema too, what may be written.

InvalidValue becomes pydantic's error, with our words and never with the value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..secret import Secret
from . import syntax, values
from .problems import InvalidValue

OURS: Final = "ours"
"""The type of pydantic errors whose words are ours."""

_REFERENCE: Final = {"type": "string", "pattern": "os\\.environ/[A-Za-z0-9_]+"}
_STRING: Final = {"type": "string"}
_SCALAR: Final = {"type": ["string", "number", "boolean"]}


def _invalid(error: InvalidValue) -> PydanticCustomError:
    return PydanticCustomError(OURS, "{what}", {"what": error.what, "hint": error.hint})


def _text(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str):
        return value
    raise InvalidValue("A single value is expected here, not a list or a mapping.", "Write text, a number, or true or false.")


def _secret(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(value))


def _reads(parse: Callable[[str], object]) -> PlainValidator:
    """Return a validator that parses text by `parse`."""

    def read(value: object) -> object:
        try:
            return parse(_text(value))
        except InvalidValue as error:
            raise _invalid(error) from None

    return PlainValidator(read)


def _keeps(check: Callable[[Secret], Secret]) -> PlainValidator:
    """Return a validator that keeps a Secret and checks it by `check`."""

    def keep(value: object) -> Secret:
        try:
            return check(_secret(value))
        except InvalidValue as error:
            raise _invalid(error) from None

    return PlainValidator(keep)


def _as_json(value: object) -> object:
    """Return the JSON of a mapping: a text that is pasted without quotes around it is one."""
    return Secret(json.dumps(_revealed(value))) if isinstance(value, dict) else value


def _revealed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _revealed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_revealed(inner) for inner in value]
    return value.reveal() if isinstance(value, Secret) else value


def _not_empty(secret: Secret) -> Secret:
    if not secret.reveal().strip():
        raise InvalidValue("There is nothing in it.", "Write os.environ/NAME, or remove this key.")
    return secret


def _file_name(value: object) -> values.FileName:
    try:
        return values.file_name(_text(value), value.shown if isinstance(value, Secret) else "")
    except InvalidValue as error:
        raise _invalid(error) from None


def _written(*schemas: dict[str, Any]) -> WithJsonSchema:
    """Return what an editor accepts: one of `schemas`, or a reference to a variable."""
    return WithJsonSchema({"anyOf": [*schemas, _REFERENCE]})


def _word(*words: str) -> tuple[PlainValidator, WithJsonSchema]:
    return _reads(partial(values.one_of, words)), _written({"enum": list(words)})


_DURATION: Final = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)?$"}
_MONEY: Final = ({"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9]"})
_COUNT: Final = ({"type": "integer", "minimum": 1},)
_SIZES: Final = ({"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9.]+ ?([KMGTkmgt][Ii]?)?[Bb]?$"})
_PORTS: Final = {"type": "integer", "minimum": 0, "maximum": 65535}

Switch = Annotated[bool, _reads(values.switch), _written({"type": "boolean"})]
Size = Annotated[int, _reads(values.size), _written(*_SIZES)]
Rate = Annotated[int | None, _reads(values.rate_or_none), _written(*_SIZES, {"enum": [0, "0", "none"]})]
Duration = Annotated[float, _reads(values.duration), _written({"type": "number", "exclusiveMinimum": 0}, _DURATION)]
Delay = Annotated[float, _reads(values.delay), _written({"type": "number", "minimum": 0}, _DURATION)]
Limit = Annotated[
    float | None,
    _reads(values.duration_or_none),
    _written({"type": "number", "exclusiveMinimum": 0}, _DURATION, {"const": "none"}),
]
Days = Annotated[
    int | None,
    _reads(values.days_or_none),
    _written({"type": "string", "pattern": "^[0-9]+ ?d$"}, {"enum": ["forever", "none"]}),
]
Count = Annotated[int, _reads(values.count), _written(*_COUNT)]
Attempts = Annotated[int, _reads(values.attempts), _written({"type": "integer", "minimum": 0, "maximum": values.MAX_ATTEMPTS})]
RetriedStatus = Annotated[
    int,
    _reads(values.retried_status),
    _written({"enum": list(values.RETRIED_4XX)}, {"type": "integer", "minimum": 500, "maximum": 599}),
]
Usd = Annotated[Decimal, _reads(values.usd), _written(*_MONEY)]
NanoUsd = Annotated[int, _reads(values.nano_usd), _written(*_MONEY)]
BudgetUsd = Annotated[int, _reads(values.budget_usd), _written({"type": "number", "exclusiveMinimum": 0}, _MONEY[1])]
Share = Annotated[
    float | None,
    _reads(values.share),
    _written({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "string", "pattern": "^[0-9.]+ ?%?$|^none$"}),
]
TimeOfDay = Annotated[int, _reads(values.time_of_day), _written({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"})]
WeekDay = Annotated[int, _reads(values.week_day), _written({"enum": list(values.WEEK_DAYS)})]
MonthDay = Annotated[int, _reads(values.month_day), _written({"type": "integer", "minimum": 1, "maximum": 31})]
TimeZone = Annotated[str, _reads(values.time_zone), WithJsonSchema(_STRING)]
JsonPath = Annotated[str, _reads(values.json_path), WithJsonSchema(_STRING)]
JsonArray = Annotated[str, _reads(values.json_array), WithJsonSchema(_STRING)]
JobId = Annotated[str, _reads(values.job_id), WithJsonSchema(_STRING)]
Factor = Annotated[Decimal, _reads(values.factor), _written({"type": "number", "minimum": 0, "maximum": 1})]
Day = Annotated[date, _reads(values.day), _written({"type": "string", "format": "date"})]
Whole = Annotated[int, _reads(values.whole), _written({"type": "integer", "minimum": 0})]
Weight = Annotated[float, _reads(values.weight), _written({"type": "number", "minimum": 0})]
BaseUrl = Annotated[
    syntax.Location,
    _reads(lambda text: syntax.location(text, "base URL")),
    WithJsonSchema({"type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|os\\.environ/)"}),
]
ApiVersion = Annotated[str, _reads(values.api_version), WithJsonSchema(_STRING)]
VertexProject = Annotated[str, _reads(values.vertex_project), WithJsonSchema(_STRING)]
VertexLocation = Annotated[str, _reads(values.vertex_location), WithJsonSchema(_STRING)]
JsonText = Annotated[bytes, _reads(lambda text: text.encode("utf-8", "surrogatepass")), WithJsonSchema({})]
Name = Annotated[str, _reads(values.name), WithJsonSchema(_SCALAR)]
Word = Annotated[str, _reads(str), WithJsonSchema(_SCALAR)]
FileName = Annotated[values.FileName, PlainValidator(_file_name), WithJsonSchema(_STRING)]
Port = Annotated[int, _reads(values.port), _written(_PORTS)]
Workers = Annotated[int, _reads(values.workers), _written({"type": "integer", "minimum": 1, "maximum": values.MAX_WORKERS})]
HostName = Annotated[str, _reads(syntax.host), WithJsonSchema(_STRING)]
Path = Annotated[str, _reads(syntax.route_path), _written({"type": "string", "pattern": "^/"})]
Target = Annotated[
    syntax.Location,
    _reads(syntax.location),
    WithJsonSchema({"type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|os\\.environ/)"}),
]
Proxy = Annotated[Secret, _keeps(syntax.proxy_url), _written({"type": "string", "pattern": "^http://"})]
Method = Annotated[str, _reads(syntax.method), WithJsonSchema(_STRING)]
MeteredMethod = Annotated[str, _reads(syntax.metered_method), WithJsonSchema(_STRING)]
HeaderName = Annotated[str, AfterValidator(lambda text: _named(syntax.header_name, text))]
HeaderValue = Annotated[Secret, _keeps(syntax.header_value), WithJsonSchema(_SCALAR)]
LabelName = Annotated[bytes, _reads(syntax.label_name), WithJsonSchema(_STRING)]
LabelFills = Annotated[
    str | None, _reads(syntax.label_fills), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9_-]{1,40}$"})
]
KeyHeader = Annotated[str, _reads(syntax.header_name), WithJsonSchema(_STRING)]
Key = Annotated[Secret, _keeps(syntax.key), WithJsonSchema(_STRING)]
Origin = Annotated[
    bytes, _reads(syntax.origin), WithJsonSchema({"type": "string", "pattern": "^([A-Za-z][A-Za-z0-9+.-]*://|os\\.environ/)"})
]
Webhook = Annotated[Secret, _keeps(syntax.webhook), WithJsonSchema({"type": "string", "pattern": "^(https?://|os\\.environ/)"})]
CostHeader = Annotated[bytes, _reads(syntax.field_name), WithJsonSchema(_STRING)]
FieldName = CostHeader
Text = Annotated[Secret, _keeps(lambda secret: secret), WithJsonSchema(_SCALAR)]
GoogleCredentials = Annotated[
    Secret, _keeps(_not_empty), BeforeValidator(_as_json), WithJsonSchema({"type": ["string", "object"]})
]
GoogleScope = Annotated[str, _reads(values.google_scope), WithJsonSchema(_STRING)]
EntraScope = Annotated[str, _reads(values.entra_scope), _written({"type": "string", "pattern": "/\\.default$"})]
TenantId = Annotated[str, _reads(values.tenant_id), WithJsonSchema(_STRING)]
ClientId = Annotated[str, _reads(values.client_id), WithJsonSchema(_STRING)]
ClientSecret = Annotated[Secret, _keeps(_not_empty), WithJsonSchema(_STRING)]
Authority = Annotated[str, _reads(syntax.authority), WithJsonSchema(_STRING)]
LogFormat = Annotated[str, *_word(*values.LOG_FORMATS)]
LogLevel = Annotated[str, *_word(*values.LOG_LEVELS)]
ClientGone = Annotated[str, *_word("settle", "cancel")]
Period = Annotated[str, *_word("day", "week", "month")]
Shape = Annotated[str, *_word("auto", "ocr", "chat", "batch", "json", "none")]
Unpriced = Annotated[str, *_word("allow", "refuse")]
PriceListName = Annotated[str, *_word("mistral", "azure", "vertex", "none")]
LedgerDown = Annotated[str, *_word("allow", "refuse")]


def _named(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except InvalidValue as error:
        raise _invalid(error) from None


Ledger = Annotated[str | None, _reads(values.ledger), WithJsonSchema(_STRING)]


class Part(BaseModel):
    """A mapping of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return itself: nothing changes it. pydantic 2 copies defaults for every route, a sixth of the time to read many."""
        return self


class OneOrMany:
    """Accepts one item for a list that holds it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, list) else [value], handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


class ShortFor:
    """Accepts a single value for the mapping `{key: value}`."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: {self._key: value} if isinstance(value, str | Secret) else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler(schema)
        short: JsonSchemaValue = handler.resolve_ref_schema(whole)["properties"][self._key]
        return {"anyOf": [short, whole]}
