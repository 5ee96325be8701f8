"""Real clients through the program to its sandbox: Mistral's SDK, curl, Open WebUI's way. The pages are the same everywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mistralai.client import Mistral

from passthrough.config import builtin
from tests.harness.documents import pdf, png, words_of
from tests.harness.process import Program, program

pytestmark = pytest.mark.process

PAGES = 10
TEXT = [words_of(page) for page in range(PAGES)]
COST = Decimal("0.020")
"""Ten pages of mistral-ocr-2512 at 2 USD for a thousand."""
KEY = "pt-client-key-of-a-test"
SHIPPED = builtin.location(builtin.NAME, Path()).read_text("utf-8")


def data_uri(content: bytes) -> str:
    """Return the data URI of a PDF."""
    return f"data:application/pdf;base64,{base64.b64encode(content).decode()}"


def asked(source: dict[str, str]) -> dict[str, Any]:
    """Return the body of an OCR request."""
    return {"model": "mistral-ocr-2512", "document": source}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Program]:
    """`serve --sandbox` on the shipped routes.yaml, with one client key."""
    keys = f"client_keys: [{{name: tester, key: {KEY}}}]\nlabel_headers: [X-OpenWebUI-User-Email]\n"
    async with program(tmp_path, SHIPPED + keys, "--sandbox") as started:
        yield started


async def booked(running: Program, exchanges: int, *, documents: int = 1) -> dict[str, Any]:
    """Stop the program; hold that log, `usage` and ledger agree on pages and cost, and return the log's line of the OCR call."""
    assert 0 == await running.stop()
    assert exchanges == len(running.log)
    (line, *rest) = (line for line in running.log if line["path"].endswith("/ocr"))
    assert documents == 1 + len(rest)
    assert (PAGES, "mistral-ocr-2512", "tester", True) == (line["pages"], line["model"], line["client"], line["sandbox"])
    raw = next(raw for raw in running.raw_log if json.loads(raw)["id"] == line["id"])
    assert COST == json.loads(raw, parse_float=Decimal)["cost_usd"]
    code, out, err = await running.command("usage", "--format", "json")
    assert (0, "") == (code, err)
    total = json.loads(out, parse_float=Decimal)["total"]
    assert (exchanges, documents * PAGES, documents * COST, 0, 0) == tuple(
        total[name] for name in ("requests", "pages", "cost_usd", "unmetered", "unpriced")
    )
    ledger = sqlite3.connect(running.folder / "passthrough.db")
    charged = ledger.execute("SELECT sum(pages), sum(cost_nano) FROM charges").fetchone()
    requests = ledger.execute("SELECT count(*) FROM exchanges").fetchone()
    ledger.close()
    assert ((documents * PAGES, int(documents * COST * 10**9)), (exchanges,)) == (charged, requests)
    return dict(line)


async def test_the_sdk_with_a_data_uri(running: Program) -> None:
    """A document in the request: the text is the PDF's, and its ten pages are booked, with size and request id."""
    document = pdf(PAGES)
    async with Mistral(api_key=KEY, server_url=f"{running.url}/mistral") as sdk:
        answer = await sdk.ocr.process_async(**asked({"type": "document_url", "document_url": data_uri(document)}))
    assert TEXT == [page.markdown for page in answer.pages]
    assert PAGES == answer.usage_info.pages_processed
    line = await booked(running, 1)
    assert (len(document), 200, "completed") == (line["doc_bytes"], line["status"], line["outcome"])
    assert line["upstream_request_id"]


async def test_the_sdk_in_a_thread_with_a_file(running: Program) -> None:
    """The blocking client uploads, reads by id and by signed URL, and deletes; files cost nothing, each reading does."""

    def flow() -> list[list[str]]:
        with Mistral(api_key=KEY, server_url=f"{running.url}/mistral") as sdk:
            file = sdk.files.upload(file={"file_name": "ten pages.pdf", "content": pdf(PAGES)}, purpose="ocr")
            url = sdk.files.get_signed_url(file_id=file.id, expiry=1).url
            sources = ({"type": "file", "file_id": file.id}, {"type": "document_url", "document_url": url})
            texts = [[page.markdown for page in sdk.ocr.process(**asked(source)).pages] for source in sources]
            assert pdf(PAGES) == sdk.files.download(file_id=file.id).read()
            assert sdk.files.delete(file_id=file.id).deleted
            return texts

    assert [TEXT, TEXT] == await asyncio.to_thread(flow)
    await booked(running, 6, documents=2)


async def test_the_sdk_with_an_uploaded_file(running: Program) -> None:
    """The asynchronous client's upload is read by its id."""
    async with Mistral(api_key=KEY, server_url=f"{running.url}/mistral") as sdk:
        file = await sdk.files.upload_async(file={"file_name": "a.pdf", "content": pdf(PAGES)}, purpose="ocr")
        answer = await sdk.ocr.process_async(**asked({"type": "file", "file_id": file.id}))
    assert TEXT == [page.markdown for page in answer.pages]
    await booked(running, 2)


async def test_open_webui(running: Program) -> None:
    """The four requests of Open WebUI, as its loader sends them to …/mistral/v1, with the user's name as the label."""
    headers = {"Authorization": f"Bearer {KEY}", "X-OpenWebUI-User-Email": "ann@example.org"}
    base = f"{running.url}/mistral/v1"
    async with aiohttp.ClientSession(headers=headers) as session:
        with aiohttp.MultipartWriter("form-data") as writer:
            writer.append("ocr").set_content_disposition("form-data", name="purpose")
            part = writer.append(pdf(PAGES), {"Content-Type": "application/pdf"})
            part.set_content_disposition("form-data", name="file", filename="ten pages.pdf")
        async with session.post(f"{base}/files", data=writer) as answer:
            assert 200 == answer.status
            file = (await answer.json())["id"]
        async with session.get(
            f"{base}/files/{file}/url", params={"expiry": 1}, headers={"Accept": "application/json"}
        ) as answer:
            url = (await answer.json())["url"]
        body = asked({"type": "document_url", "document_url": url}) | {"include_image_base64": False}
        async with session.post(f"{base}/ocr", json=body, headers={"Accept": "application/json"}) as answer:
            assert TEXT == [page["markdown"] for page in (await answer.json())["pages"]]
        async with session.delete(f"{base}/files/{file}") as answer:
            assert 200 == answer.status
    line = await booked(running, 4)
    assert "ann@example.org" == line["label"]
    assert ["POST", "GET", "POST", "DELETE"] == [line["method"] for line in running.log]
    assert f"/mistral/v1/files/{file}/url" == running.log[1]["path"]


curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def run_curl(folder: Path, *arguments: str, body: bytes) -> str:
    """Run curl with a body on its standard input; return what it told of its talk (-v)."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sSv", "--noproxy", "*", "--max-time", "30", *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(body)
    assert (0, b"") == (process.returncode, out), err.decode()
    return err.decode()


@curl
@pytest.mark.parametrize("authorization", [f"Authorization: Bearer {KEY}", f"Authorization: {KEY}", f"api-key: {KEY}"])
async def test_curl_with_a_large_body(running: Program, tmp_path: Path, authorization: str) -> None:
    """JSON over 1 MB from a pipe: curl waits for 100 Continue, gets it, and writes the whole answer to its file."""
    document = pdf(PAGES) + b"%" + b"x" * 1_000_000  # What follows the end of a PDF is no part of it.
    body = json.dumps(asked({"type": "document_url", "document_url": data_uri(document)})).encode()
    arguments = ("-H", authorization, "-H", "Content-Type: Application/json", "-d", "@-", "-o", "answer.json", "--fail")
    # Expect by hand: since 8.0 or so it depends on the build whether curl sends it by itself.
    arguments = (*arguments, "-H", "Expect: 100-continue", "--expect100-timeout", "20")
    said = await run_curl(tmp_path, *arguments, f"{running.url}/mistral/v1/ocr", body=body)
    assert "HTTP/1.1 100 Continue" in said
    assert TEXT == [page["markdown"] for page in json.loads((tmp_path / "answer.json").read_bytes())["pages"]]
    line = await booked(running, 1)
    assert len(body) == line["bytes_up"]
    assert (tmp_path / "answer.json").stat().st_size == line["bytes_down"]


@curl
async def test_curl_with_a_chunked_body(running: Program, tmp_path: Path) -> None:
    """A body of unknown length from a pipe goes up chunked and is read just so."""
    body = json.dumps(asked({"type": "document_url", "document_url": data_uri(pdf(PAGES))})).encode()
    arguments = ("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json", "-T", "-", "-X", "POST")
    said = await run_curl(tmp_path, *arguments, "-o", "answer.json", f"{running.url}/mistral/v1/ocr", body=body)
    assert "Transfer-Encoding: chunked" in said
    assert TEXT == [page["markdown"] for page in json.loads((tmp_path / "answer.json").read_bytes())["pages"]]
    await booked(running, 1)


@curl
async def test_curl_without_a_key(running: Program, tmp_path: Path) -> None:
    """A large body of a stranger is refused before it is sent: there is no 100 Continue, and the answer tells the cure."""
    arguments = ("-H", "Expect: 100-continue", "--expect100-timeout", "20", "--data-binary", "@-", "-o", "answer.json")
    said = await run_curl(tmp_path, *arguments, f"{running.url}/mistral/v1/ocr", body=b"x" * 2_000_000)
    assert "100 Continue" not in said
    assert "HTTP/1.1 401" in said
    answer = json.loads((tmp_path / "answer.json").read_bytes())
    assert ("error", "invalid_key", 401) == (answer["object"], answer["code"], answer["raw_status_code"])
    (line,) = await running.logs(1)
    assert (0, "refused") == (line["bytes_up"], line["outcome"])


async def test_the_sdk_sees_the_providers_errors_and_ours(running: Program) -> None:
    """A wrong model is the provider's 400, a wrong key our 401 in the provider's shape: the SDK raises both."""
    from mistralai.client.errors import SDKError

    picture = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    for key, model, status, said in (
        (KEY, "no-such-model", 400, "Invalid model"),
        ("wrong", "mistral-ocr-2512", 401, "invalid_key"),
    ):
        async with Mistral(api_key=key, server_url=f"{running.url}/mistral") as sdk:
            with pytest.raises(SDKError) as raised:
                await sdk.ocr.process_async(model=model, document={"type": "image_url", "image_url": picture})
            assert (status, True) == (raised.value.status_code, said in raised.value.body)
    assert 0 == await running.stop()
    assert [("completed", 400, None), ("refused", 401, None)] == [
        (line["outcome"], line["status"], line["pages"]) for line in running.log
    ]
