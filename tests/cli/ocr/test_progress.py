"""What `passthrough ocr` shows while it runs, and what it says at the end."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePath

import pytest

from passthrough.cli.ocr.progress import Reporter, cost_text, number
from passthrough.client.documents import Document
from passthrough.client.errors import DocumentError
from passthrough.client.runs.results import DocumentResult, Sums
from tests.harness.terminal import terminal

pytestmark = pytest.mark.fast


def document(name: str) -> Document:
    """Return a document of this name."""
    return Document(name, PurePath(name), Path(name))


def plain(shown: str) -> str:
    """Return what a terminal shows without its colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        (Sums(), "0 documents; 0 pages."),
        (Sums(done=1, pages=1, cost_nano=4_000_000), "1 document; 1 page, about 0.0040 USD by the price list."),
        (
            Sums(done=1200, skipped=1001, failed=2, pages=3000, cost_nano=12 * 10**9),
            "1,200 documents, 1,001 finished before, 2 failed; 3,000 pages, about 12.00 USD by the price list.",
        ),
        (Sums(failed=1, unsent=8), "0 documents, 1 failed, 8 not sent because of that; 0 pages."),
        (Sums(done=1, pages=2, unpriced=2), "1 document; 2 pages, at a price that is not known here."),
        (
            Sums(done=2, pages=3, unpriced=1, cost_nano=2 * 10**9),
            "2 documents; 3 pages, about 2.00 USD by the price list, without 1 page of unknown price.",
        ),
    ],
)
def test_the_sums_are_a_sentence(sums: Sums, said: str) -> None:
    """Dollars are the list's, and it says so; what has no price is not called free."""
    reporter = Reporter(None)
    reporter.sums = sums
    assert said == reporter.summary()
    assert cost_text(sums) in said or not sums.pages
    assert "1 page" == number(1, "page")


def test_what_comes_of_documents_is_said(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Paths on stdout, a line each, in the bytes of the system; failures with their hint, and notes, on stderr."""
    with Reporter(None) as reporter:
        reporter.expect(3, 0)
        reporter.expect(0, 2)
        reporter.advance(2, 8_000_000)
        odd = Path(b"two\xff.md".decode("utf-8", "surrogateescape"))
        reporter.end(DocumentResult(document("a.pdf"), (Path("a.md"), odd), notes=("1 picture is damaged.",)))
        reporter.end(DocumentResult(document("b.pdf"), failure=DocumentError("It is empty.", "Scan it once more.")))
        reporter.end(DocumentResult(document("c.pdf"), is_skipped=True))
    out, err = capfdbinary.readouterr()
    assert b"a.md\ntwo\xff.md\n" == out
    assert [
        "note: a.pdf: 1 picture is damaged.",
        "failed: b.pdf: It is empty.",
        "  Scan it once more.",
        "1 document, 1 finished before, 1 failed; 2 pages, about 0.0080 USD by the price list.",
    ] == err.decode().splitlines()


def test_texts_go_out_in_the_order_of_the_inputs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whichever is ready first; one that failed leaves no gap, and each ends with a line feed."""
    a, b, c, d = (document(name) for name in "abcd")
    with Reporter((a, b, c, d)) as reporter:
        reporter.expect(4, 0)
        for each, text in ((c, b"three"), (b, None), (a, b"one\n"), (d, b"")):
            failure = DocumentError("No.") if text is None else None
            reporter.end(DocumentResult(each, text=text, failure=failure))
    assert b"one\nthree\n" == capfdbinary.readouterr().out


def test_a_stdout_that_is_gone_ends_the_run_once() -> None:
    """Nothing should be paid for any more; what comes after it is not tried again."""
    gone: list[str] = []
    before = sys.stdout
    with open("/dev/full", "w") as full:
        sys.stdout = full
        try:
            reporter = Reporter(None, on_gone=lambda: gone.append("gone"))
            for name in "ab":
                reporter.end(DocumentResult(document(name), (Path(name),)))
        finally:
            sys.stdout = before
            sys.stdout.flush()
    assert ["gone"] == gone
    assert reporter.gone is not None


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_bar_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows documents, pages, dollars and the time left; a pause and a batch job take the place of the sums; it goes away."""
    monkeypatch.setenv("COLUMNS", str(width))
    with terminal(width, TERM="xterm") as (stream, shown):
        monkeypatch.setattr(sys, "stderr", stream)
        with Reporter(None) as reporter:
            reporter.expect(2, 0)
            reporter.expect(0, 10)
            reporter.advance(4, 16_000_000)
            reporter.wait(7.0, "Too Many Requests")
            reporter._bar.refresh()
            reporter.watch("RUNNING", 1, 2)
            reporter._bar.refresh()
            reporter.end(DocumentResult(document("a")))
            reporter._bar.refresh()
    text = shown()
    lines = [line for part in re.split(r"[\r\n]", plain(text)) if (line := part.rstrip())]
    assert width >= max(map(len, lines))
    if width >= 80:
        for wanted in ("0/2", "1/2", "waits 7 s: Too Many Requests", "running: 1/2", "4/10 pages $0.0160"):
            assert wanted in plain(text), wanted
    assert "1 document; 4 pages, about 0.0160 USD by the price list." in " ".join(plain(text).split())


@pytest.mark.parametrize("order", [None, (document("a"),)])
def test_a_terminal_breaks_lines_itself(order: tuple[Document, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bar a long path stands without a line feed in it, so that it can be copied; so does a text."""
    monkeypatch.setenv("COLUMNS", "40")
    path = "a folder/" + "long name " * 9 + "end.md"
    with terminal(40, TERM="xterm") as (stream, shown):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        with Reporter(order) as reporter:
            reporter.expect(1, 0)
            each = document("a") if order is None else order[0]
            reporter.end(DocumentResult(each, () if order else (Path(path),), text=path.encode() if order else None))
    assert f"\r{path}\n━" in plain(shown())
