"""The files of a document: Markdown, HTML, text, JSON, its pictures and its annotation, made of the responses to its parts."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import FULL_DISK, DocumentError
from ..options import Format, RenderOptions
from .html_pages import END, HEAD, HtmlPages, TableMarks
from .joined import Joined, Taken
from .markdown_parser import library
from .page_markdown import PagePictures, clean, page_markdown, table_content
from .picture_names import link
from .plain_text import PlainText
from .response import OcrResponse, ResponsePage, parse_response
from .response_file import read_response
from .saved_pictures import SavedPictures


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were made, by their names relative to the folder, and what the responses say of the call.

    `pages_processed` are plain pages and `pages_annotated` others, as in the ledger: their sum is what was billed. `notes` are
    sentences for the user: what is not there that should be.
    """

    names: tuple[str, ...]
    pages_processed: int
    pages_annotated: int
    model: str | None
    has_annotation: bool
    notes: tuple[str, ...]


def check_libraries(options: RenderOptions) -> None:
    """Raise ClientError where a library is not installed that a format needs: before a page is billed."""
    if {Format.HTML, Format.TEXT}.intersection(options.formats):
        library()


def write_rendered(
    parts: Sequence[tuple[Path, Taken]], base: str, with_pictures: bool, options: RenderOptions, folder: Path
) -> Written:
    """Write the files of a document into a folder, named as they are to be called beside each other, and return what they are.

    `parts` are the files of the responses, in order, each with the document's page for each of its own, None where it has the
    document's numbers. `base` begins all names: `report` makes `report.md`, `report_images/img-0.jpeg`. Blocks. Raises
    DocumentError where a response is none, or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _Document(parts, base, with_pictures, options, folder).written()
    except OSError as error:
        why = f"Its output cannot be written: {error.strerror or error}."
        is_full = error.errno in FULL_DISK
        hint = "Make space, and run it once more." if is_full else ""
        raise DocumentError(why, hint, ends_run=is_full) from error


class _Document:
    """A document of which files are made."""

    def __init__(
        self, parts: Sequence[tuple[Path, Taken]], base: str, with_pictures: bool, options: RenderOptions, folder: Path
    ) -> None:
        self.joined = Joined([(read_response(path), taken) for path, taken in parts])
        self.response: OcrResponse = parse_response(self.joined.tree)
        self.base, self.folder, self.options = base, folder, options
        self.images = f"{base}_images"
        self.with_pictures = with_pictures
        self.pictures = SavedPictures(folder / self.images)

    def written(self) -> Written:
        """Write all files."""
        if self.with_pictures:
            self.pictures.save(self.response, self.joined.picture_text)
        else:
            self.pictures.pages = [PagePictures({image.id: [None] for image in page.images}) for page in self.response.pages]
        names = [self._write(form) for form in dict.fromkeys(self.options.formats)]
        annotation = self._annotation()
        processed, annotated = self.joined.billed
        return Written(
            (*names, *([annotation] if annotation else []), *(f"{self.images}/{name}" for name in self.pictures.names)),
            processed,
            annotated,
            self.response.model,
            annotation is not None,
            (*self.pictures.notes(), *self._other_notes()),
        )

    def _write(self, form: Format) -> str:
        name = f"{self.base}.{form}"
        if form is Format.JSON:
            self._write_json(self.folder / name)
        else:
            with (self.folder / name).open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                file.writelines(_TEXTS[form](self))
        return name

    def _write_json(self, path: Path) -> None:
        if self.joined.as_it_came is not None:
            shutil.copyfile(self.joined.as_it_came, path)
            return
        with path.open("wb") as file:
            self.joined.write_json(self.joined.tree, file)

    def _annotation(self) -> str | None:
        """Write the annotation of the document, if it has one: the JSON in the text of the response, as it came."""
        found = self.response.annotation
        if found is None:
            return None
        name = f"{self.base}.annotation.json"
        with (self.folder / name).open("wb") as file:
            if isinstance(found, str):
                file.write(clean(found).rstrip("\n").encode() + b"\n")
            else:
                self.joined.write_json(found, file)
        return name

    def _other_notes(self) -> Iterator[str]:
        if not self.response.pages:
            yield "the response has no pages"
        annotation = self.response.annotation
        if isinstance(annotation, str):
            try:
                json.loads(annotation)
            except (ValueError, RecursionError):
                yield "the annotation is no JSON"

    def link(self, name: str) -> str:
        """Return the link to a picture."""
        return link(self.images, name)

    def pages(self) -> Iterator[tuple[str, ResponsePage, PagePictures]]:
        """Yield the pages, each with the separator before it: empty for the first."""
        for at, (page, pictures) in enumerate(zip(self.response.pages, self.pictures.pages, strict=True)):
            yield self.options.separator.replace("{page}", str(page.index)) if at else "", page, pictures


def _markdown(document: _Document) -> Iterator[str]:
    for separator, page, pictures in document.pages():
        yield separator
        yield page_markdown(page, pictures, document.link, table_content).strip("\n")
    yield "\n"


def _html(document: _Document) -> Iterator[str]:
    made = HtmlPages(frozenset(map(document.link, document.pictures.names)))
    yield HEAD.format(title=html.escape(clean(document.base)))
    for separator, page, pictures in document.pages():
        tables = TableMarks()
        markdown = page_markdown(page, pictures, document.link, tables.mark)
        sources = _sources(document, pictures)
        yield made.separator(separator) + clean(made.page(markdown, tables, sources))  # of what stands in tables, too
    yield END


def _sources(document: _Document, pictures: PagePictures) -> dict[str, str]:
    """Return the link for each `src` of a picture in a table of a page: its id, or its link."""
    links = {document.link(name): document.link(name) for names in pictures.names.values() for name in names if name}
    return links | {id: document.link(names[0]) for id, names in pictures.names.items() if names[0]}


def _text(document: _Document) -> Iterator[str]:
    made = PlainText()
    written = False
    for separator, page, pictures in document.pages():
        tables = TableMarks()
        between = made.page(separator, tables)
        words = clean(made.page(page_markdown(page, pictures, lambda _: "", tables.mark), tables))
        for each in (between, words):
            if each:
                yield f"\n\n{each}" if written else each
                written = True
    yield "\n"


_TEXTS: Final[dict[Format, Callable[[_Document], Iterator[str]]]] = {
    Format.MARKDOWN: _markdown,
    Format.HTML: _html,
    Format.TEXT: _text,
}
