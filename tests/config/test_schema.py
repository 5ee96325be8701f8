"""The JSON Schema that editors use, and the properties that hold for any file whatever."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passthrough.cli import check
from passthrough.config import environment, load
from passthrough.config.schema import schema as made
from passthrough.errors import ConfigError, Problem
from tests.harness.configs import KEYS, ROUTE, problems, written

TOP = Path(__file__).parents[2]


def test_the_shipped_schema_is_current() -> None:
    """routes.schema.json is what `passthrough schema` prints."""
    assert made() == json.loads((TOP / "routes.schema.json").read_text("utf-8"))


def test_every_key_is_described() -> None:
    """An editor can say of every key what it means, and knows of no others."""
    schema = made()
    for part in (schema, *schema["$defs"].values()):
        assert [] == [key for key, value in part["properties"].items() if not value.get("description")]
    assert False is schema["$defs"]["Endpoint"]["additionalProperties"]


def test_what_the_schema_says_of_words_and_retries() -> None:
    """Editors accept the levels of the log that there are, and retries as a number or as a mapping."""
    schema = made()
    assert ["debug", "info", "warning", "error"] == schema["properties"]["log_level"]["anyOf"][0]["enum"]
    short, whole = schema["$defs"]["Endpoint"]["properties"]["retries"]["anyOf"]
    assert ({"type": "integer", "minimum": 0, "maximum": 10}, {"$ref": "#/$defs/RetriesPart"}) == (short["anyOf"][0], whole)


def _tried(call: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        call()
    except ConfigError as error:
        return error.problems
    return ()


def _load(raw: bytes, name: str = "routes.yaml") -> None:
    """Load a file in every way there is; what is wrong with it fits on any terminal."""
    with TemporaryDirectory() as folder:
        cwd = Path(folder)
        file = written(cwd, ROUTE)
        written(cwd, raw, name)
        found = _tried(lambda: load.load_ledger_url(file, KEYS, cwd=cwd))
        found += _tried(lambda: load.load_prices(file, KEYS, cwd=cwd))
        for sandbox in (False, True):
            found += _tried(partial(lambda sandbox: check.rows(load.load(file, KEYS, cwd=cwd, sandbox=sandbox)), sandbox))
        environment.snapshot(file, cwd)
    assert [] == [problem for problem in found if not (problem.what + problem.hint + problem.key).isprintable()]
    assert [] == [problem for problem in found if not problem.hint]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'a: "\\ud800"')
@example(b"&a : *a")
@example(b"%YAML 9.9\n---\na: b")
@example(b"%TAG ! x:\n---\n!a b: c")
@example(b"<<: <<")
@example(b"!!set {a, b}")
@example(b"ca_file: \xff\x00")
@settings(max_examples=150, deadline=None)
def test_bytes_load_or_are_a_config_error(raw: bytes) -> None:
    """Whatever the file holds, nothing but ConfigError comes out."""
    _load(raw)


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=100, deadline=None)
def test_any_env_file_is_read_or_is_a_config_error(raw: bytes) -> None:
    """Whatever `.env` holds, nothing but ConfigError comes out."""
    _load(raw, ".env")


def _names(schema: dict[str, Any]) -> list[str]:
    parts = [schema, *schema["$defs"].values()]
    return sorted({key for part in parts for key in part["properties"]})


SCALARS = st.sampled_from(
    ["", None, True, 0, -1, 1.5, 10**30, "none", "1GB", "10s", "/a", "http://h/p?q", "https://[::1]:1", "os.environ/NO", "x-a",
     "os.environ/MISTRAL_API_KEY", "sha256:", "sqlite:///a", "2026-01-01", "\0", "\ud800", "ä", "GET", "month", "ocr", "a" * 99,
     "json", "a.b[]", "80%", "Europe/Berlin", "06:00", "postgresql://u:p@h/n"]
) | st.text(max_size=5)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_names(made())) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
ENDPOINT = st.fixed_dictionaries(
    {"path": st.just("/a") | VALUES, "target": st.just("http://h") | VALUES},
    optional={key: VALUES for key in made()["$defs"]["Endpoint"]["properties"] if key not in {"path", "target"}},
)
CLIENT = st.fixed_dictionaries(
    {"name": st.just("n") | VALUES, "key": st.just("k" * 16) | VALUES},
    optional={key: VALUES for key in made()["$defs"]["ClientKeyPart"]["properties"] if key not in {"name", "key"}},
)
FILE = st.fixed_dictionaries(
    {"pass_through_endpoints": st.lists(ENDPOINT, max_size=3) | VALUES},
    optional={
        "client_keys": st.lists(CLIENT, max_size=3) | VALUES,
        **{key: VALUES for key in made()["properties"] if key not in {"pass_through_endpoints", "client_keys"}},
    },
)


@pytest.mark.slow
@given(FILE)
@settings(max_examples=200, deadline=None)
def test_structures_load_or_are_a_config_error(tree: object) -> None:
    """Whatever stands under our keys, nothing but ConfigError comes out."""
    _load(json.dumps(tree).encode())


@given(st.text(alphabet="0123456789.eE+-_ snmhdKMGTiBb", max_size=12))
@settings(max_examples=150, deadline=None)
def test_numbers_load_or_are_a_config_error(text: str) -> None:
    """A size, duration or price that is odd is a problem, not an exception."""
    fields = ("max_body", "timeout", "cost_per_request")
    _load(json.dumps({"pass_through_endpoints": [{"path": "/a", "target": "http://h", f: text} for f in fields]}).encode())


@pytest.mark.slow
def test_a_file_of_ten_thousand_routes(tmp_path: Path) -> None:
    """Many routes and keys load; a conflict among them is found."""
    count = 10_000
    routes = "".join(f"- {{path: /r{i}, target: 'http://h{i}.example'}}\n" for i in range(count))
    keys = "".join(f"- {{name: c{i}, key: key-{i}-0123456789, routes: [/r{i}]}}\n" for i in range(count))
    text = f"pass_through_endpoints:\n{routes}- {{path: /r77, target: 'http://h'}}\nclient_keys:\n{keys}"
    assert [count + 2] == [problem.line for problem in problems(tmp_path, text)]
