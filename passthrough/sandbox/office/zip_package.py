"""Opens an Office document: a ZIP archive of parts (ECMA-376 part 2), read within bounds, whatever its directory claims."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ..errors import corrupted, other_archive
from ..job_thread import IsCancelled, JobCancelled
from .xml_events import Attributes, XmlReader, root_of

_SIGNATURE: Final = b"PK\x03\x04"
_DIRECTORY_ENTRY: Final = b"PK\x01\x02"
_MAX_PARTS: Final = 20_000
_MAX_XML_BYTES: Final = 64_000_000
_MAX_PICTURE_BYTES: Final = 50_000_000
_PIECE: Final = 1 << 16
_MAX_RATIO: Final = 200  # XML of Office shrinks to a tenth, seldom to a fiftieth; a bomb to a thousandth
_ANY_RATIO_BYTES: Final = 1_000_000
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the two that a package may use; others unpack without bounds
_ENCRYPTED: Final = 1
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Relation:
    """What a part refers to: `kind` is the last word of the relation's type, `part` the name of the part that is meant."""

    kind: str
    part: str


class Package:
    """The parts of one document. All its XML together, and all its pictures, unpack to a bounded size: a bomb is refused.

    Every method raises Rejection for what is broken, encrypted or too large, and JobCancelled once `is_cancelled` returns True.
    """

    def __init__(self, document: bytes, is_cancelled: IsCancelled) -> None:
        # A directory entry needs 46 bytes and makes an object ten times as large: they are counted before it is read.
        if document.count(_DIRECTORY_ENTRY) > _MAX_PARTS:
            raise corrupted()
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(document))
        except _BROKEN:
            raise corrupted() from None
        self._names = {entry.filename.lower(): entry for entry in self._zip.infolist()}
        self._is_cancelled = is_cancelled
        self._reader = XmlReader()
        self._xml_left = _MAX_XML_BYTES
        self._pictures_left = _MAX_PICTURE_BYTES

    def read(
        self,
        part: str,
        begin: Callable[[str, Attributes], None],
        end: Callable[[str], None] = lambda _: None,
        text: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Read a part that is XML, as XmlReader does."""
        self._reader.read(self._xml(part), begin, end, text)

    def root_of(self, part: str) -> str:
        """Return the name of a part's first element."""
        return root_of(self._xml(part))

    def _xml(self, part: str) -> Iterator[bytes]:
        entry = self._names.get(part.lower())
        if entry is None or entry.file_size > max(_ANY_RATIO_BYTES, _MAX_RATIO * entry.compress_size):
            raise corrupted()
        for piece in self._pieces(part):
            self._xml_left -= len(piece)
            if self._xml_left < 0:
                raise corrupted()
            yield piece

    def picture(self, part: str) -> bytes:
        """Return the bytes of a picture: none if it is not there, or if the pictures together would become too large."""
        entry = self._names.get(part.lower())
        if entry is None or entry.file_size > self._pictures_left:
            return b""
        self._pictures_left -= entry.file_size  # no more than that is unpacked, whatever follows
        return b"".join(self._pieces(part))

    def relations(self, part: str) -> dict[str, Relation]:
        """Return the relations of a part by their ids; those of the package for the part ''."""
        folder, name = posixpath.split(part)
        source = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, Relation] = {}

        def begin(element: str, attributes: Attributes) -> None:
            if element.endswith(":Relationship") and attributes.get("TargetMode") != "External":
                target = unquote(attributes.get("Target", ""))
                path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                found[attributes.get("Id", "")] = Relation(attributes.get("Type", "").rpartition("/")[2], path)

        if source.lower() in self._names:
            self.read(source, begin)
        return found

    def main_part(self) -> str:
        """Return the name of the part that the document is: of a DOCX its text, of a PPTX the list of its slides."""
        for relation in self.relations("").values():
            if relation.kind == "officeDocument":
                return relation.part
        raise other_archive()  # an EPUB, an ODT, or just an archive

    def _pieces(self, part: str) -> Iterator[bytes]:
        entry = self._names.get(part.lower())
        if entry is None or entry.compress_type not in _METHODS or entry.flag_bits & _ENCRYPTED:
            raise corrupted()
        try:
            with self._zip.open(entry) as opened:
                while piece := opened.read(_PIECE):
                    if self._is_cancelled():
                        raise JobCancelled
                    yield piece
        except _BROKEN:
            raise corrupted() from None


def is_zip(document: bytes) -> bool:
    """Tell whether a document is a ZIP archive, as Office documents are."""
    return document.startswith(_SIGNATURE)
