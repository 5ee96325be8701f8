"""Where spans go and which are sampled, from OpenTelemetry's standard variables: nothing else turns tracing on.

The variables are those of OpenTelemetry's specification ("OpenTelemetry Environment Variable Specification", "OpenTelemetry
Protocol Exporter"). One for traces alone comes before the general one; an empty one counts as not set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from ..extras import install_command
from ..secret import Secret

SERVICE: Final = "passthrough"
TRACES_PATH: Final = "/v1/traces"
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_TIMEOUT_S: Final = 60.0

_MILLISECONDS_FROM: Final = 1000.0  # Python's SDK reads seconds, the specification milliseconds: 10000 is its default
_COMPRESSIONS: Final = ("none", "gzip", "deflate")
_LIBRARIES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_TRUE: Final = "true"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.1

Warn = Callable[[str, str, str], None]
"""Takes the name of a variable, what is wrong with it, and a hint. Neither holds its value."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which exchanges get a span: `ratio` of them; `by_parent`: where the client says whether it is sampled, that counts."""

    ratio: float = 1.0
    by_parent: bool = True


_SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "always_on": Sampler(1.0, by_parent=False),
        "always_off": Sampler(0.0, by_parent=False),
        "traceidratio": Sampler(1.0, by_parent=False),
        "parentbased_always_on": Sampler(1.0),
        "parentbased_always_off": Sampler(0.0),
        "parentbased_traceidratio": Sampler(1.0),
    }
)
"""By the specification's names; those with `traceidratio` take their ratio from OTEL_TRACES_SAMPLER_ARG."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """How spans are exported.

    `endpoint` is the URL that spans are posted to, which may hold a password, and `collector` its host and port, for messages.
    `headers` go with each export. `resource` says who exports: `service.name` and others. `certificate` is a file of authorities
    to trust instead of the system's; `client_certificate` and `client_key` are files of PEM.
    """

    endpoint: Secret
    collector: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S
    compression: str = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    resource: Mapping[str, str] = field(default_factory=lambda: {"service.name": SERVICE})
    sampler: Sampler = Sampler()


def tracing_settings(environ: Mapping[str, str], cwd: Path, warn: Warn) -> TracingSettings | None:
    """Return how spans are exported; None where they are not, with a warning where that is a mistake: traffic needs no spans.

    1. Without an endpoint, there is no tracing. 2. OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none turn it off. 3. Another
    exporter or protocol than OTLP over HTTP, an endpoint that is no URL, and missing libraries are warned of. 4. What else is
    wrong is warned of, and the default holds. Files are relative to `cwd`, as for other programs that read these variables.
    """
    # 1.
    named = next((name for name in _names("ENDPOINT") if environ.get(name)), None)
    if named is None:
        return None
    # 2.
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == _TRUE or exporter == "none":
        return None
    # 3.
    if exporter not in {"", "otlp"}:
        warn(
            "OTEL_TRACES_EXPORTER", "There is no such exporter here: no spans are exported.", "Write otlp, or none, or remove it."
        )
        return None
    protocol_name, protocol = _chosen(environ, "PROTOCOL")
    if protocol not in {"", "http/protobuf"}:
        hint = "Write http/protobuf, or remove it; most collectors take that on port 4318, gRPC on 4317."
        warn(protocol_name, "Spans are exported by http/protobuf only: no spans are exported.", hint)
        return None
    url = environ[named].strip()
    collector = _collector(url)
    if collector is None:
        warn(named, "This is no URL of a collector: no spans are exported.", "Write one such as http://localhost:4318.")
        return None
    if not all(map(_is_installed, _LIBRARIES)):
        what = "No spans are exported: the libraries for it are not installed."
        warn(named, what, f"Run: {install_command('otel')}")
        return None
    # 4.
    read = _Reader(environ, warn)
    return TracingSettings(
        endpoint=Secret(url if named == _names("ENDPOINT")[0] else url.rstrip("/") + TRACES_PATH, named),
        collector=collector,
        headers=read.headers(),
        timeout_s=read.timeout_s(),
        compression=read.compression(),
        certificate=_file(environ, "CERTIFICATE", cwd),
        client_certificate=_file(environ, "CLIENT_CERTIFICATE", cwd),
        client_key=_file(environ, "CLIENT_KEY", cwd),
        resource=read.resource(),
        sampler=read.sampler(),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads variables of which the default holds where they are wrong."""

    environ: Mapping[str, str]
    warn: Warn

    def headers(self) -> Mapping[str, Secret]:
        name, text = _chosen(self.environ, "HEADERS")
        found = {}
        for key, value in self._pairs(name, text):
            if _TOKEN.fullmatch(key) and value.isascii():
                found[key.lower()] = Secret(value, name)
            else:
                self.warn(name, "A header is left out: its name or its value cannot be sent.", "Write ASCII, percent-encoded.")
        return found

    def timeout_s(self) -> float:
        name, text = _chosen(self.environ, "TIMEOUT")
        if not text:
            return DEFAULT_TIMEOUT_S
        number = _number(text)
        if number is None or number <= 0:
            self.warn(name, f"This is no time: it is {DEFAULT_TIMEOUT_S:.0f} seconds.", "Write a number of seconds, as 10.")
            return DEFAULT_TIMEOUT_S
        return min(number if number < _MILLISECONDS_FROM else number / 1000, MAX_TIMEOUT_S)

    def compression(self) -> str:
        name, text = _chosen(self.environ, "COMPRESSION")
        if text.lower() in {"", *_COMPRESSIONS}:
            return text.lower() or "none"
        self.warn(name, "There is no such compression: spans are not compressed.", f"Write one of {', '.join(_COMPRESSIONS)}.")
        return "none"

    def resource(self) -> Mapping[str, str]:
        found = dict(self._pairs("OTEL_RESOURCE_ATTRIBUTES", self.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
        service = self.environ.get("OTEL_SERVICE_NAME", "").strip() or found.get("service.name") or SERVICE
        return {**found, "service.name": service}

    def sampler(self) -> Sampler:
        name = self.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
        found = _SAMPLERS.get(name or "parentbased_always_on")
        if found is None:
            hint = f"Write one of {', '.join(_SAMPLERS)}."
            self.warn("OTEL_TRACES_SAMPLER", "There is no such sampler here: it is parentbased_always_on.", hint)
            return Sampler()
        text = self.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
        if not name.endswith("traceidratio") or not text:
            return found
        ratio = _number(text)
        if ratio is None or not 0 <= ratio <= 1:
            self.warn("OTEL_TRACES_SAMPLER_ARG", "This is no ratio: it is 1, all traces.", "Write a number from 0 to 1, as 0.1.")
            return found
        return Sampler(ratio, by_parent=found.by_parent)

    def _pairs(self, name: str, text: str) -> Iterator[tuple[str, str]]:
        """Yield the members of a list such as `key=value,other=value`, percent-encoded (W3C Baggage)."""
        for member in filter(None, map(str.strip, text.split(","))):
            key, equals, value = member.partition("=")
            key, value = unquote(key).strip(), unquote(value).strip()
            if not equals or not key or not (key.isascii() and key.isprintable() and value.isprintable()):
                self.warn(name, "A member of this list is left out: it is not key=value.", "Write key=value,other=value.")
            else:
                yield key, value


def _names(what: str) -> tuple[str, str]:
    """Return the variable for traces alone, and the general one."""
    return f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"


def _chosen(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """Return the variable that is set, and its value; the value is empty where neither is."""
    found = next((name for name in _names(what) if environ.get(name, "").strip()), _names(what)[1])
    return found, environ.get(found, "").strip()


def _collector(url: str) -> str | None:
    """Return the host and the port of a URL as messages show them, None where it is no URL of HTTP."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        return None
    if "@" in f"{parts.path}{parts.fragment}":  # A password with a / or #: its beginning would pass for the port, and be shown.
        return None
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _file(environ: Mapping[str, str], what: str, cwd: Path) -> str | None:
    _, named = _chosen(environ, what)
    return str(cwd / named) if named else None


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # what it is a part of is missing
        return False
