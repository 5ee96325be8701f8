"""The settings of a run, which hold for all its documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..options import OcrOptions, RenderOptions, fingerprint
from ..pdf.parts import Limits
from .results import PageCost

UPLOAD_ABOVE: Final = 10_000_000
"""Bytes: a larger document is uploaded as a file, where the API stores files; a smaller one travels in the request."""
RESELLERS: Final = Limits(max_bytes=30_000_000, max_pages=30)
"""The bounds of Mistral's OCR on Azure AI Foundry and on Vertex."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What is asked, what is made of it, and where it goes.

    `out` is the folder of all outputs, None: each is beside its document. `to_stdout`: each document has one output, which is
    returned, and no file is written. `overwrite`: finished documents are done once more, and files of others are replaced.
    `is_sandbox`: the texts are not those of a provider.
    """

    asked: OcrOptions
    rendered: RenderOptions
    page_cost: PageCost
    out: Path | None = None
    to_stdout: bool = False
    overwrite: bool = False
    workers: int = 4
    is_sandbox: bool = False
    limits: Limits = field(default_factory=Limits)
    upload_above: int = UPLOAD_ABOVE

    @property
    def fingerprint(self) -> str:
        """What tells these options apart from others, for the manifest."""
        return fingerprint(self.asked, self.rendered) + ("-sandbox" if self.is_sandbox else "")

    @property
    def paid_fingerprint(self) -> str:
        """What responses depend on: those that were paid for are used again where it is the same, whatever is made of them."""
        bounds = f"{self.limits.max_bytes}-{self.limits.max_pages}"
        return f"{fingerprint(self.asked, RenderOptions())}-{bounds}" + ("-sandbox" if self.is_sandbox else "")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The ends of the names of a document's outputs."""
        return (*(f".{each}" for each in self.rendered.formats), *((".annotation.json",) if self.is_annotated else ()))

    @property
    def is_annotated(self) -> bool:
        """Whether the annotated price applies to every page: the request asks for an annotation."""
        asked = {"document_annotation_format": self.asked.annotation, **self.asked.more}
        return any(asked.get(name) is not None for name in ("document_annotation_format", "bbox_annotation_format"))

    def cost_nano(self, model: str | None, pages: int, pages_annotated: int, *, in_batch: bool = False) -> int | None:
        """Return the price of pages in 10⁻⁹ USD, None where it is not known; without `model` by the one that is asked for."""
        if not pages and not pages_annotated:
            return 0
        if self.is_annotated:  # Mistral itself reports annotated pages as plain ones
            pages, pages_annotated = 0, pages + pages_annotated
        return self.page_cost(model or self.asked.model, pages, pages_annotated, in_batch)
