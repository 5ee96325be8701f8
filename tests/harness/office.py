"""DOCX and PPTX for tests, made on the spot out of the parts that Word and PowerPoint write."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"
REFERENCE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
NAMESPACES = (
    f'xmlns:w="{WORD}" xmlns:a="{DRAWING}" xmlns:p="{SLIDE}" xmlns:r="{REFERENCE}"'
    ' xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
    ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
)


def archive(parts: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive of these parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name, content in parts.items():
            opened.writestr(name, content)
    return out.getvalue()


def relations(**targets: str) -> str:
    """Return relations: an id for each, and `kind target` (`image media/1.png`)."""
    listed = "".join(
        f'<Relationship Id="{name}" Type="{REFERENCE}/{said.partition(" ")[0]}" Target="{said.partition(" ")[2]}"/>'
        for name, said in targets.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="{_RELATIONS}">{listed}</Relationships>'


def docx(body: str, *, pictures: Mapping[str, bytes] | None = None, namespaces: str = NAMESPACES) -> bytes:
    """Return a DOCX with this body (`<w:p>…`); `pictures` are files by their names, which are their relations' ids as well."""
    found = pictures or {}
    return archive(
        {
            "_rels/.rels": relations(rId1="officeDocument word/document.xml"),
            "word/document.xml": f'<?xml version="1.0"?><w:document {namespaces}><w:body>{body}</w:body></w:document>',
            "word/_rels/document.xml.rels": relations(**{name.partition(".")[0]: f"image media/{name}" for name in found}),
            **{f"word/media/{name}": content for name, content in found.items()},
        }
    )


def paragraph(text: str, properties: str = "", more: str = "") -> str:
    """Return a paragraph of a DOCX: its text, what its properties hold, and more runs behind the text."""
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r>{more}</w:p>"


def pptx(*slides: str, pictures: Mapping[str, bytes] | None = None, size: str = '<p:sldSz cx="9144000" cy="6858000"/>') -> bytes:
    """Return a PPTX with these slides (`<p:sp>…`); the archive has them in the reverse of the order in which they are shown."""
    found = pictures or {}
    ids = "".join(f'<p:sldId id="{256 + at}" r:id="slide{at}"/>' for at in range(len(slides)))
    order = relations(**{f"slide{at}": f"slide slides/slide{at}.xml" for at in range(len(slides))})
    parts: dict[str, str | bytes] = {}
    for at, slide in reversed(list(enumerate(slides))):
        parts[f"ppt/slides/slide{at}.xml"] = f"<p:sld {NAMESPACES}><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"
        images = {name.partition(".")[0]: f"image ../media/{name}" for name in found}
        parts[f"ppt/slides/_rels/slide{at}.xml.rels"] = relations(**images)
    return archive(
        {
            "_rels/.rels": relations(rId1="officeDocument /ppt/presentation.xml"),
            **parts,
            "ppt/presentation.xml": f"<p:presentation {NAMESPACES}><p:sldIdLst>{ids}</p:sldIdLst>{size}</p:presentation>",
            "ppt/_rels/presentation.xml.rels": order,
            **{f"ppt/media/{name}": content for name, content in found.items()},
        }
    )


def shape(*paragraphs: str, title: bool = False) -> str:
    """Return a shape of a slide with these paragraphs."""
    text = "".join(f"<a:p><a:r><a:t>{each}</a:t></a:r></a:p>" for each in paragraphs)
    placeholder = '<p:ph type="title"/>' if title else "<p:ph/>"
    return f"<p:sp><p:nvPr>{placeholder}</p:nvPr><p:txBody>{text}</p:txBody></p:sp>"
