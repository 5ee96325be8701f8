"""Traffic that never was: answers of all kinds, with what is to be found in each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, Final

from passthrough.exchange import Outcome
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.expected_bills import ROADS, Bill, Deed, Road, Tally

BEGINS: Final = datetime(2026, 6, 20, tzinfo=UTC)
"""The first day of the month: prices change on its 4th, 12th, 16th and 27th."""
DAYS: Final = 30
CLIENTS: Final = ("invoices", "archive", "research", "support", "ünï-team")
TEAMS: Final = ("red", None, '"blue": "r', "größe")
TIERS: Final = (None, None, None, "default", "flex", "priority")
"""Service tiers of chats: "default" is the standard one, "priority" has a price of its own for one model from a day on."""
LABELS: Final = (None, "ann@example.org", "bob@example.org", "=SUM(A1)", "größe")
_OCR: Final = (
    *(("mistral", model) for model in ("mistral-ocr-2512", "mistral-ocr-latest", "mistral-ocr-4-0", "mistral-ocr-4-1")),
    *(("eu", model) for model in ("mistral-ocr-2512", "mistral-ocr-latest", "house-ocr")),
    *(("mistral", "house-ocr"), ("azure", "mistral-document-ai-2512"), ("vertex", "mistral-ocr-2505")),
    *(("mistral", "acme-ocr-9"), ("flat", "acme-ocr-9")),
)


_UNCOUNTED: Final = (("mistral", "mistral-ocr-2512"), ("vertex", "mistral-ocr-2505"), ("flat", "acme-ocr-9"))
_BATCHES: Final = (
    *(("mistral", "mistral-ocr-2512"), ("mistral", "house-ocr"), ("eu", "mistral-ocr-latest")),
    *(("second", "mistral-ocr-4-0"), ("second", "acme-ocr-9")),
)


@dataclass(frozen=True, slots=True)
class _File:
    """A batch's results: the file's id, the job's, and for each line its text and usage (None: it failed)."""

    number: int
    model: str
    lines: tuple[tuple[str, Usage | None], ...]


class Traffic:
    """A number of deeds, made as they are asked for, in the order of their times; the same for the same seed."""

    def __init__(self, count: int, *, seed: int = 1, at: float | None = None) -> None:
        """`at`: all happen then, and on loopback, where no host tells whose offer it is; None: in the month, at real hosts."""
        self.tally = Tally()
        self.count = count
        self._random = Random(seed)
        self._at = at
        self._number = 0
        self._files: list[tuple[str, _File]] = []
        self._of = ""

    def deeds(self) -> Iterator[Deed]:
        """Yield all of them; the tally has those that were yielded."""
        kinds = (
            (44, self._plain), (8, self._annotated), (8, self._moved), (6, self._asked), (8, self._chat), (4, self._stream),
            (4, self._told), (3, self._extracted), (2, self._batch), (2, self._batch_again), (1, self._zero), (1, self._none),
            (1, self._null), (1, self._html), (2, self._failed), (1, self._settled), (1, self._cancelled), (1, self._broken),
            (1, self._unreachable), (1, self._stranger), (1, self._sandboxed),
        )  # fmt: skip
        weights = [weight for weight, _ in kinds]
        for number in range(self.count):
            self._number = number
            (kind,) = self._random.choices(kinds, weights)
            yield kind[1]()

    # ── kinds of answers ──

    def _plain(self, **how: Any) -> Deed:
        road, model = self._random.choice(_OCR)
        pages = self._pages()
        return self._deed(road, _ocr(model, pages), Usage(pages, None, model), **how)

    def _annotated(self) -> Deed:
        road, model = self._random.choice(_OCR)
        pages = self._pages()
        note: dict[str, Any] = {"document_annotation": "{}"} if self._random.random() < 0.5 else {"image_annotation": "{}"}
        return self._deed(road, _ocr(model, pages, **note), Usage(0, pages, model))

    def _moved(self) -> Deed:
        plain, annotated = self._random.choice([(0, self._pages()), (self._pages(), self._pages()), (self._pages(), 0)])
        return self._deed("azure", _ocr("whatever", plain, counted=annotated), Usage(plain, annotated, "whatever"))

    def _asked(self) -> Deed:
        road, model = self._random.choice(_OCR)
        pages = self._pages()
        wish = {"model": model, "document": {}, self._random.choice(_WISHES): {"type": "json_schema"}}
        return self._deed(road, _ocr(model, pages), Usage(0, pages, model), request=wish)

    def _chat(self) -> Deed:
        model, tokens = self._tokens()
        tier, beside = self._tier(told := _told_tokens(tokens))
        body = json.dumps({"choices": [{"message": {"content": "x" * 50}}], "model": model, "usage": told, **beside}).encode()
        return self._deed("mistral", body, _chat(model, tokens, tier), at="/v1/chat/completions")

    def _stream(self) -> Deed:
        model, tokens = self._tokens()
        tier, beside = self._tier(told := _told_tokens(tokens))
        events: list[Any] = [{"model": model, "choices": [{"delta": {"content": "x"}}], **beside}] * 5
        events.append({"model": model, "choices": [], "usage": told})
        body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
        found = _chat(model, tokens, tier)
        return self._deed("mistral", body, found, at="/v1/chat/completions", content_type="text/event-stream")

    def _told(self) -> Deed:
        pages, model = self._pages(), "mistral/mistral-ocr-latest"
        spelt = ("0.0041235", "1.25e-03", "0.0000000005", "0.0000000015", "17.123456789", "3", "0", None, "free")
        told = self._random.choice(spelt)
        return self._deed("aiml", _ocr(model, pages), Usage(pages, None, model), told=told)

    def _extracted(self) -> Deed:
        pages, micro = self._pages(), self._random.randrange(5_000_000)
        usage = {"num_pages": pages, "credits": 0}
        status = "done" if self._random.random() < 0.8 else "running"
        body = json.dumps({"status": status, "usage": usage}).replace('"credits": 0', f'"credits": {micro / 10**6:.6f}').encode()
        exact = f"{Decimal(micro).scaleb(-6).normalize():f}"
        found = Usage(pages, model="extractor", credits_micro=micro, credits=exact)
        return self._deed("extract", body, found if status == "done" else NOTHING)

    def _zero(self) -> Deed:
        model = "mistral-ocr-2512"
        return self._deed("mistral", _ocr(model, 0), Usage(0, None, model))

    def _none(self) -> Deed:
        return self._uncounted(b'{"pages": [], "usage_info": null}', Unmetered.NO_USAGE)

    def _null(self) -> Deed:
        return self._uncounted(b"null", Unmetered.NO_USAGE)

    def _html(self) -> Deed:
        return self._uncounted(b"<html>Maintenance</html>", Unmetered.NOT_JSON)

    def _uncounted(self, body: bytes, why: Unmetered) -> Deed:
        road, model = self._random.choice(_UNCOUNTED)
        return self._deed(road, body, Usage(model=model, unmetered=why), request={"model": model})

    # ── failures ──

    def _failed(self) -> Deed:
        road, _ = self._random.choice(_OCR)
        status = self._random.choice([500, 503, 422, 429, 400])
        return self._deed(road, _ocr("mistral-ocr-2512", 9), NOTHING, status=status)

    def _settled(self) -> Deed:
        return self._plain(outcome=Outcome.CLIENT_GONE, status=None)

    def _cancelled(self) -> Deed:
        usage = Usage(unmetered=Unmetered.CANCELLED)
        return self._deed("hasty", b"", usage, status=None, outcome=Outcome.CLIENT_GONE)

    def _broken(self) -> Deed:
        road, model = self._random.choice(_UNCOUNTED)
        body, usage = _ocr(model, 9), Usage(model=model, unmetered=Unmetered.BROKEN)
        how: dict[str, Any] = {"cut": body.index(b'"usage_info"'), "outcome": Outcome.UPSTREAM_FAILED, "error": "upstream_broke"}
        return self._deed(road, body, usage, request={"model": model}, **how)

    def _unreachable(self) -> Deed:
        how: dict[str, Any] = {"status": 502, "outcome": Outcome.UPSTREAM_FAILED, "error": "upstream_unreachable"}
        return self._deed("unreachable", b"", NOTHING, **how)

    def _stranger(self) -> Deed:
        return self._deed("mistral", b"", NOTHING, status=401, outcome=Outcome.REFUSED, error="invalid_key")

    def _sandboxed(self) -> Deed:
        return self._plain(sandbox=True)

    # ── batches ──

    def _batch(self) -> Deed:
        """The first download of a file; one in four breaks off within it."""
        road, model = self._random.choice(_BATCHES)
        file = _File(self._number, model, tuple(self._line(model, place) for place in range(self._random.randrange(3, 40))))
        self._files.append((road, file))
        return self._download(road, file, torn=self._random.random() < 0.25)

    def _batch_again(self) -> Deed:
        """What was downloaded before, as a file or within its job, whole or (a job that runs) its first lines; or elsewhere."""
        if not self._files:
            return self._batch()
        road, file = self._random.choice(self._files[-50:])
        if self._random.random() < 0.2 and road in {"mistral", "second"}:
            road = "second" if road == "mistral" else "mistral"  # the same ids in another account
        if self._random.random() < 0.5:
            return self._download(road, file)
        lines = file.lines if self._random.random() < 0.7 else file.lines[: len(file.lines) // 2]
        body = b'{"object": "batch", "outputs": [%b]}' % b", ".join(text.encode() for text, _ in lines)
        found = tuple(usage for _, usage in lines if usage is not None)
        return self._deed(road, body, _last(found), lines=found, at=f"/v1/batch/jobs/job-{file.number}", method="GET")

    def _download(self, road: str, file: _File, *, torn: bool = False) -> Deed:
        lines, how = file.lines, dict[str, Any]()
        body = b"".join(text.encode() + b"\n" for text, _ in lines)
        if torn:
            lines = lines[: self._random.randrange(1, len(lines))]
            cut = sum(len(text.encode()) + 1 for text, _ in lines) + 20  # in the middle of the next
            how = {"cut": cut, "outcome": Outcome.UPSTREAM_FAILED, "error": "upstream_broke"}
        found = tuple(usage for _, usage in lines if usage is not None)
        own = _last(found, Unmetered.BROKEN if torn else None)
        return self._deed(road, body, own, lines=found, at=f"/v1/files/file-{file.number}/content", method="GET", **how)

    def _line(self, model: str, place: int) -> tuple[str, Usage | None]:
        name, pages = f"batch-{self._number}-{place}", self._pages()
        if self._random.random() < 0.1:
            return json.dumps(
                {"id": name, "custom_id": str(place), "response": {"status_code": 500, "body": {}}, "error": "x"}
            ), None
        note: dict[str, Any] = {"document_annotation": "{}"} if self._random.random() < 0.2 else {}
        body = json.loads(_ocr(model, pages, **note))
        text = json.dumps({"id": name, "custom_id": str(place), "response": {"status_code": 200, "body": body}, "error": None})
        plain, annotated = (0, pages) if note else (pages, None)
        return text, Usage(plain, annotated, model, line=name, in_batch=True, custom_id=str(place))

    # ── what they have in common ──

    def _pages(self) -> int:
        return int(self._random.lognormvariate(1.2, 1)) + 1

    def _tokens(self) -> tuple[str, tuple[int, int, int]]:
        model = self._random.choice(["mistral-small-latest", "house-chat"])
        prompt = self._random.randrange(20_000)
        cached = self._random.randrange(prompt + 1) if self._random.random() < 0.3 else 0
        return model, (prompt, self._random.randrange(3000), cached)

    def _tier(self, told: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Return a tier that is billed apart, if any, and what tells of it beside the usage; else `told` gets it."""
        tier = self._random.choice(TIERS)
        beside = {"service_tier": tier} if self._random.random() < 0.5 else {}
        if not beside:
            told["service_tier"] = tier
        return None if tier == "default" else tier, beside

    def _deed(
        self,
        named: str,
        answer: bytes,
        usage: Usage,
        *,
        at: str = "/v1/ocr",
        method: str = "POST",
        request: Any = None,
        content_type: str = "application/json",
        status: int | None = 200,
        outcome: Outcome = Outcome.COMPLETED,
        **more: Any,
    ) -> Deed:
        road = ROADS[named]
        when = self._at or BEGINS.timestamp() + (self._number + self._random.random()) * DAYS * 86400 / self.count
        client = None if outcome == Outcome.REFUSED else self._random.choice(CLIENTS)
        sent = b"" if method == "GET" else json.dumps(request or {"document": {}}).encode()
        deed = Deed(
            self._number, when, road, client, self._random.choice(LABELS), method, road.path + at, sent, answer, content_type,
            status, outcome, more.pop("error", None), _aliased(usage, road), more.pop("lines", ()), more.pop("told", None),
            more.pop("cut", None), more.pop("sandbox", False), TEAMS[self._number % len(TEAMS)],
        )  # fmt: skip
        assert not more
        Bill(deed, self.tally, on_loopback=self._at is not None).book()
        return deed


_WISHES: Final = ("document_annotation_format", "bbox_annotation_format")


def _ocr(model: str, pages: int, *, counted: int | None = None, image_annotation: Any = None, **more: Any) -> bytes:
    """Return an OCR answer of so many pages; `counted` is the second counter."""
    info = {"pages_processed": pages, "doc_size_bytes": 1000 * pages}
    if counted is not None:
        info["pages_processed_annotation"] = counted
    image = {"id": "img-0.jpeg", "image_annotation": image_annotation}
    shown = [{"index": 0, "markdown": "# Lorem ipsum\n\n" + "dolor " * 20, "images": [image]}]
    return json.dumps({"pages": shown, "model": model, "document_annotation": None, **more, "usage_info": info}).encode()


def _chat(model: str, tokens: tuple[int, int, int], tier: str | None) -> Usage:
    tokens_in, tokens_out, cached = tokens
    return Usage(model=model, tokens_in=tokens_in, tokens_out=tokens_out, tokens_cached=cached or None, service_tier=tier)


def _told_tokens(tokens: tuple[int, int, int]) -> dict[str, Any]:
    """Return what a chat tells of tokens into the model, out of it, and of those that were cached."""
    told: dict[str, Any] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return told | ({"prompt_tokens_details": {"cached_tokens": tokens[2]}} if tokens[2] else {})


def _last(lines: tuple[Usage, ...], why: Unmetered | None = None) -> Usage:
    return Usage(model=lines[-1].model if lines else None, unmetered=why)


def _aliased(usage: Usage, road: Road) -> Usage:
    """Return the usage under the model's name that the route says, where it says one and something was read."""
    named = road.plan.model is not None and usage != NOTHING and usage.unmetered != Unmetered.CANCELLED
    return replace(usage, model=road.plan.model) if named else usage
