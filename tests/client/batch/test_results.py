"""What a file of results holds: each line's response, byte by byte, and what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.batch.results import read_results

BODY = '{"pages": [{"index": 0, "markdown": "Grüße\\u00e9 😀 }\\" ,{"}],\t"model":"m", "usage_info": {"pages_processed": 1.0}}'


def written(folder: Path, *lines: str | bytes) -> Path:
    """Return a file of these lines."""
    path = folder / "results.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def line(custom_id: object, body: str, status: object = 200, error: str = "null") -> str:
    """Return a result as a provider writes it."""
    response = f'{{"status_code": {json.dumps(status)}, "body": {body}}}'
    return f'{{"id":"b-1", "custom_id" : {json.dumps(custom_id)},"response":{response} , "error":{error} }}'


def test_a_response_has_the_bytes_that_it_came_with(tmp_path: Path) -> None:
    """Blanks, escapes, characters beyond ASCII and numbers are as the provider wrote them, on every line of a file."""
    found = read_results(written(tmp_path, line("über", BODY), "", line("b", BODY.replace(" ", ""))))
    assert ["über", "b"] == list(found)
    for name, expected in (("über", BODY), ("b", BODY.replace(" ", ""))):
        into = tmp_path / f"{name}.json"
        found[name].store(into)
        assert (True, expected.encode(), expected.encode()) == (found[name].is_success, into.read_bytes(), found[name].body())
    assert ["b.json", "results.jsonl", "über.json"] == sorted(each.name for each in tmp_path.iterdir())


def test_a_response_within_a_string_is_taken_out_of_it(tmp_path: Path) -> None:
    """Mistral sends the bodies of errors as JSON within a string; a response that comes so is stored as JSON."""
    found = read_results(written(tmp_path, line("a", json.dumps(BODY))))
    found["a"].store(tmp_path / "a.json")
    assert (BODY.encode(), BODY.encode()) == (found["a"].body(), (tmp_path / "a.json").read_bytes())


def test_a_failed_line_says_why(tmp_path: Path) -> None:
    """By its status and body, or by its own error."""
    failed, broken = line("a", '"{\\"message\\": \\"no\\"}"', 422), line("b", "null", 200, '{"message": "late"}')
    found = read_results(written(tmp_path, failed, broken, '{"custom_id": "c", "response": null, "error": {"code": 1}}'))
    assert [("a", 422, False, b'{"message": "no"}', b""), ("b", 200, False, b"null", b'{"message": "late"}')] == [
        (name, each.status, each.is_success, each.body(), each.error) for name, each in list(found.items())[:2]
    ]
    assert (0, False, b"", b'{"code": 1}') == (found["c"].status, found["c"].is_success, found["c"].body(), found["c"].error)


@pytest.mark.parametrize(
    "odd",
    [
        "", "null", "[]", "{", "{}", '{"custom_id": "a"', line("a", BODY)[:-9], line(None, BODY), line(7, BODY), b"\xff\xfe{}",
        line("a", BODY).replace("status_code", "status"), "[" * 100_000, '{"custom_id": ' + "[" * 100_000, "x" * 10,
        '{"custom_id" "a"}', '{"custom_id": "a", "error": nonsense}',
    ],
)  # fmt: skip
def test_what_is_no_result_is_left_out(tmp_path: Path, odd: str | bytes) -> None:
    """The other lines count, before it and behind it."""
    assert ["first", "last"] == list(read_results(written(tmp_path, line("first", BODY), odd, line("last", BODY))))


@pytest.mark.parametrize("more", ["", "\n", "\r\n"])
def test_the_last_line_needs_no_end(tmp_path: Path, more: str) -> None:
    """As JSON lines are written by some."""
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line('a', BODY)}\r\n{line('b', BODY)}{more}", newline="")
    assert {"a": BODY.encode(), "b": BODY.encode()} == {name: each.body() for name, each in read_results(path).items()}


def test_a_file_without_results_is_none(tmp_path: Path) -> None:
    """As of a job without requests."""
    assert {} == read_results(written(tmp_path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.dictionaries(st.text(max_size=3), JSON, max_size=3)),
        max_size=4,
        unique_by=lambda one: one[0],
    ),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r ")]),
)
@pytest.mark.slow
def test_any_json_comes_out_as_it_came(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[tuple[str, object]], ascii_only: bool, separators: tuple[str, str]
) -> None:
    """Whatever a response holds, and however it is spelt."""

    def spelt(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "surrogatepass")

    lines = [
        spelt({"id": 1, "error": None, "custom_id": name, "response": {"body": body, "status_code": 200}})
        for name, body in bodies
    ]
    found = read_results(written(tmp_path_factory.mktemp("any"), *lines))
    assert {name: (200, spelt(body)) for name, body in bodies} == {name: (one.status, one.body()) for name, one in found.items()}


@given(st.lists(st.binary() | st.text(alphabet='{}[]:," \\\nabc').map(str.encode)))
@pytest.mark.slow
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """What is no result is none, and nothing is raised."""
    whole = line("last", BODY).encode()
    assert BODY.encode() == read_results(written(tmp_path_factory.mktemp("any"), *lines, whole))["last"].body()
