"""`passthrough ocr` as a process, through the program to its sandbox: every document right or named, its pages the ledger's."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.documents import pdf, words_of
from tests.harness.documents_of_all_kinds import DOCUMENTS, OTHERS, write_documents
from tests.harness.ocr_command import Ran, booked_pages, ocr, tree
from tests.harness.ocr_upstreams import OcrUpstream, ocr_upstreams
from tests.harness.process import Program, program
from tests.harness.sample_document import CLOSING, TABLE, TITLE, sample_response

pytestmark = [pytest.mark.process, pytest.mark.slow]

KEY = "pt-client-key-of-a-test"
MANIFEST = ".passthrough-ocr.jsonl"
PRICE = 0.002
MODEL = "mistral-ocr-2512"
"""A page costs 0.002 USD, in a batch half of it."""


def routes(target: str = "https://api.mistral.ai", key: str = "provider-key") -> str:
    """Return a configuration with one route and one client."""
    return (
        "ledger: sqlite:///passthrough.db\n"
        f"client_keys:\n  - {{name: reader, key: {KEY}}}\n"
        "pass_through_endpoints:\n"
        f"  - {{path: /mistral, target: '{target}', include_subpath: true, headers: {{Authorization: Bearer {key}}}}}\n"
    )


def environ(running: Program, **more: str) -> dict[str, str]:
    """Return what leads the command to a program."""
    return {"PASSTHROUGH_BASE_URL": f"{running.url}/mistral", "PASSTHROUGH_API_KEY": KEY, **more}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Program]:
    """`serve --sandbox`, in a folder of its own."""
    (tmp_path / "server").mkdir()
    async with program(tmp_path / "server", routes(), "--sandbox") as started:
        yield started


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """An empty folder, where the command runs."""
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


def succeeded(ran: Ran) -> Ran:
    """Return what ran, where nothing failed."""
    assert 0 == ran.code, ran.err
    return ran


async def test_thirty_documents_are_right_or_named(running: Program, desk: Path) -> None:
    """Of all types, sizes and names: each has its Markdown or its reason, nothing else is written, the pages are the ledger's.

    A second run sends only what failed.
    """
    write_documents(desk / "in")
    before = tree(desk)
    ran = await ocr(desk, "in", "-o", "out", "--model", MODEL, env=environ(running))
    assert 1 == ran.code, ran.err
    made = {path for path in tree(desk) if path not in before}
    texts = {path.removeprefix("out/") for path in made if path.endswith(".md") and "_images/" not in path}
    expected = {kind.becomes for kind in DOCUMENTS.values() if kind.becomes}
    long = {text for text in texts if text.startswith("nnn")}
    assert (1, expected) == (len(long), texts - long)
    assert before == {path: digest for path, digest in tree(desk).items() if path in before}
    strays = {path for path in made if not path.startswith("out/") or not (path.endswith(".md") or "_images/" in path)}
    assert {MANIFEST} == {Path(path).name for path in strays}
    said = dict(re.findall(r"^failed: in/(.+?): (.*)$", ran.err, re.MULTILINE))
    failing = {name: kind.fails for name, kind in DOCUMENTS.items() if kind.fails}
    assert failing.keys() == said.keys()
    assert [] == [(name, said[name]) for name, why in failing.items() if not re.search(why, said[name])]
    assert not any(Path(name).name in ran.err for name in OTHERS)
    assert "\x1b[31m" not in ran.err + ran.out
    pages = sum(kind.pages for kind in DOCUMENTS.values() if kind.becomes is not None)
    assert pages == ran.pages
    again = await ocr(desk, "in", "-o", "out", "--model", MODEL, env=environ(running))
    assert (1, []) == (again.code, again.paths)
    assert (pages, pytest.approx(pages * PRICE)) == await booked_pages(running)


async def test_a_document_from_stdin_goes_to_stdout(running: Program, desk: Path) -> None:
    """`-` and `-o -`: Markdown alone on stdout, everything else on stderr, and no file at all."""
    ran = succeeded(await ocr(desk, "-", "-o", "-", stdin=pdf(2), env=environ(running)))
    assert [words_of(0), words_of(1)] == [line for line in ran.out.splitlines() if line not in {"", "---"}]
    assert {} == tree(desk)
    assert 2 == (await booked_pages(running))[0]


async def test_a_url_is_the_providers_to_fetch(tmp_path: Path, desk: Path) -> None:
    """The request names the URL; the output is named after its path, in the working directory."""
    above = OcrUpstream(pages=3)
    async with ocr_upstreams(above), program(tmp_path, routes(above.url)) as running:
        ran = succeeded(await ocr(desk, "https://docs.example/2026/Year%20Report.pdf?x=1", env=environ(running)))
        assert ["Year Report.md"] == ran.paths
        assert ["https://docs.example/2026/Year%20Report.pdf?x=1"] == [
            call.body["document"]["document_url"] for call in above.calls
        ]
        assert "# Page 2" in (desk / "Year Report.md").read_text()
        assert (3, 3) == (ran.pages, (await booked_pages(running))[0])


async def test_a_stored_response_is_rendered_without_a_call(desk: Path) -> None:
    """`--from`: no proxy, no key, no cost; text, tables and pictures are the response's."""
    (desk / "report.json").write_bytes(sample_response())
    ran = succeeded(await ocr(desk, "--from", "report.json", "--format", "md", "--format", "html", "--format", "txt"))
    assert {"report.md", "report.html", "report.txt"} <= set(ran.paths)
    text = (desk / "report.md").read_text()
    assert all(word in text for word in (f"# {TITLE}", CLOSING, *TABLE[0], "(report_images/img-0.png)"))
    assert (desk / "report_images/img-0.png").read_bytes().startswith(b"\x89PNG")
    assert "<table>" in (desk / "report.html").read_text()


async def test_a_dry_run_says_pages_and_price_and_sends_nothing(running: Program, desk: Path) -> None:
    """Per document and in all; nothing is written, and nothing is booked."""
    (desk / "two.pdf").write_bytes(pdf(2))
    (desk / "forty.pdf").write_bytes(pdf(40))
    before = tree(desk)
    ran = succeeded(await ocr(desk, ".", "--dry-run", "--model", MODEL, env=environ(running)))
    assert all(said in ran.out + ran.err for said in ("two.pdf", "forty.pdf", "42", "0.08"))
    assert before == tree(desk)
    assert 0 == (await booked_pages(running))[0]


async def test_pages_are_chosen(running: Program, desk: Path) -> None:
    """`--pages 0,2-3`: those are read, and billed, and no others."""
    (desk / "report.pdf").write_bytes(pdf(5))
    ran = succeeded(await ocr(desk, "report.pdf", "--pages", "0,2-3", "--format", "md", "--format", "json", env=environ(running)))
    text = (desk / "report.md").read_text()
    assert [True, False, True, True, False] == [words_of(page) in text for page in range(5)]
    assert [0, 2, 3] == [page["index"] for page in json.loads((desk / "report.json").read_bytes())["pages"]]
    assert (3, 3) == (ran.pages, (await booked_pages(running))[0])


async def test_a_document_beyond_the_providers_pages_goes_in_parts(running: Program, desk: Path) -> None:
    """1,203 pages: one Markdown, in order, each page once, and each booked once."""
    (desk / "long.pdf").write_bytes(pdf(1203))
    ran = succeeded(await ocr(desk, "long.pdf", "--format", "md", "--format", "json", env=environ(running)))
    text = (desk / "long.md").read_text()
    assert [words_of(page) for page in range(1203)] == [line for line in text.splitlines() if line not in {"", "---"}]
    assert list(range(1203)) == [page["index"] for page in json.loads((desk / "long.json").read_bytes())["pages"]]
    assert (1203, 1203) == (ran.pages, (await booked_pages(running))[0])


async def test_the_sandbox_needs_nothing_else(desk: Path) -> None:
    """`--sandbox`: without a program, a key or a configuration."""
    (desk / "invoice.pdf").write_bytes(pdf(2))
    ran = succeeded(await ocr(desk, "--sandbox", "invoice.pdf"))
    assert (["invoice.md"], 2) == (ran.paths, ran.pages)
    assert ran.err.endswith("by the price list. The sandbox is free.\n")
    assert {"invoice.pdf", "invoice.md", MANIFEST} == set(tree(desk))


async def test_help_fits_a_screen(desk: Path) -> None:
    """80 columns, and no more lines than a person sees at once."""
    ran = succeeded(await ocr(desk, "--help", env={"COLUMNS": "80"}))
    lines = ran.out.splitlines()
    assert [] == [line for line in lines if len(line) > 80]
    assert len(lines) <= 50
