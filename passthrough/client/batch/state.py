"""The state of a batch job: what was ordered, how far it is, and what lies at the provider because of it. It holds no key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Final

from ..documents import Document, FileType, Kind
from ..options import Format, OcrOptions, RenderOptions
from ..output.places import Place
from ..page_ranges import PageRanges

_VERSION: Final = 1


class Phase(StrEnum):
    """How far a job is. Each is on disk before what it names happens.

    PREPARING: documents are uploaded, nothing is ordered. ORDERING: the order is on its way, and may have arrived. ORDERED: the
    provider named the job. STORED: every result is on disk, and what lies at the provider can go.
    """

    PREPARING = "preparing"
    ORDERING = "ordering"
    ORDERED = "ordered"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file at the provider: its name, which no other has, and its id once that is known."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class OrderedPart:
    """A part of a document that is a line of the job.

    `number` is its place among the parts of its document. `taken` are the document's pages that it consists of, where it was cut.
    """

    number: int
    custom_id: str
    taken: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class OrderedDocument:
    """A document of the job: what it was when it was ordered, and where its outputs go.

    `parts` are all of them, also those whose responses an earlier run had paid for.
    """

    document: Document
    place: Place
    sha256: str | None
    pages: int | None
    parts: tuple[OrderedPart, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What does not change once it is ordered. `token` is drawn for this job, and stands in its metadata."""

    token: str
    base_url: str
    asked: OcrOptions
    rendered: RenderOptions
    documents: tuple[OrderedDocument, ...]

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(
            {
                "version": _VERSION,
                "token": self.token,
                "base_url": self.base_url,
                "asked": _asked_value(self.asked),
                "rendered": {"formats": self.rendered.formats, "separator": self.rendered.separator},
                "documents": [_ordered_value(each) for each in self.documents],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> BatchOrder:
        """Return what `to_json` wrote. Raises ValueError for anything else."""
        with _Reading():
            value = _versioned(text)
            return cls(
                value["token"],
                value["base_url"],
                _asked(value["asked"]),
                RenderOptions(tuple(Format(each) for each in value["rendered"]["formats"]), value["rendered"]["separator"]),
                tuple(_ordered(each) for each in value["documents"]),
            )


@dataclass(frozen=True, slots=True)
class BatchState:
    """What changes while a job is under way.

    `uploads` are documents and files of lines; `lines` are the ids of the latter, in their order. `job` and `results` are the
    provider's ids, once they are known.
    """

    phase: Phase = Phase.PREPARING
    uploads: tuple[Upload, ...] = ()
    lines: tuple[str, ...] = ()
    job: str | None = None
    results: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(
            {
                "version": _VERSION,
                "phase": self.phase,
                "uploads": [{"name": each.name, "id": each.id} for each in self.uploads],
                "lines": self.lines,
                "job": self.job,
                "results": self.results,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> BatchState:
        """Return what `to_json` wrote. Raises ValueError for anything else."""
        with _Reading():
            value = _versioned(text)
            uploads = tuple(Upload(each["name"], each["id"]) for each in value["uploads"])
            return cls(Phase(value["phase"]), uploads, tuple(value["lines"]), value["job"], tuple(value["results"]))


class _Reading:
    """Turns what a value of another shape raises into ValueError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (KeyError, TypeError, AttributeError)):
            raise ValueError(f"It is not as this program writes it: {error!r}.") from error


def _versioned(text: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(text)
    if value["version"] != _VERSION:
        raise ValueError(f"It is of version {value['version']}, and this program reads {_VERSION}.")
    return value


def _asked_value(asked: OcrOptions) -> dict[str, Any]:
    value: dict[str, Any] = {field.name: getattr(asked, field.name) for field in fields(asked)}
    return {**value, "pages": None if asked.pages is None else str(asked.pages), "more": dict(asked.more)}


def _asked(value: Mapping[str, Any]) -> OcrOptions:
    return OcrOptions(**{**value, "pages": None if value["pages"] is None else PageRanges.parse(value["pages"])})


def _ordered_value(ordered: OrderedDocument) -> dict[str, Any]:
    document, place = ordered.document, ordered.place
    kind = document.type
    return {
        "name": document.name,
        "relative": str(document.relative),
        "path": None if document.path is None else str(document.path.absolute()),
        "url": document.url,
        "type": None if kind is None else {"mime": kind.mime, "kind": kind.kind, "suffix": kind.suffix},
        "folder": str(place.folder.absolute()),
        "base": place.base,
        "key": place.key,
        "sha256": ordered.sha256,
        "pages": ordered.pages,
        "parts": [{"number": part.number, "custom_id": part.custom_id, "taken": part.taken} for part in ordered.parts],
    }


def _ordered(value: Mapping[str, Any]) -> OrderedDocument:
    kind = value["type"]
    document = Document(
        value["name"],
        PurePath(value["relative"]),
        None if value["path"] is None else Path(value["path"]),
        value["url"],
        None if kind is None else FileType(kind["mime"], Kind(kind["kind"]), kind["suffix"]),
    )
    parts = tuple(
        OrderedPart(each["number"], each["custom_id"], None if each["taken"] is None else tuple(each["taken"]))
        for each in value["parts"]
    )
    place = Place(Path(value["folder"]), value["base"], value["key"])
    return OrderedDocument(document, place, value["sha256"], value["pages"], parts)
