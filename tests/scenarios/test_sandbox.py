"""What can be tried without money: Mistral's SDK through the program to its sandbox, and what is booked, priced and stopped."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from tests.harness.documents import pdf
from tests.harness.office import docx, paragraph
from tests.harness.process import WAIT_S, Program, program

pytestmark = pytest.mark.process

KEY = "pt-client-key-of-a-test"
POOR, POOR_IN_CHAT = "pt-poor-key-of-a-test", "pt-chatting-key-of-a-test"
ROUTES = f"""
pass_through_endpoints:
  - path: /mistral
    target: https://api.mistral.ai
    include_subpath: true
    headers: {{Authorization: Bearer os.environ/MISTRAL_API_KEY}}
client_keys:
  - {{name: tester, key: {KEY}}}
  - {{name: poor, key: {POOR}, budget: {{pages: 3, per: month}}}}
  - {{name: chatting, key: {POOR_IN_CHAT}, budget: {{usd: 0.0001, per: month}}}}
ledger: sqlite:///passthrough.db
"""
PAGES = 3
MODEL = "mistral-ocr-2512"
"""A page costs 0.002 USD, in a batch half of it."""
QUESTION: Any = [{"role": "user", "content": "How much is it? " * 40}]


def document(content: bytes) -> dict[str, str]:
    """Return a document that carries its bytes."""
    return {"type": "document_url", "document_url": f"data:application/pdf;base64,{base64.b64encode(content).decode()}"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Program]:
    """`serve --sandbox` with a client that may do all, and two whose budgets are small."""
    async with program(tmp_path, ROUTES, "--sandbox") as started:
        yield started


def client(running: Program, key: str = KEY) -> Mistral:
    """Return Mistral's SDK with a client's key."""
    return Mistral(api_key=key, server_url=f"{running.url}/mistral")


async def booked(running: Program) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Stop the program; return the total of `usage` in exact decimals, and the lines of the log that have a cost."""
    assert 0 == await running.stop()
    code, out, err = await running.command("usage", "--format", "json")
    assert (0, "") == (code, err)
    raw = [json.loads(line, parse_float=Decimal) for line in running.raw_log]
    assert all(line["sandbox"] and line["unmetered"] is None for line in raw)
    return json.loads(out, parse_float=Decimal)["total"], [line for line in raw if line["cost_usd"]]


async def refused(call: Callable[[], Any]) -> tuple[int, str]:
    """Call until a budget stops it; return status and code of that error."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await call()
            except SDKError as stopped:
                return stopped.status_code, str(stopped.headers["x-passthrough-error"])


async def test_chat_and_embeddings_are_booked_as_they_say(running: Program) -> None:
    """Whole, streamed, with a document, as code, as vectors: the ledger has the tokens of the responses, and their price."""
    async with client(running) as sdk:
        whole = await sdk.chat.complete_async(model="mistral-large-latest", messages=QUESTION)
        events = [
            event.data
            async for event in await sdk.chat.stream_async(model="mistral-large-latest", messages=QUESTION, min_tokens=300)
        ]
        chunks: Any = [{"type": "text", "text": "What is it?"}, document(pdf(PAGES))]
        about = await sdk.chat.complete_async(model="mistral-large-latest", messages=[{"role": "user", "content": chunks}])
        code = await sdk.fim.complete_async(model="codestral-latest", prompt="def f(", suffix="return 1")
        vectors = await sdk.embeddings.create_async(model="mistral-embed", inputs=["one", "two words"])
    assert [None] * (len(events) - 1) == [event.usage for event in events[:-1]]
    assert 300 == events[-1].usage.completion_tokens
    assert "This is page 2 of a document for tests." in str(about.choices[0].message.content)
    expected = [(each.usage.prompt_tokens, each.usage.completion_tokens) for each in (whole, events[-1], about, code, vectors)]
    total, lines = await booked(running)
    assert expected == [(line["tokens_in"], line["tokens_out"]) for line in lines]
    rates = [("0.5", "1.5")] * 3 + [("0.3", "0.9"), ("0.1", "0")]
    costs = [
        (Decimal(rate[0]) * used + Decimal(rate[1]) * made) / 10**6 for rate, (used, made) in zip(rates, expected, strict=True)
    ]
    assert costs == [line["cost_usd"] for line in lines]
    assert sum(costs) == total["cost_usd"]


async def test_batches_cost_half_and_are_booked_once(running: Program) -> None:
    """A file of OCR requests: statuses move on, the results cost half, failed lines nothing, a second download nothing."""
    lines = [{"custom_id": str(number), "body": {"document": document(pdf(PAGES))}} for number in range(4)]
    lines += [{"custom_id": "bad", "body": {"document": document(b"nothing")}}]
    file = "".join(json.dumps(line) + "\n" for line in lines).encode()
    async with client(running) as sdk:
        uploaded = await sdk.files.upload_async(file={"file_name": "in.jsonl", "content": file}, purpose="batch")
        job = await sdk.batch.jobs.create_async(input_files=[uploaded.id], model=MODEL, endpoint="/v1/ocr")
        seen = [job.status]
        async with asyncio.timeout(WAIT_S):
            while job.status in {"QUEUED", "RUNNING"}:
                job = await sdk.batch.jobs.get_async(job_id=job.id)
                seen.append(job.status)
        in_order = ["QUEUED", "RUNNING", "SUCCESS"]  # a client that is slow may miss one
        assert [status for status in in_order if status in seen] == list(dict.fromkeys(seen))
        assert ("QUEUED", "SUCCESS") == (seen[0], seen[-1])
        assert (5, 4, 1) == (job.total_requests, job.succeeded_requests, job.failed_requests)
        for file_id in (job.output_file, job.output_file, job.error_file):
            await (await sdk.files.download_async(file_id=str(file_id))).aread()
    total, _ = await booked(running)
    assert (4 * PAGES, Decimal("0.001") * 4 * PAGES) == (total["pages"], total["cost_usd"])


async def test_results_within_the_job_cost_half_too(running: Program) -> None:
    """Chats ordered in the request, read in the job: each line is booked once, however often the job is looked at."""
    async with client(running) as sdk:
        job = await sdk.batch.jobs.create_async(
            requests=[{"custom_id": str(number), "body": {"messages": QUESTION}} for number in range(3)],
            model="mistral-large-latest",
            endpoint="/v1/chat/completions",
        )
        async with asyncio.timeout(WAIT_S):
            while job.status in {"QUEUED", "RUNNING"}:
                job = await sdk.batch.jobs.get_async(job_id=job.id, inline=True)
        await sdk.batch.jobs.get_async(job_id=job.id, inline=True)
        assert job.outputs is not None
        used = [line["response"]["body"]["usage"] for line in job.outputs]
    total, _ = await booked(running)
    assert (sum(each["prompt_tokens"] for each in used), sum(each["completion_tokens"] for each in used)) == (
        total["tokens_in"],
        total["tokens_out"],
    )
    expected = sum(Decimal("0.25") * each["prompt_tokens"] + Decimal("0.75") * each["completion_tokens"] for each in used)
    assert expected / 10**6 == total["cost_usd"]


async def test_budgets_stop_what_is_tried(running: Program) -> None:
    """Pages and dollars of the sandbox are counted as real ones would be, and end at the budget."""
    async with client(running, POOR) as poor, client(running, POOR_IN_CHAT) as chatting:
        assert (429, "budget_spent") == await refused(
            lambda: poor.ocr.process_async(model=MODEL, document=document(pdf(PAGES)))  # type: ignore[arg-type]
        )
        assert (429, "budget_spent") == await refused(
            lambda: chatting.chat.complete_async(model="mistral-large-latest", messages=QUESTION)
        )
    total, _ = await booked(running)
    assert total["pages"] >= PAGES
    assert total["tokens_in"] > 0


async def test_office_documents_are_counted(running: Program) -> None:
    """A DOCX of two pages is read and booked as two."""
    letter = docx(paragraph("one") + paragraph("two", "<w:pageBreakBefore/>"))
    async with client(running) as sdk:
        answer = await sdk.ocr.process_async(model=MODEL, document=document(letter))  # type: ignore[arg-type]
    assert ["one", "two"] == [page.markdown for page in answer.pages]
    total, _ = await booked(running)
    assert (2, Decimal("0.004")) == (total["pages"], total["cost_usd"])
