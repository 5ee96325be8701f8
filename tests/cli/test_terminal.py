"""Tables on a terminal: what is folded, where, and what is done when folding does not help."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from passthrough.accounting.reports.table import Column, Table, bar
from passthrough.background.terminal import wrapped
from passthrough.cli.terminal import fold, show


def shown(*blocks: Table | str, width: int | None = 80) -> str:
    """Return what a terminal of that width shows; None: a file."""
    file = io.StringIO()
    show(*blocks, file=file, width=width)
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("", 5, [""]),
        ("/mistral/v1/ocr", 15, ["/mistral/v1/ocr"]),
        ("/mistral/v1/ocr", 12, ["/mistral/v1/", "ocr"]),
        ("/mistral/*", 9, ["/mistral/", "*"]),
        ("/mistral/*", 10, ["/mistral/*"]),
        ("azure/mistral-document-ai-2512", 20, ["azure/mistral-", "document-ai-2512"]),
        ("mistral-ocr-4-0", 10, ["mistral-", "ocr-4-0"]),
        ("Authorization: MISTRAL_API_KEY", 20, ["Authorization:", "MISTRAL_API_KEY"]),
        ("someone@example.org", 12, ["someone@", "example.org"]),
        ("2026-11-20", 10, ["2026-11-20"]),
        ("127.0.0.1:4010", 10, ["127.0.0.1:", "4010"]),
        ("a  b", 2, ["a", "b"]),
        ("文書文書", 4, ["文書", "文書"]),
    ],
)
def test_texts_are_folded_at_their_seams(text: str, width: int, expected: list[str]) -> None:
    """Lines end behind a space, or inside of a path, an address or a name, and in a word only where it is longer than a line."""
    assert expected == fold(text, width)


@given(st.text(st.characters(exclude_categories=("C", "Z", "M"))), st.integers(2, 40))
def test_folding_loses_nothing(text: str, width: int) -> None:
    """The lines together are the text, and none is too wide."""
    assert text == "".join(fold(text, width))
    assert width >= max(map(cell_len, fold(text, width)))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, ""),
        (0.001, ""),
        (0.011, "▏"),
        (0.25, "███"),
        (0.26, "███▏"),
        (0.5, "██████"),
        (0.99, "███████████▉"),
        (1, "█" * 12),
        (2, "█" * 12),
    ],
)
def test_a_bar_is_as_long_as_its_share(share: float, expected: str) -> None:
    """Bars grow by eighths of a cell."""
    assert expected == bar(share)


TABLE = Table(
    "Routes",
    (
        Column("path", ("/mistral/*", "/azure/v1/ocr"), foot="total"),
        Column("methods", ("", "")),
        Column("target", ("api.mistral.ai", "my-resource.services.ai.azure.com")),
        Column("pages", ("1", "22"), foot="23", whole=True, right=True),
    ),
    note="a note",
)


def test_a_table_is_as_wide_as_it_is() -> None:
    """On wide lines, and in a file, nothing is folded; an empty column is left out; an empty line parts blocks."""
    expected = """\
Routes

path           target                             pages
───────────────────────────────────────────────────────
/mistral/*     api.mistral.ai                         1
/azure/v1/ocr  my-resource.services.ai.azure.com     22
───────────────────────────────────────────────────────
total                                                23
a note

That was all.
"""
    found = shown(TABLE, "That was all.")
    assert expected == "".join(f"{line.rstrip()}\n" for line in found.splitlines())
    assert found == shown(TABLE, "That was all.", width=None)
    assert f"{'long ' * 100}\n" == shown("long " * 100, width=None)


def test_a_narrow_table_is_folded() -> None:
    """The widest column is folded first; figures and the others stay as they are."""
    expected = """\
Routes

path           target                 pages
───────────────────────────────────────────
/mistral/*     api.mistral.ai             1
/azure/v1/ocr  my-resource.services.     22
               ai.azure.com
───────────────────────────────────────────
total                                    23
a note
"""
    assert expected == "".join(f"{line.rstrip()}\n" for line in shown(TABLE, width=44).splitlines())


def test_heads_of_figures_are_folded_before_names() -> None:
    """A head of two words takes one line more; the rows stay as they are, and figures are never folded."""
    columns = (
        Column("model", ("mistral-ocr-2512", "-"), "total"),
        Column("tokens in", ("12345", "1"), "12346", whole=True, right=True),
        Column("tokens out", ("1", "2"), "3", whole=True, right=True),
    )
    expected = """\
Usage

                  tokens  tokens
model                 in     out
────────────────────────────────
mistral-ocr-2512   12345       1
-                      1       2
────────────────────────────────
total              12346       3
"""
    assert expected == "\n".join(line.rstrip() for line in shown(Table("Usage", columns), width=32).splitlines()) + "\n"


def test_a_table_that_cannot_be_folded_is_written_row_by_row() -> None:
    """Where a row would be too high, or the table too wide, each row stands by itself, whole."""
    expected = """\
Routes

path /mistral/*
  target  api.mistral.ai
  pages   1
path /azure/v1/ocr
  target  my-resource.
          services.ai.
          azure.com
  pages   22
total
  pages   23
a note
"""
    assert expected == shown(TABLE, width=26)


def usage(*names: str) -> Table:
    """Return a table of figures in three parts, which is too wide for a terminal of 80 columns."""
    rows = len(names)
    figures = (
        Column("requests", tuple(str(row) for row in range(rows)), "1,234,567", whole=True, right=True, part=1),
        Column("tokens in", ("123,456,789,012", *["0"] * (rows - 1)), "123,456,789,012", whole=True, right=True, part=3),
        Column("tokens out", ("987,654,321,012", *["0"] * (rows - 1)), "987,654,321,012", whole=True, right=True, part=3),
        Column("unpriced", (*["0"] * (rows - 1), "7"), "7", whole=True, right=True, part=2),
        Column("USD", (*["1,234.50"] * (rows - 1), "0.0480"), "1,234,567.00", whole=True, right=True),
        Column("", ("████████████",) * rows, whole=True, ornament=True),
    )
    return Table("Usage", (Column("client", names, "total"), *figures), "a note")


def test_a_table_that_is_too_wide_stands_in_parts() -> None:
    """Each part has the names and the total; the second has no rows of zeros; bars are where there is space."""
    expected = """\
Usage

client     requests  unpriced             USD
───────────────────────────────────────────────────────────
invoices          0         0      1,234.50    ████████████
archive           1         0      1,234.50    ████████████
new-team          2         7          0.0480  ████████████
───────────────────────────────────────────────────────────
total     1,234,567         7  1,234,567.00

client          tokens in       tokens out
──────────────────────────────────────────
invoices  123,456,789,012  987,654,321,012
──────────────────────────────────────────
total     123,456,789,012  987,654,321,012
a note
"""
    found = shown(usage("invoices", "archive", "new-team"), width=60)
    assert expected == "".join(f"{line.rstrip()}\n" for line in found.splitlines())


def test_a_part_that_is_too_wide_is_broken() -> None:
    """Where the names leave no space for a whole part, its columns stand below each other; the money comes first."""
    found = shown(usage("a-name-that-has-no-end" * 3, "b"), width=40)
    heads = [line for line in found.splitlines() if line.startswith("client")]
    assert ["USD", "requests unpriced", "tokens in", "tokens out"] == [" ".join(head.split()[1:]) for head in heads]
    assert 4 == sum(line.startswith("total") for line in found.splitlines())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("1.5", "10", "2.25"), ("1.5 ", "10   ", "2.25")),
        (("83.15", "0.0480", "<0.0001", "-1,234.50"), ("83.15  ", "0.0480", "<0.0001", "-1,234.50  ")),
        (("1", "1,234"), ("1", "1,234")),
        (("1.25", "unpriced", "-", "", "× 0.5", "0.5%"), ("1.25", "unpriced", "-", "", "× 0.5", "0.5%")),
    ],
)
def test_points_stand_below_each_other(texts: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Figures have spaces behind them instead of the digits that others have; words and columns of names have none."""
    assert expected == Column("", texts, right=True).aligned().cells
    assert texts == Column("", texts).aligned().cells
    assert expected == tuple(text.replace("_", " ") for text in Column("", texts, right=True).aligned("_").cells)


NAMES = st.text("ab-/.19 文", max_size=60).map(str.strip)


@given(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 10**12).map(str)), min_size=1, max_size=5), st.integers(30, 120))
def test_nothing_is_cut_off(rows: list[tuple[str, str, str]], width: int) -> None:
    """Whatever the texts: no line is too wide, and every letter and figure is there."""
    keys, names, figures = (tuple(column) for column in zip(*rows, strict=True))
    columns = (Column("key", keys), Column("name", names), Column("figure", figures, whole=True, right=True))
    found = shown(Table("", columns), width=width)
    assert width >= max(map(cell_len, found.splitlines()))
    assert all(figure in found.split() for figure in figures)
    for letter in "b/-.文":
        assert "".join(keys + names).count(letter) == found.count(letter)


def test_a_sentence_is_broken_as_messages_are() -> None:
    """What a line goes on with is indented, no line ends in a blank, and an address stays whole, to be copied."""
    out = io.StringIO()
    address = "https://a-long-name.example/v1/models/of/everybody"
    show(f"/mistral/* (api.mistral.ai): accepts the key of {address} and so on", file=out, width=40)
    assert f"/mistral/* (api.mistral.ai): accepts the\n  key of\n  {address}\n  and so on\n" == out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "The sandbox needs PIL.\n  Run: /a/long/folder/.venv/bin/python -m pip install 'passthrough-ocr[sandbox]'",
            "The sandbox needs PIL.\n  Run:\n    /a/long/folder/.venv/bin/python -m pip install 'passthrough-ocr[sandbox]'",
        ),
        ("Check its name, or write it with 'passthrough init --config nope.yaml'.",
         "Check its name, or write it with\n  'passthrough init --config nope.yaml'."),
        ("It is 'a' or 'b', and passthrough's command's own", "It is 'a' or 'b', and passthrough's\n  command's own"),
    ],
)  # fmt: skip
def test_a_command_is_not_broken(text: str, shown: str) -> None:
    """It stands whole on a line, to be copied, even where that is longer than the terminal is wide."""
    assert shown == wrapped(text, 40)
