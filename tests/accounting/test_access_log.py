"""The log's lines: their fields, their exactness, and a stream that is slow, blocked or gone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.access_log import AccessLog, json_line
from passthrough.accounting.entry import Charge, believable, entry, printable
from passthrough.accounting.text_log import text_line
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.entries import booked, exchange

FIELDS = """
time id route client label target sandbox method path labels status outcome error attempts
deployment model_group why model priced_as
pages pages_annotated doc_bytes tokens_in tokens_out tokens_cached cost_usd cost_source unmetered estimated_pages estimated_usd
upstream_request_id upstream_code bytes_up bytes_down first_byte_s total_s
"""


def test_a_json_line_has_every_field_in_order() -> None:
    """An exchange of which nothing is known still has all keys, and one that is known has its values, exactly."""
    bare = json.loads(json_line(entry(exchange(None, at=0.0), Usage())))
    assert list(bare) == FIELDS.split()
    made = exchange("invoices", at=1_795_176_184.1239)
    made.first_byte_s, made.total_s, made.bytes_up, made.bytes_down = 0.25, 1.23456789, 10, 20
    charge = Charge("m", 24, 0, cost_nano=48_000_000, cost_source="prices.yaml")
    made.deployment, made.model_group, made.why = "azure-1", "mistral-ocr", "vertex\n: 503"
    made.labels = (("team", "Größe"), ("user", 'a"b'))
    usage = Usage(24, 0, "m", 5, tokens_in=9, tokens_cached=7)
    line = json_line(entry(made, usage, (charge,), priced_as="mistral-ocr-4-1"))
    assert '"labels": {"team": "Größe", "user": "a\\"b"}, "status"' in line
    assert '"cost_usd": 0.048, "cost_source": "prices.yaml", "unmetered": null' in line
    expected = {
        "time": "2026-11-20T12:03:04.123Z",
        "id": made.id,
        "route": "/mistral",
        "client": "invoices",
        "label": None,
        "target": "api.mistral.ai",
        "sandbox": False,
        "method": "POST",
        "path": "/mistral/v1/ocr",
        "labels": {"team": "Größe", "user": 'a"b'},
        "status": 200,
        "outcome": "completed",
        "error": None,
        "attempts": 1,
        "deployment": "azure-1",
        "model_group": "mistral-ocr",
        "why": "vertex\\n: 503",
        "model": "m",
        "priced_as": "mistral-ocr-4-1",
        "pages": 24,
        "pages_annotated": 0,
        "doc_bytes": 5,
        "tokens_in": 9,
        "tokens_out": None,
        "tokens_cached": 7,
        "cost_usd": Decimal("0.048"),
        "cost_source": "prices.yaml",
        "unmetered": None,
        "estimated_pages": None,
        "estimated_usd": None,
        "upstream_request_id": None,
        "upstream_code": None,
        "bytes_up": 10,
        "bytes_down": 20,
        "first_byte_s": 0.25,
        "total_s": 1.234568,
    }
    assert expected == json.loads(line, parse_float=lambda text: Decimal(text) if text == "0.048" else float(text))


@given(
    st.floats(0)
    | st.integers(0, 10**12).map(lambda number: number / 10**6)
    | st.integers(0, 10**9).map(lambda number: number / 10**7)
)
def test_a_span_is_shown_in_microseconds(span_s: float) -> None:
    """It is the nearest number with six decimals, as short as Python writes it."""
    made = replace(booked(), first_byte_s=span_s, total_s=span_s)
    assert f'"first_byte_s": {round(span_s, 6)}, "total_s": {round(span_s, 6)}}}' in json_line(made)


@given(st.text(), st.text())
def test_no_text_forges_a_line(label: str, path: str) -> None:
    """Whatever a label and a path hold, each format is one printable line in UTF-8, and the JSON one parses."""
    made = exchange(at=0.0)
    made.label, made.path = label, path
    for line in (json_line(entry(made, Usage())), text_line(entry(made, Usage()))):
        assert line.isprintable()
        line.encode("utf-8")
    assert printable(label) == json.loads(json_line(entry(made, Usage())))["label"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("Müller", "Müller"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("\udce9\u202e", "\\udce9\\u202e"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
)
def test_texts_are_printable_and_bounded(text: str | None, shown: str | None) -> None:
    """Control characters, direction marks and lone surrogates become escapes; a long text is cut off."""
    assert shown == printable(text)


@pytest.mark.parametrize("usage", [Usage(-1, model="m"), Usage(1, 10**13, "m"), Usage(1, doc_bytes=10**400, model="m")])
def test_a_counter_that_cannot_be_one_is_no_usage(usage: Usage) -> None:
    """A negative or absurdly large counter is not booked."""
    expected = Usage(model="m", unmetered=Unmetered.NO_USAGE)
    assert expected == believable(usage)


@pytest.mark.parametrize(("format", "render"), [("json", json_line), ("text", text_line)])
def test_lines_reach_a_file_in_order(tmp_path: Path, format: str, render: object) -> None:
    """Everything that was put is in the file, a line each, when the log is closed; later lines are counted as dropped."""
    assert callable(render)
    made = [booked(f"client {number}") for number in range(3000)]
    with (tmp_path / "log").open("w+", encoding="utf-8") as file:
        lines = AccessLog(file, "text" if format == "text" else "json")
        for one in made:
            lines.put(one)
        lines.close(30)
        lines.put(made[0])
        expected = [render(one) for one in made]
        assert expected == (tmp_path / "log").read_text("utf-8").splitlines()
        assert lines.dropped == 1


def test_lines_reach_a_stream_in_memory() -> None:
    """A stream without a descriptor is written to as it is; one that was closed drops and counts."""
    stream = io.StringIO()
    made = booked()
    lines = AccessLog(stream)
    lines.put(made)
    lines.close(30)
    assert stream.getvalue() == json_line(made) + "\n"
    stream.close()
    lines = AccessLog(stream)
    lines.put(made)
    lines.close(30)
    assert lines.dropped == 1


def test_a_reader_that_left_is_counted() -> None:
    """On a broken pipe nothing is raised, and every line is counted."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        lines = AccessLog(stream)
        for _ in range(1000):
            lines.put(booked())
        lines.close(30)
    assert lines.dropped == 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_counted() -> None:
    """A stream that has no space left drops and counts."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        lines = AccessLog(stream)
        lines.put(booked())
        lines.close(30)
    assert lines.dropped == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_does_not_read_stops_nobody(blocking: bool) -> None:
    """With a blocked pipe put() returns, close() ends, and what was read plus what was dropped is all that was put."""
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(writing, "w") as stream:
        lines = AccessLog(stream)
        for _ in range(15_000):
            lines.put(booked())
        lines.close(0.1)
    with os.fdopen(reading, "rb") as pipe:
        read = pipe.read().splitlines()
    assert 0 < len(read) < 15_000
    assert all(json.loads(line)["pages"] == 1 for line in read)
    assert 15_000 == len(read) + lines.dropped


def test_a_reader_that_comes_late_gets_the_rest() -> None:
    """Lines that waited for a blocked reader are written when it reads, whole also where they are longer than a pipe takes."""
    reading, writing = os.pipe()
    made = [replace(booked(), path="/" + "p" * 1990, label="l" * 2000, client="c" * 2000) for _ in range(100)]
    read: list[bytes] = []
    with os.fdopen(writing, "w") as stream:
        lines = AccessLog(stream)
        for one in made:
            lines.put(one)
        with os.fdopen(reading, "rb") as pipe:
            reader = threading.Thread(target=lambda: read.extend(pipe))
            reader.start()
            lines.close(30)
            stream.close()
            reader.join()
    assert [json_line(one).encode() + b"\n" for one in made] == read
    assert lines.dropped == 0


@pytest.mark.process
def test_a_line_torn_by_a_full_disk_is_ended_before_the_next(tmp_path: Path) -> None:
    """Where a write stopped in the middle of a line, the next line begins on a line of its own."""
    program = (
        "import os, resource, signal, sys; sys.path[:0] = sys.argv[2:]\n"
        "from tests.harness.entries import booked\nfrom passthrough.background.stream_writer import StreamWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = open(sys.argv[1], 'w'); sink = StreamWriter(file)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "lost = sink.write([b'first\\n']), sink.write([b'second\\n']), sink.write([b'third\\n'])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print(*lost, sink.write([b'fourth\\n']))\n"
    )
    root = Path(__file__).parents[2]
    log = tmp_path / "log"
    command = [sys.executable, "-c", program, str(log), str(root)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0", "1", "1", "0"]
    assert log.read_text() == "first\nseco\nfourth\n"


@pytest.mark.process
def test_lines_before_the_end_of_a_full_disk_are_not_counted(tmp_path: Path) -> None:
    """Of lines that are written together only those are counted as dropped that are not in the file whole."""
    program = (
        "import resource, signal, sys; sys.path[:0] = sys.argv[2:]\n"
        "from passthrough.background.stream_writer import StreamWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = open(sys.argv[1], 'w'); sink = StreamWriter(file)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "lost = sink.write([b'%06d\\n' % number for number in range(20_000)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print(lost, sink.write([b'behind\\n']))\n"
    )
    root = Path(__file__).parents[2]
    log = tmp_path / "log"
    command = [sys.executable, "-c", program, str(log), str(root)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    whole, rest = divmod(100_000, 7)
    assert [str(20_000 - whole), "0"] == said.split()
    lines = [b"%06d\n" % number for number in range(whole + 1)]
    assert b"".join(lines)[:100_000] + b"\nbehind\n" == log.read_bytes()
    assert rest > 0


@pytest.mark.process
def test_the_program_ends_while_its_stdout_is_blocked() -> None:
    """A process whose reader does not read ends by itself: nothing waits for the stream at exit."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.harness.entries import booked\nfrom passthrough.accounting.access_log import AccessLog\n"
        "lines = AccessLog(sys.stdout)\n"
        "for _ in range(5000): lines.put(booked())\n"
        "lines.close(0.1); print(lines.dropped > 0, file=sys.stderr)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.wait(60) == 0
        assert child.stderr is not None
        assert child.stderr.read() == "True\n"
