"""The pictures of a document, decoded into its folder of pictures, one at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from .page_markdown import PagePictures
from .picture_names import PictureNames
from .pictures import decode_into
from .placeholders import placeholders
from .response import OcrResponse, ResponsePage

_UNNAMED: Final = ".picture"  # no name of ours begins with a dot


class SavedPictures:
    """The pictures that are in `folder` now, and what became of the others.

    `names` are the names of files, in the response's order; `pages` has those of each page.
    """

    __slots__ = ("_folder", "_new", "broken", "missing", "names", "pages")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new = PictureNames()
        self.names: list[str] = []
        self.pages: list[PagePictures] = []
        self.broken = 0
        self.missing = 0

    def save(self, response: OcrResponse, content: Callable[[str], Iterable[bytes]]) -> None:
        """Write all pictures. `content` returns the base64 of one. What was in the folder goes. Raises OSError."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.pages = [self._page(page, content) for page in response.pages]
        (self._folder / _UNNAMED).unlink(missing_ok=True)
        if not self.names and self._folder.exists():
            self._folder.rmdir()

    def notes(self) -> tuple[str, ...]:
        """Return what a user is to know of pictures that are not there."""
        said = ((self.broken, "could not be decoded"), (self.missing, "missing in the response"))
        return tuple(f"{number} {'picture' if number == 1 else 'pictures'} {what}" for number, what in said if number)

    def _page(self, page: ResponsePage, content: Callable[[str], Iterable[bytes]]) -> PagePictures:
        names: dict[str, list[str | None]] = {}
        for image in page.images:
            name = None if image.content is None else self._saved(image.id, content(image.content))
            names.setdefault(image.id, []).append(name)
            self.missing += image.content is None
        self.missing += sum(each.is_picture and each.id not in names for each in placeholders(page.markdown, names, ()))
        return PagePictures(names)

    def _saved(self, id: str, text: Iterable[bytes]) -> str | None:
        """Write one picture, and return its name; None where it is no picture."""
        self._folder.mkdir(exist_ok=True)
        unnamed = self._folder / _UNNAMED
        ends = decode_into(unnamed, text)
        if ends is None:
            self.broken += 1
            return None
        name = self._new.new(id, ends)
        unnamed.replace(self._folder / name)
        self.names.append(name)
        return name
