"""The access log's lines for people: what they say, and how a terminal shows them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.entry import Entry
from passthrough.accounting.text_log import text_line
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.entries import booked
from tests.harness.terminal import terminal


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            booked(at=1_795_176_184.123, pages=3),
            "12:03:04.123Z  POST /mistral/v1/ocr → 200  3 pages  mistral-ocr-2512  $0.002  0ms ↑0B ↓0B  "
            "api.mistral.ai  client=invoices",
        ),
        (
            replace(
                booked("chat", at=0.0, model="m"),
                usage=Usage(model="m", tokens_in=90, tokens_out=5, tokens_cached=80),
                label="x",
                labels='{"team": "a", "user": "Gr\\u00f6\\u00dfe"}',
            ),
            "00:00:00.000Z  POST /mistral/v1/ocr → 200  90+5 tokens (80 cached)  m  $0.002  0ms ↑0B ↓0B  "
            "api.mistral.ai  client=chat  label=x  label.team=a  label.user=Größe",
        ),
        (
            replace(booked(None, at=0.0, model="m"), deployment="a-1", model_group="ocr", why="b-1: 503", attempts=2),
            "00:00:00.000Z  POST /mistral/v1/ocr → 200  1 page  m  $0.002  0ms ↑0B ↓0B  "
            "api.mistral.ai  deployment=a-1  model_group=ocr  attempts=2 why=b-1: 503",
        ),
        (
            replace(booked(None, at=0.0), status=404, charges=(), usage=Usage(), upstream_code="DeploymentNotFound"),
            "00:00:00.000Z  POST /mistral/v1/ocr → 404  DeploymentNotFound  0ms ↑0B ↓0B  api.mistral.ai",
        ),
        (
            booked(None, at=0.0, cost_nano=None, model=None, sandbox=True),
            "00:00:00.000Z  POST /mistral/v1/ocr → 200  1 page  unpriced  0ms ↑0B ↓0B  sandbox",
        ),
        (
            replace(
                booked(None, at=0.0),
                status=None,
                outcome="client_gone",
                error="upstream_broke",
                unmetered="broken",
                usage=Usage(unmetered=Unmetered.BROKEN),
                estimated_pages=12,
                estimated_nano=48_000_000,
                charges=(),
                total_s=61.26,
                bytes_up=1_234_567,
                bytes_down=2_000_000_000,
                label="a@b.c",
            ),
            "00:00:00.000Z  POST /mistral/v1/ocr → -  client_gone upstream_broke  unmetered: broken  "
            "estimated: 12 pages, $0.048  61.3s ↑1.2MB ↓2.0GB  "
            "api.mistral.ai  label=a@b.c",
        ),
        (
            replace(booked(None, at=0.0, model=None), usage=Usage(1, 2, tokens_in=3, tokens_out=4), bytes_up=1500, target=None),
            "00:00:00.000Z  POST /mistral/v1/ocr → 200  3 pages (2 annotated)  3+4 tokens  $0.002  0ms ↑1.5kB ↓0B",
        ),
    ],
)
def test_a_text_line_reads_well(made: Entry, text: str) -> None:
    """The line for a terminal says when, what, how it ended, what it cost, how long it took, and for whom."""
    assert text == text_line(made)


LONG = replace(
    booked("open-webui-of-the-accounting-department", at=1_795_176_184.123, pages=3),
    path=f"/mistral/v1/files/{'0123456789' * 20}/content",
    status=502,
    error="upstream_unreachable",
    why="refused",
    label="anna@example.com",
    deployment="azure-1",
)


@pytest.mark.parametrize("width", [80, 50, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    """Nothing is lost, no line is wider than the terminal, and what follows the first line is indented."""
    with terminal(width, TERM="xterm", NO_COLOR="1") as (stream, shown):
        log = AccessLog(stream, "text")
        log.put(LONG)
        log.close()
    lines = shown().splitlines()
    assert len(lines) > 2
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith(" " * 15) for line in lines[1:])
    assert lines[0].startswith("12:03:04.123Z  POST ")
    assert re.sub(r"\s", "", text_line(LONG)) == re.sub(r"\s", "", shown())


@pytest.mark.parametrize(
    ("status", "outcome", "colour"),
    [
        (200, "completed", 32),
        (200, "cut_off", 33),
        (404, "completed", 33),
        (502, "upstream_failed", 31),
        (None, "client_gone", 31),
    ],
)
def test_the_status_has_a_colour(status: int | None, outcome: str, colour: int) -> None:
    """Green for what went well, yellow for the client's errors, red for the others; NO_COLOR and TERM=dumb mean none."""
    made = replace(booked(), status=status, outcome=outcome)
    seen = []
    for environ in ({"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        with terminal(80, **environ) as (stream, shown):
            log = AccessLog(stream, "text")
            log.put(made)
            log.close()
        seen.append(shown())
    assert f"\x1b[{colour}mPOST /mistral/v1/ocr → {status or '-'}\x1b[0m" in seen[0]
    assert "\x1b[36m$0.002\x1b[0m" in seen[0]
    assert "\x1b" not in seen[1] + seen[2]
    assert re.sub(r"\x1b\[\d+m", "", seen[0]) == seen[1] == seen[2]
