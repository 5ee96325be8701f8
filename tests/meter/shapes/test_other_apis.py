"""The rows of docs/other-apis.md: what each counts in the response of its provider, as documented or recorded.

The responses are our own, in the providers' shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from passthrough.meter.meter import ResponseFacts
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from passthrough.proxy.routes import Match, Route
from tests.harness.configs import loaded
from tests.harness.metering import cuts, metered

PAGE: Final = (Path(__file__).parents[3] / "docs/other-apis.md").read_text("utf-8")
AZURE: Final = "https://resource.cognitiveservices.azure.com"
JSON: Final = b"application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to a request below a route of the page. `document`: bytes are sent as they are, all else as JSON."""

    route: str
    asked: str
    document: Any
    expected: Usage
    content_type: bytes = JSON
    status: int = 200
    fields: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)


def lines(*documents: Any) -> bytes:
    """Return documents as JSON lines."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def events(*documents: Any) -> bytes:
    """Return documents as the events of a stream, with a comment before and its end behind."""
    return b": PROCESSING\n\n" + b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in documents) + b"data: [DONE]\n\n"


PARSED = {"job_id": "8e2d", "duration": 1.5, "usage": {"num_pages": 3, "credits": 4.5}, "result": {"type": "full", "chunks": []}}
REDUCTO = Usage(3, model="reducto", credits_micro=4_500_000, credits="4.5", line="once/8e2d")
LLAMA = {"pages": [{"page": 1}], "job_metadata": {"job_pages": 12, "job_is_cache_hit": False}}
LLAMA_USAGE = Usage(12, model="llamaparse", line="once/4f1a")
MARKER = {"status": "complete", "success": True, "markdown": "# A", "page_count": 5, "cost_breakdown": {"total_cents": 1.5}}
DATALAB = Usage(5, model="datalab", credits_micro=1_500_000, credits="1.5", line="once/r-1")
MATHPIX = {"status": "completed", "pdf_id": "2026_x", "num_pages": 9, "num_pages_completed": 9, "percent_done": 100}
ADE = {
    "job_id": "a-7",
    "model_version": "dpt-3-pro",
    "page_count": 2,
    "billing": {"service_tier": "standard", "total_credits": 6},
}
ADE_USAGE = Usage(2, model="dpt-3-pro", credits_micro=6_000_000, credits="6", line="once/a-7")
ELEMENTS = [
    {"type": "Title", "text": "A", "metadata": {"page_number": 1, "filename": "a.pdf"}},
    {"type": "Table", "text": "B", "metadata": {"page_number": 4, "text_as_html": "<table>"}},
    {"type": "Footer", "text": "C", "metadata": {"page_number": 3}},
]
INFERENCE = {
    "inference": {"id": "1234-abcd", "job": {"id": "j"}, "file": {"name": "a.pdf", "page_count": 3}, "result": {"pages": []}}
}
TEXTRACT = {"DocumentMetadata": {"Pages": 40}, "Blocks": [{"BlockType": "PAGE", "Page": 1}], "AnalyzeDocumentModelVersion": "1.0"}
SPANS = {
    "documentLayout": {
        "blocks": [{"blockId": "1", "pageSpan": {"pageStart": 1, "pageEnd": 8}}, {"pageSpan": {"pageStart": 8, "pageEnd": 15}}]
    },
    "chunkedDocument": {"chunks": [{"chunkId": "c", "pageSpan": {"pageStart": 1, "pageEnd": 14}}]},
}
LAYOUT = {"modelId": "prebuilt-layout", "apiVersion": "2024-11-30", "pages": [{"pageNumber": 1}, {"pageNumber": 2}], "tables": []}
PADDLE = {"errorCode": 0, "errorMsg": "Success", "result": {"layoutParsingResults": [{"markdown": {}}, {"markdown": {}}]}}
USAGE = {
    "prompt_tokens": 194,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 100},
    "cost": 1.64e-06,
    "cost_details": {"upstream_inference_cost": 19},
}
OPENROUTER = Usage(model="openrouter", tokens_in=194, tokens_out=2, tokens_cached=100, credits_micro=2, credits="0.00000164")


def gemini(answer: int, thoughts: int | None = None) -> dict[str, Any]:
    """Return a response of Gemini's with so many tokens."""
    counts = {
        "promptTokenCount": 15,
        "candidatesTokenCount": answer,
        "totalTokenCount": 15 + answer,
        "cachedContentTokenCount": 9,
    }
    more = {} if thoughts is None else {"thoughtsTokenCount": thoughts}
    return {"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts | more, "modelVersion": "gemini-3.1-flash-lite"}


def no_usage(model: str | None) -> Usage:
    """Return the usage of a response without a count."""
    return Usage(model=model, unmetered=Unmetered.NO_USAGE)


ANSWERS: Final[dict[str, Answer]] = {
    "reducto, parsed": Answer("/reducto/parse", "POST ", PARSED, REDUCTO),
    "reducto, the same as a job": Answer(
        "/reducto/job", "GET /8e2d", {"status": "Completed", "result": PARSED, "progress": 1.0, "reason": None}, REDUCTO
    ),
    "reducto, a job that runs": Answer("/reducto/job", "GET /8e2d", {"status": "Pending", "result": None}, NOTHING),
    "llamaparse, as json": Answer("/llamaparse", "GET /api/v1/parsing/job/4f1a/result/json", LLAMA, LLAMA_USAGE),
    "llamaparse, as markdown": Answer(
        "/llamaparse", "GET /api/v1/parsing/job/4f1a/result/markdown", LLAMA | {"markdown": "# A"}, LLAMA_USAGE
    ),
    "llamaparse, as text": Answer("/llamaparse", "GET /api/v1/parsing/job/4f1a/result/raw/text", b"A", NOTHING, b"text/plain"),
    "llamaparse, out of its cache": Answer(
        "/llamaparse",
        "GET /api/v1/parsing/job/4f1a/result/json",
        {"job_metadata": {"job_pages": 0, "job_is_cache_hit": True, "credits_used": 10.0}},
        Usage(0, model="llamaparse"),
    ),
    "llamaparse, a job's status": Answer(
        "/llamaparse", "GET /api/v1/parsing/job/4f1a", {"id": "4f1a", "status": "SUCCESS"}, NOTHING
    ),
    "datalab, converted": Answer("/datalab", "GET /api/v1/convert/r-1", MARKER, DATALAB),
    "datalab, by its older name": Answer("/datalab", "GET /api/v1/marker/r-1", MARKER, DATALAB),
    "datalab, at work": Answer("/datalab", "GET /api/v1/convert/r-1", {"status": "processing"}, NOTHING),
    "mathpix, completed": Answer("/mathpix/v3/pdf", "GET /2026_x", MATHPIX, Usage(9, model="mathpix-pdf", line="once/2026_x")),
    "mathpix, split": Answer("/mathpix/v3/pdf", "GET /2026_x", MATHPIX | {"status": "split"}, NOTHING),
    "mathpix, its result": Answer("/mathpix/v3/pdf", "GET /2026_x.mmd", b"\\section*{A}", NOTHING, b"text/plain"),
    "mathpix, its lines": Answer("/mathpix/v3/pdf", "GET /2026_x.lines.json", {"pages": [{"page": 1}]}, NOTHING),
    "mathpix, a picture": Answer("/mathpix/v3/text", "POST ", {"request_id": "p", "text": "A"}, Usage(1, model="mathpix-image")),
    "landing ai, parsed": Answer("/landingai/v2/parse", "POST ", {"markdown": "# A", "metadata": ADE}, ADE_USAGE),
    "landing ai, a job": Answer(
        "/landingai/v2/parse/jobs", "GET /a-7", {"job_id": "a-7", "status": "completed", "result": {"metadata": ADE}}, ADE_USAGE
    ),
    "landing ai, a job that waits": Answer(
        "/landingai/v2/parse/jobs", "GET /a-7", {"job_id": "a-7", "status": "pending", "result": None}, NOTHING
    ),
    "unstructured": Answer("/unstructured", "POST ", ELEMENTS, Usage(4, model="unstructured")),
    "unstructured, as csv": Answer("/unstructured", "POST ", b"type,text\nTitle,A\n", NOTHING, b"text/csv"),
    "nutrient, a pdf": Answer(
        "/nutrient",
        "POST /build",
        b"%PDF-1.7\n",
        Usage(model="nutrient", credits_micro=1_500_000, credits="1.5"),
        b"application/pdf",
        fields={b"x-pspdfkit-credit-usage": (b"1.5",), b"x-pspdfkit-remaining-credits": (b"998.5",)},
    ),
    "mindee": Answer("/mindee", "GET /v2/inferences/1234-abcd", INFERENCE, Usage(3, model="mindee", line="once/1234-abcd")),
    "textract, at once": Answer(
        "/textract",
        "POST ",
        TEXTRACT | {"DocumentMetadata": {"Pages": 1}},
        Usage(1, model="textract"),
        b"application/x-amz-json-1.1",
    ),
    "textract, begun": Answer("/textract-jobs", "POST ", {"JobId": "t"}, NOTHING, b"application/x-amz-json-1.1"),
    "textract, at work": Answer("/textract-jobs", "POST ", {"JobStatus": "IN_PROGRESS"}, NOTHING, b"application/x-amz-json-1.1"),
    "textract, failed": Answer("/textract-jobs", "POST ", {"JobStatus": "FAILED", "StatusMessage": "x"}, NOTHING),
    "textract, a part": Answer("/textract-jobs", "POST ", TEXTRACT | {"JobStatus": "SUCCEEDED", "NextToken": "n"}, NOTHING),
    "textract, the last part": Answer(
        "/textract-jobs", "POST ", {"JobStatus": "SUCCEEDED", "NextToken": None} | TEXTRACT, Usage(40, model="textract")
    ),
    "textract, not all of it": Answer(
        "/textract-jobs", "POST ", TEXTRACT | {"JobStatus": "PARTIAL_SUCCESS"}, Usage(40, model="textract")
    ),
    "document ai": Answer(
        "/documentai/ocr",
        "POST ",
        {"document": {"mimeType": "application/pdf", "pages": [{"pageNumber": 1}, {"pageNumber": 2}]}, "humanReviewStatus": {}},
        Usage(2, model="documentai-ocr"),
    ),
    "document ai, layout": Answer("/documentai/layout", "POST ", {"document": SPANS}, Usage(15, model="documentai-layout")),
    "document intelligence, begun": Answer(
        "/docintel", "POST /documentintelligence/documentModels/prebuilt-layout:analyze", b"", NOTHING, b"", status=202
    ),
    "document intelligence, at work": Answer(
        "/docintel", "GET /documentintelligence/documentModels/prebuilt-layout/analyzeResults/9c", {"status": "running"}, NOTHING
    ),
    "document intelligence": Answer(
        "/docintel",
        "GET /documentintelligence/documentModels/prebuilt-layout/analyzeResults/9c",
        {"status": "succeeded", "analyzeResult": LAYOUT},
        Usage(2, model="prebuilt-layout", line="once/9c"),
        b"application/json; charset=utf-8",
    ),
    "paddleocr, a job": Answer(
        "/paddleocr/jobs",
        "GET /ocrjob-1",
        {"data": {"jobId": "ocrjob-1", "state": "done", "extractProgress": {"totalPages": 4, "extractedPages": 4}}},
        Usage(4, model="paddleocr", line="once/ocrjob-1"),
    ),
    "paddleocr, a job at work": Answer(
        "/paddleocr/jobs", "GET /ocrjob-1", {"data": {"state": "running", "extractProgress": {"extractedPages": 1}}}, NOTHING
    ),
    "paddleocr, a result": Answer(
        "/paddleocr/results",
        "GET /r.jsonl",
        lines(PADDLE, PADDLE, PADDLE),
        Usage(6, model="paddleocr"),
        b"application/octet-stream",
    ),
    "paddleocr, a service of one's own": Answer(
        "/paddleocr/results", "POST /layout-parsing", PADDLE, Usage(2, model="paddleocr")
    ),
    "openrouter": Answer("/openrouter", "POST /v1/chat/completions", {"id": "g", "model": "a/b", "usage": USAGE}, OPENROUTER),
    "openrouter, a stream": Answer(
        "/openrouter",
        "POST /v1/chat/completions",
        events({"choices": [{}]}, {"choices": [{}]}, {"choices": [], "usage": USAGE}),
        OPENROUTER,
        b"text/event-stream",
    ),
    "openrouter, a stream without its end": Answer(
        "/openrouter", "POST /v1/chat/completions", events({"choices": [{}]}), no_usage("openrouter"), b"text/event-stream"
    ),
    "gemini": Answer(
        "/gemini",
        "POST /v1beta/models/gemini-3.1-flash-lite:generateContent",
        gemini(6, thoughts=20),
        Usage(model="gemini-3.1-flash-lite", tokens_in=15, tokens_out=26, tokens_cached=9),
    ),
    "gemini, a stream": Answer(
        "/gemini",
        "POST /v1beta/models/gemini-3.1-flash-lite:streamGenerateContent",
        events(gemini(1), gemini(4), gemini(6)),
        Usage(model="gemini-3.1-flash-lite", tokens_in=15, tokens_out=6, tokens_cached=9),
        b"text/event-stream",
    ),
    "gemini, an array": Answer(
        "/gemini", "POST /v1beta/models/gemini-3.1-flash-lite:streamGenerateContent", [gemini(1), gemini(6)], no_usage(None)
    ),
}

NOT_COUNTED: Final = (
    ("/reducto", "POST /upload"),
    ("/llamaparse", "POST /api/v1/parsing/upload"),
    ("/datalab", "POST /api/v1/convert"),
    ("/mathpix/v3/pdf", "POST "),
    ("/landingai/v2/parse/jobs", "POST "),
    ("/mindee", "POST /v2/inferences/enqueue"),
    ("/mindee/v2/jobs", "GET /1234"),
    ("/nutrient", "GET /account/info"),
    ("/docintel", "POST /documentintelligence/documentModels/prebuilt-layout:analyze"),
    ("/paddleocr/jobs", "POST "),
    ("/openrouter", "GET /v1/models"),
    ("/gemini", "GET /v1beta/models"),
)
"""Requests that begin a job, look after one, or are about something else."""


@pytest.fixture(name="routes", scope="module")
def _routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Route]:
    """Return the routes of the page's rows by their paths."""
    found: dict[str, Route] = {}
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)):
        environ = dict.fromkeys(re.findall(r"os\.environ/(\w+)", block), "canary-0123456789") | {"DOCINTEL_ENDPOINT": AZURE}
        for route in loaded(tmp_path_factory.mktemp(f"row-{number}"), block, environ).routes:
            found[route.path.decode()] = route
    return found


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def sent(route: Route, asked: str) -> tuple[str, bytes]:
    """Return the method, and the raw path that selects the meter's shape."""
    method, _, below = asked.partition(" ")
    return method, Match(route, below.encode()).metered_path(method, route.path + below.encode())


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_provider_is_counted_by_its_row(name: str, routes: dict[str, Route], decoders: ThreadPoolExecutor) -> None:
    """Whole, byte by byte, and with a known length: pages, tokens, credits, and the id by which a result is booked once."""
    answer = ANSWERS[name]
    route = routes[answer.route]
    method, path = sent(route, answer.asked)
    body = answer.document if isinstance(answer.document, bytes) else json.dumps(answer.document).encode()
    for length in (None, len(body)):
        facts = ResponseFacts(method, path, answer.status, None, answer.content_type, length, answer.fields)
        for chunks in cuts(body):
            found = (await metered(facts, chunks, decoders, route.terms.plan)).usage
            assert answer.expected == (NOTHING if found is None else found)


@pytest.mark.parametrize(("route", "asked"), NOT_COUNTED)
def test_what_begins_a_job_is_not_counted(route: str, asked: str, routes: dict[str, Route]) -> None:
    """Its response is not read."""
    method, path = sent(routes[route], asked)
    assert routes[route].terms.plan.reads(method, path) is None


def test_every_row_is_tried(routes: dict[str, Route]) -> None:
    """A row of the page that no response was counted with could be wrong."""
    counting = {path for path, route in routes.items() if route.terms.plan.counted is not None}
    assert counting == {answer.route for answer in ANSWERS.values()}
    named = re.findall(r"^\| \[([^\]]+)\]", PAGE, re.MULTILINE)
    assert named == re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert len(named) == 14
