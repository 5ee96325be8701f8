"""Parsers of single values: sizes, durations, money, switches. They are pure, and raise InvalidValue for wrong text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from .problems import InvalidValue, did_you_mean, printable

_NUMBER: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", re.ASCII)
_MONEY: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_INTEGER: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_BYTES: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS: Final[dict[str, Decimal | int]] = {"ms": Decimal("0.001"), "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LOG_FORMATS: Final = ("auto", "json", "text")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
MAX_ATTEMPTS: Final = 10
MAX_WORKERS: Final = 256
RETRIED_4XX: Final = (408, 425, 429)
_NAME_SHOWN: Final = 200
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})
_CENTURY_S: Final = 100 * 365 * 86400
_MAX_USD: Final = Decimal(10**6)
_MAX_BUDGET_USD: Final = Decimal(10**9)
WEEK_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME_OF_DAY: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)( ?%)?", re.ASCII)
_JSON_NAME: Final = r"[^.\[\]\s](?:[^.\[\]]*[^.\[\]\s])?"
_JSON_PATH: Final = re.compile(rf"(?:{_JSON_NAME}|\[\])(?:\[\]|\.{_JSON_NAME})*")
_MAX_PATH: Final = 500
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*", re.ASCII)  # RFC 3986 §3.3
_WEIGHT: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_API_VERSION: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}", re.ASCII)
_VERTEX_PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.:]{0,99}", re.ASCII)  # domain-scoped ones have a colon
_VERTEX_LOCATION: Final = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
_TENANT: Final = re.compile(r"[A-Za-z0-9.\-]{1,100}", re.ASCII)  # azure-identity: validate_tenant_id
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)  # It is shown: a client secret in its place is none.
_ENCODED_JSON: Final = re.compile(r"e(?:yJ|yA|wo|w0)[A-Za-z0-9+/=_.-]{30,}", re.ASCII)
"""A JSON object as base64, as a credentials file often stands in a variable; a JWT begins so too."""
_ENTRA_SCOPE: Final = re.compile(r"[A-Za-z0-9_\-.:/]{1,500}/\.default", re.ASCII)
_GOOGLE_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,500}", re.ASCII)  # RFC 6749 §3.3
_JOB_HINT: Final = "Write a path in the document, such as job.id, or a part of the URL's path, such as '/job/{}/'."
_SIZE_HINT: Final = "Write a size such as 1GB (10⁹ bytes), 512MB, 1GiB or a number of bytes."
_DURATION_HINT: Final = "Write a duration such as 10s, 300ms, 5m, 1h, 400d or a number of seconds."
_DAYS_HINT: Final = "Write it with its unit, such as 400d, or forever."


def size(text: str) -> int:
    """Return bytes: `1GB` is 10⁹, `1GiB` is 2³⁰, a plain number is bytes."""
    match = _NUMBER.fullmatch(text.strip())
    factor = _BYTES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise InvalidValue("This is not a size.", _SIZE_HINT)
    count = Decimal(match[1]) * factor
    if count != int(count) or not 1 <= count <= 2**60:
        raise InvalidValue("A size must be a whole, positive number of bytes.", _SIZE_HINT)
    return int(count)


def duration(text: str) -> float:
    """Return seconds, more than 0: `10s`, `300ms`, `5m`, `1h`, `400d`; a plain number is seconds."""
    match = _NUMBER.fullmatch(text.strip())
    factor = _SECONDS.get(match[2]) if match else None
    if match is None or factor is None:
        raise InvalidValue("This is not a duration.", _DURATION_HINT)
    seconds = Decimal(match[1]) * factor
    if not 0 < seconds <= _CENTURY_S:
        raise InvalidValue("A duration must be more than 0, and at most a century.", _DURATION_HINT)
    return float(seconds)


def delay(text: str) -> float:
    """Return seconds as `duration` does; 0 is allowed."""
    match = _NUMBER.fullmatch(text.strip())
    return 0.0 if match is not None and match[2] in _SECONDS and not Decimal(match[1]) else duration(text)


def rate_or_none(text: str) -> int | None:
    """Return bytes a second, as `size` does, or None for `none` or 0: any rate."""
    return None if text.strip().lower() in {"none", "0"} else size(text)


def duration_or_none(text: str) -> float | None:
    """Return seconds, or None for `none`: no limit."""
    return None if text.strip().lower() == "none" else duration(text)


def days_or_none(text: str) -> int | None:
    """Return whole days (`400d`), or None for `forever` (or `none`)."""
    if text.strip().lower() in {"forever", "none"}:
        return None
    try:
        seconds = duration(text)
    except InvalidValue:
        raise InvalidValue("This is not a number of days.", _DAYS_HINT) from None
    if seconds % 86400:
        raise InvalidValue("This must be a number of whole days.", _DAYS_HINT)
    return int(seconds // 86400)


def usd(text: str) -> Decimal:
    """Return an amount of US dollars, exactly as written."""
    if text.strip().startswith("-"):
        raise InvalidValue("A price cannot be negative.", "Write 0 for what costs nothing.")
    if not _MONEY.fullmatch(text.strip()):
        raise InvalidValue("This is not an amount of US dollars.", "Write a number such as 0.002.")
    amount = Decimal(text.strip())
    if amount > _MAX_USD:
        raise InvalidValue("A price above a million US dollars is taken for a slip.", "Write US dollars, not nano-dollars.")
    return amount


def nano_usd(text: str) -> int:
    """Return an amount of US dollars in whole 10⁻⁹ dollars, the ledger's unit."""
    nano = usd(text).scaleb(9)
    if nano != nano.to_integral_value():
        raise InvalidValue("An amount has at most nine decimals.", "Round it.")
    return int(nano)


def budget_usd(text: str) -> int:
    """Return a budget of US dollars, more than 0, in whole 10⁻⁹ dollars."""
    if not _MONEY.fullmatch(text.strip()) or not 0 < (amount := Decimal(text.strip())) <= _MAX_BUDGET_USD:
        raise InvalidValue(
            "This must be an amount of US dollars, more than 0 and at most a thousand million.", "Write one such as 50."
        )
    nano = amount.scaleb(9)
    if nano != nano.to_integral_value():
        raise InvalidValue("An amount has at most nine decimals.", "Round it.")
    return int(nano)


def share(text: str) -> float | None:
    """Return a share, more than 0 and at most 1: `80%`, `0.8`; None for `none`."""
    if text.strip().lower() == "none":
        return None
    match = _SHARE.fullmatch(text.strip())
    part = Decimal(match[1]) / (100 if match[2] else 1) if match else Decimal(0)
    if not 0 < part <= 1:
        raise InvalidValue("This must be a share, more than 0 and at most 100%.", "Write 80%, 0.8, or none.")
    return float(part)


def factor(text: str) -> Decimal:
    """Return a factor between 0 and 1."""
    if not _MONEY.fullmatch(text.strip()) or not 0 <= Decimal(text.strip()) <= 1:
        raise InvalidValue("This must be a number from 0 to 1.", "Write 0.5 for half the price.")
    return Decimal(text.strip())


def count(text: str) -> int:
    """Return a positive whole number."""
    if not _INTEGER.fullmatch(text.strip()) or int(text) < 1:
        raise InvalidValue("This must be a positive whole number.", "Write one such as 8.")
    return int(text)


def attempts(text: str) -> int:
    """Return how many times a request is tried again: from 0 to 10."""
    if not _INTEGER.fullmatch(text.strip()) or int(text) > MAX_ATTEMPTS:
        raise InvalidValue(
            f"This must be a whole number from 0 to {MAX_ATTEMPTS}.", "Write 2 to try twice more, 0 to try once only."
        )
    return int(text)


def retried_status(text: str) -> int:
    """Return a status after which a request may be tried again: one that means 'not now', or that the server failed."""
    if not _INTEGER.fullmatch(text.strip()) or not (int(text) in RETRIED_4XX or 500 <= int(text) <= 599):
        listed = ", ".join(map(str, RETRIED_4XX))
        raise InvalidValue(f"Only after {listed} and 500 to 599 is a request tried again.", "Write one of these, or remove it.")
    return int(text)


def whole(text: str) -> int:
    """Return a whole number, 0 or more."""
    if not _INTEGER.fullmatch(text.strip()):
        raise InvalidValue("This must be a whole number, 0 or more.", "Write one such as 1.")
    return int(text)


def weight(text: str) -> float:
    """Return a share, 0 or more."""
    if not _WEIGHT.fullmatch(text.strip()):
        raise InvalidValue("This must be a number, 0 or more.", "Write one such as 2: twice the share of a deployment with 1.")
    return float(text)


def api_version(text: str) -> str:
    """Return the version of Azure's API, which stands in a query."""
    if not _API_VERSION.fullmatch(text):
        raise InvalidValue("This is not the version of an API.", "Write one such as 2024-05-01-preview.")
    return text


def vertex_project(text: str) -> str:
    """Return the name of a project at Google, which stands in a path."""
    if not _VERTEX_PROJECT.fullmatch(text):
        raise InvalidValue("This is not the id of a project.", "Write it as the console shows it: letters, digits and '-'.")
    return text


def vertex_location(text: str) -> str:
    """Return a location at Google, which stands in a host's name: anything else could name another host."""
    if not _VERTEX_LOCATION.fullmatch(text):
        raise InvalidValue("This is not a location: only a-z, 0-9 and '-' stand in one.", "Write one such as us-central1.")
    return text


def google_scope(text: str) -> str:
    """Return what a token of Google's is asked for."""
    if not _GOOGLE_SCOPE.fullmatch(text):
        raise InvalidValue("This is not a scope of Google's.", "Write it whole: https://www.googleapis.com/auth/cloud-platform")
    return text


def entra_scope(text: str) -> str:
    """Return what a token of Entra is asked for: all that the account may do at one API."""
    if not _ENTRA_SCOPE.fullmatch(text):
        hint = "Write it as https://cognitiveservices.azure.com/.default."
        raise InvalidValue("This is not a scope of Entra: a program asks for one that ends in '/.default'.", hint)
    return text


def tenant_id(text: str) -> str:
    """Return the tenant of an Entra identity: its id, or its domain."""
    if not _TENANT.fullmatch(text):
        raise InvalidValue("This is not a tenant.", "Write its id, as Azure's portal shows it, or its domain.")
    return text


def client_id(text: str) -> str:
    """Return the id of an application, or of a managed identity, at Entra."""
    if not _CLIENT_ID.fullmatch(text):
        raise InvalidValue("This is not the id of a client.", "Write the application's (client) id, as Azure's portal shows it.")
    return text


def port(text: str) -> int:
    """Return a port to listen on; 0 lets the system choose."""
    if not _INTEGER.fullmatch(text.strip()) or int(text) > 65535:
        raise InvalidValue("This is not a port.", "Write a number from 1 to 65535 (or 0: the system chooses one).")
    return int(text)


def workers(text: str) -> int:
    """Return the number of worker processes."""
    if (found := count(text)) > MAX_WORKERS:
        raise InvalidValue(f"More than {MAX_WORKERS} workers are not served.", "Write the number of processors, or less.")
    return found


def switch(text: str) -> bool:
    """Return true or false, in YAML's spellings."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise InvalidValue("true or false is expected here.", "Write true or false.")
    return word in _TRUE


def day(text: str) -> date:
    """Return a date written as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidValue("This is not a date.", "Write it as 2026-01-31.") from None


def time_of_day(text: str) -> int:
    """Return minutes from midnight: `06:00`."""
    match = _TIME_OF_DAY.fullmatch(text.strip())
    if match is None:
        raise InvalidValue("This is not a time of day.", 'Write it as "06:00", from 00:00 to 23:59.')
    return int(match[1]) * 60 + int(match[2])


def week_day(text: str) -> int:
    """Return the number of a day of the week; 0 is Monday."""
    return WEEK_DAYS.index(one_of(WEEK_DAYS, text))


def month_day(text: str) -> int:
    """Return a day of the month, from 1 to 31."""
    if not _INTEGER.fullmatch(text.strip()) or not 1 <= int(text) <= 31:
        raise InvalidValue("This is not a day of a month.", "Write a number from 1 to 31; 31 is each month's last day.")
    return int(text)


def time_zone(text: str) -> str:
    """Return the name of a time zone that this system, or the package tzdata, knows."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # a folder's name ("Europe") is an OSError
        hint = did_you_mean(text, available_timezones(), "Write one such as Europe/Berlin, or UTC.")
        raise InvalidValue("This is not a time zone that is known here.", hint) from None
    return text


def json_path(text: str) -> str:
    """Return the path of a value in a JSON document: names joined by `.`, with `[]` for every item of an array."""
    if re.search(r"\[[0-9*]+\]", text):
        raise InvalidValue("Single items of an array cannot be named.", "Write [] for every item, such as results[].pages.")
    if len(text) > _MAX_PATH or not _JSON_PATH.fullmatch(text) or text.startswith("$") or not text.isprintable():
        hint = "Write the names from the top, joined by '.', and [] for every item of an array: usage.num_pages, results[].pages."
        raise InvalidValue("This is not a path into a JSON document.", hint)
    return text


def json_array(text: str) -> str:
    """Return the path of an array in a JSON document, whose items are counted; `[]` is the document itself."""
    if text != "[]" and json_path(text).endswith("[]"):
        raise InvalidValue("The path of an array is its name: its items are counted.", "Remove the [] at the end.")
    return text


def job_id(text: str) -> str:
    """Return where a job's id stands: a path in a JSON document, or a part of the URL's path, with `{}` for the id's segment."""
    if not text.startswith("/"):
        if "{" in text or "}" in text:
            raise InvalidValue("A part of the URL's path begins with '/'.", _JOB_HINT)
        if "[]" in json_path(text):
            raise InvalidValue("A job's id is one value, not one for each item of an array.", _JOB_HINT)
        return text
    if "?" in text or "#" in text:
        raise InvalidValue("A part of the URL's path has no '?' and no '#'.", _JOB_HINT)
    segments = text.split("/")
    if "{}" not in segments:
        raise InvalidValue("No segment of it is the job's id.", _JOB_HINT)
    if len(text) > _MAX_PATH or not all(segment == "{}" or _SEGMENT.fullmatch(segment) for segment in segments):
        what = "It holds a character that no URL's path has, or a placeholder that is not a whole segment '{}'."
        raise InvalidValue(what, _JOB_HINT)
    return text


def one_of(words: tuple[str, ...], text: str) -> str:
    """Return one of some words, in lower case."""
    word = text.strip().lower()
    if word not in words:
        listed = ", ".join(words)
        raise InvalidValue(f"One of {listed} is expected here.", did_you_mean(word, words, "Write one of them."))
    return word


def name(text: str) -> str:
    """Return a name that people read: at least one character, no control character, no space around it."""
    if not text or text != text.strip() or not text.isprintable() or len(text) > 200:
        what = "This is not a name: it is empty, too long, or has spaces around or control characters in it."
        raise InvalidValue(what, "Write 1 to 200 characters, such as invoices.")
    return text


@dataclass(frozen=True, slots=True)
class FileName:
    """The name of a file, and its name in messages: a variable's value is never `shown`, for it may be a secret."""

    text: str
    shown: str


def file_name(text: str, variables: str = "") -> FileName:
    """Return the name of a file, which came out of `variables` if that is not empty; whether it exists is not checked here."""
    if "-----BEGIN" in text or "\n" in text or _ENCODED_JSON.fullmatch(text):
        raise InvalidValue(
            "This is not the name of a file, but what stands in one.", "Write it into a file, and the file's name here."
        )
    if not text or "\0" in text:
        raise InvalidValue("This is not the name of a file.", "Write one such as cert.pem.")
    return FileName(text, f"(from {variables})" if variables else printable(text, _NAME_SHOWN))


def ledger(text: str) -> str | None:
    """Return the URL of the ledger, None for `none`: nothing is booked. Which URLs it can open, the ledger itself checks."""
    if text.strip().lower() == "none":
        return None
    if "://" not in text or not text.isprintable():
        hint = (
            "Write sqlite:///passthrough.db (relative to the working directory), postgresql://user:password@host/name, or none."
        )
        raise InvalidValue("This is not a ledger.", hint)
    return text
