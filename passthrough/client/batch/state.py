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
from ..output.place import Place
from ..page_ranges import PageRanges
from ..pdf.parts import Limits

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
    """A part of a document, and the id of its line: None where the response of an earlier run is used.

    `taken` are the document's pages that it consists of, where it was cut.
    """

    custom_id: str | None
    taken: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class OrderedDocument:
    """A document of the job: what it was when it was ordered, and where its outputs go.

    `parts` are all of its parts, in order.
    """

    document: Document
    place: Place
    sha256: str | None
    pages: int | None
    parts: tuple[OrderedPart, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What does not change once it is ordered. `token` is drawn for this job, and stands in its metadata.

    `out` is the folder of all outputs, None where they are beside the inputs; `overwrite`: they replace what is there.
    """

    token: str
    asked: OcrOptions
    rendered: RenderOptions
    limits: Limits
    out: Path | None
    overwrite: bool
    documents: tuple[OrderedDocument, ...]

    def to_value(self) -> dict[str, Any]:
        """Return it as a value of JSON."""
        return {
            "version": _VERSION,
            "token": self.token,
            "asked": _asked_value(self.asked),
            "rendered": {"formats": self.rendered.formats, "separator": self.rendered.separator},
            "limits": [self.limits.max_bytes, self.limits.max_pages],
            "out": None if self.out is None else str(self.out.absolute()),
            "overwrite": self.overwrite,
            "documents": [_ordered_value(each) for each in self.documents],
        }

    @classmethod
    def from_json(cls, text: str) -> BatchOrder:
        """Return what `to_value` made, from its JSON. Raises ValueError for anything else."""
        with _Reading():
            value = _versioned(text)
            return cls(
                value["token"],
                _asked(value["asked"]),
                RenderOptions(tuple(Format(each) for each in value["rendered"]["formats"]), value["rendered"]["separator"]),
                Limits(*value["limits"]),
                None if value["out"] is None else Path(value["out"]),
                bool(value["overwrite"]),
                tuple(_ordered(each) for each in value["documents"]),
            )


@dataclass(frozen=True, slots=True)
class BatchState:
    """What changes while a job is under way.

    `base_url` is that of the API, as it is shown. `uploads` are documents and files of lines, `lines` the ids of the latter.
    `job` and `results` are the provider's ids, once they are known.
    """

    base_url: str
    phase: Phase = Phase.PREPARING
    uploads: tuple[Upload, ...] = ()
    lines: tuple[str, ...] = ()
    job: str | None = None
    results: tuple[str, ...] = ()

    def to_value(self) -> dict[str, Any]:
        """Return it as a value of JSON."""
        return {
            "version": _VERSION,
            "base_url": self.base_url,
            "phase": self.phase,
            "uploads": [{"name": each.name, "id": each.id} for each in self.uploads],
            "lines": self.lines,
            "job": self.job,
            "results": self.results,
        }

    @classmethod
    def from_json(cls, text: str) -> BatchState:
        """Return what `to_value` made, from its JSON. Raises ValueError for anything else."""
        with _Reading():
            value = _versioned(text)
            uploads = tuple(Upload(each["name"], each["id"]) for each in value["uploads"])
            return cls(
                value["base_url"], Phase(value["phase"]), uploads, tuple(value["lines"]), value["job"], tuple(value["results"])
            )


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
        "parts": [{"custom_id": part.custom_id, "taken": part.taken} for part in ordered.parts],
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
        OrderedPart(each["custom_id"], None if each["taken"] is None else tuple(each["taken"])) for each in value["parts"]
    )
    place = Place(Path(value["folder"]), value["base"], value["key"])
    return OrderedDocument(document, place, value["sha256"], value["pages"], parts)
