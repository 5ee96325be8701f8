"""OpenTelemetry's variables: what turns tracing on, where spans go, and what is said of a wrong value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from passthrough.tracing.settings import Sampler, TracingSettings, tracing_settings

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
CWD = Path("/srv")


def read(environ: Mapping[str, str]) -> tuple[TracingSettings | None, list[tuple[str, str]]]:
    """Return the settings, and the variables that are warned of with what is said."""
    said: list[tuple[str, str]] = []

    def warn(name: str, what: str, hint: str) -> None:
        assert not [value for value in environ.values() if len(value) > 5 and value in what + hint]
        assert hint.endswith((".", "'"))
        said.append((name, what))

    return tracing_settings(environ, CWD, warn), said


@pytest.mark.parametrize(
    ("more", "url", "collector"),
    [
        ({}, "http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces", "c:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:key@c/otlp"}, "https://user:key@c/otlp/v1/traces", "c"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1]:9/own"}, "http://[::1]:9/own", "[::1]:9"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""}, "http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, "http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318"),
    ],
)
def test_an_endpoint_turns_tracing_on(more: Mapping[str, str], url: str, collector: str) -> None:
    """The general endpoint gets the path of traces, one for traces is taken as it is; a message has neither user nor path."""
    found, said = read(ON | more)
    assert found is not None
    assert (url, collector, []) == (found.endpoint.reveal(), found.collector, said)
    assert "user" not in repr(found)


@pytest.mark.parametrize(
    ("environ", "warned"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({"OTEL_SERVICE_NAME": "ocr", "OTEL_TRACES_SAMPLER": "no such"}, []),
        (ON | {"OTEL_SDK_DISABLED": "True"}, []),
        (ON | {"OTEL_TRACES_EXPORTER": "none"}, []),
        (ON | {"OTEL_TRACES_EXPORTER": "zipkin"}, ["OTEL_TRACES_EXPORTER"]),
        (ON | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["OTEL_EXPORTER_OTLP_PROTOCOL"]),
        (ON | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:99999"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/a b"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:12/password@c"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://collector"}, ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]),
    ],
)
def test_what_leaves_tracing_off(environ: Mapping[str, str], warned: list[str]) -> None:
    """Without an endpoint nothing is said; where there is one, and a mistake beside it, that is said."""
    found, said = read(environ)
    assert (None, warned) == (found, [name for name, _ in said])
    assert [] == [what for _, what in said if "no spans are exported" not in what]


@pytest.mark.parametrize(
    ("environ", "field", "value", "warned"),
    [
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "2.5"}, "timeout_s", 2.5, 0),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "3", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "4"}, "timeout_s", 4.0, 0),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}, "timeout_s", 10.0, 0),  # milliseconds, as the specification says
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "999"}, "timeout_s", 60.0, 0),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "timeout_s", 10.0, 1),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "timeout_s", 10.0, 1),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"}, "timeout_s", 10.0, 1),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP"}, "compression", "gzip", 0),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "compression", "none", 1),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem"}, "certificate", "/srv/ca.pem", 0),
        ({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/etc/key.pem"}, "client_key", "/etc/key.pem", 0),
        ({}, "resource", {"service.name": "passthrough"}, 0),
        ({"OTEL_SERVICE_NAME": "ocr"}, "resource", {"service.name": "ocr"}, 0),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, "resource", {"service.name": "a"}, 0),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a, x=b%20c ,, y=d=e", "OTEL_SERVICE_NAME": "ocr"},
            "resource",
            {"service.name": "ocr", "x": "b c", "y": "d=e"},
            0,
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "lonely,x=1"}, "resource", {"service.name": "passthrough", "x": "1"}, 1),
        ({}, "sampler", Sampler(1.0, by_parent=True), 0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampler", Sampler(0.0, by_parent=False), 0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "sampler", Sampler(0.0, by_parent=True), 0),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            "sampler",
            Sampler(0.25, by_parent=False),
            0,
        ),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, "sampler", Sampler(1.0, by_parent=True), 0),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"},
            "sampler",
            Sampler(1.0, by_parent=True),
            1,
        ),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "x"}, "sampler", Sampler(1.0, by_parent=False), 0),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "sampler", Sampler(1.0, by_parent=True), 1),
    ],
)
def test_values_and_what_holds_where_they_are_wrong(environ: Mapping[str, str], field: str, value: Any, warned: int) -> None:
    """Where a value is wrong the default holds, and the variable is named."""
    found, said = read(ON | environ)
    assert (value, warned) == (getattr(found, field), len(said))
    assert [] == [name for name, _ in said if name not in environ]


def test_headers_are_secrets() -> None:
    """They are percent-encoded; what cannot be sent is left out, and no value is shown."""
    found, said = read(ON | {"OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%2Cb-secret, bad name=1, x=\u00fc, y=z%0Az, lonely-secret"})
    assert found is not None
    assert {"api-key": "a,b-secret"} == {name: value.reveal() for name, value in found.headers.items()}
    assert "secret" not in repr(found)
    assert ["OTEL_EXPORTER_OTLP_HEADERS"] * 4 == [name for name, _ in said]
