"""A page as people send it (headings, a table, a picture), what an API responds to it, and both beside each other for docs/.

`python -m tests.harness.sample_document FILE.png` makes the picture of docs/documents.md, with the program and Chromium.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pypdfium2
from PIL import Image, ImageDraw
from reportlab.lib import colors
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Image as Drawing
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table

from tests.harness.browser import browser
from tests.harness.ocr_results import page, picture, response
from tests.harness.process import command

PAGE: Final = (420, 440)
"""Its size in points."""
TITLE: Final = "Waterworks of Lindau"
INTRODUCTION: Final = "The year was dry. Between May and September the springs gave a quarter less than in the year before."
TABLE: Final = (("Source", "2024 (m³)", "2025 (m³)"), ("Springs", "412,000", "309,000"), ("Wells", "188,500", "271,200"))
CAPTION: Final = "Levels of the two wells, in metres below ground."
CLOSING: Final = "The wells made up for most of it, and their levels have not recovered yet."


def chart() -> bytes:
    """Return a chart as PNG."""
    shown = Image.new("RGB", (640, 240), "white")
    draw = ImageDraw.Draw(shown)
    for line in range(5):
        draw.line((40, 20 + 45 * line, 620, 20 + 45 * line), fill="#dddddd")
    for month in range(12):
        for well, colour in enumerate(("#2b6cb0", "#90cdf4")):
            top = 40 + abs(month - 8 + well * 2) * 14
            left = 52 + month * 47 + well * 17
            draw.rectangle((left, top, left + 14, 200), fill=colour)
    out = io.BytesIO()
    shown.save(out, "PNG")
    return out.getvalue()


def sample_pdf() -> bytes:
    """Return the page as a PDF."""
    out, styles = io.BytesIO(), getSampleStyleSheet()
    grid = Table(
        [list(row) for row in TABLE], style=[("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("ALIGN", (1, 0), (-1, -1), "RIGHT")]
    )
    parts = [
        *(Paragraph(TITLE, styles["Title"]), Paragraph(INTRODUCTION, styles["BodyText"]), Spacer(0, 10)),
        *(Paragraph("Yield", styles["Heading2"]), grid, Paragraph("Wells", styles["Heading2"])),
        *(Drawing(io.BytesIO(chart()), 300, 112), Paragraph(f"<i>{CAPTION}</i>", styles["BodyText"])),
        Paragraph(CLOSING, styles["BodyText"]),
    ]
    SimpleDocTemplate(out, pagesize=PAGE, topMargin=30, bottomMargin=24, leftMargin=48, rightMargin=48, invariant=1).build(parts)
    return out.getvalue()


def sample_response() -> bytes:
    """Return what an API of Mistral's shape responds to that page."""
    rows = [f"| {' | '.join(row)} |" for row in TABLE]
    table = "\n".join([rows[0], "| --- | --: | --: |", *rows[1:]])
    placed = "![img-0.jpeg](img-0.jpeg)"  # an API's names say jpeg whatever the bytes are
    text = "\n\n".join([f"# {TITLE}", INTRODUCTION, "## Yield", table, "## Wells", placed, f"*{CAPTION}*", CLOSING])
    return response(page(0, text) | {"images": [picture("img-0.jpeg", chart())]})


def _first_page(document: bytes) -> bytes:
    with pypdfium2.PdfDocument(document) as opened:
        bitmap = opened[0].render(scale=1.25)
        out = io.BytesIO()
        bitmap.to_pil().save(out, "PNG")
        return out.getvalue()


async def _beside_each_other(folder: Path) -> bytes:
    """Return a picture of the page, of the Markdown that the program makes of the response, and of that in a viewer."""
    (folder / "report.json").write_bytes(sample_response())
    code, _, err = await command(folder, "ocr", "--from", "report.json", "--format", "md", "--format", "html")
    assert code == 0, err
    body = re.search(r"<body>(.*)</body>", (folder / "report.html").read_text("utf-8"), re.DOTALL)
    assert body is not None
    shown = base64.b64encode(_first_page(sample_pdf())).decode()
    style = (
        "body{margin:0;padding:16px;display:flex;gap:20px;background:#e9edf2;font:14px/1.45 sans-serif;align-items:flex-start}"
        "figure{margin:0;flex:1}figcaption{font:600 13px monospace;margin:0 0 6px}article,figure>img{background:#fff;width:100%;"
        "box-sizing:border-box;border:1px solid #c5ccd6}article{padding:18px 22px}article img{max-width:100%}"
        "table{border-collapse:collapse;width:100%}td,th{border:1px solid #bbb;padding:3px 8px}"
    )
    pdf, viewed = "<figcaption>report.pdf</figcaption>", "<figcaption>report.md, in a viewer</figcaption>"
    (folder / "both.html").write_text(
        f"<!doctype html><meta charset=utf-8><style>{style}</style>"
        f"<figure>{pdf}<img src='data:image/png;base64,{shown}'></figure>"
        f"<figure>{viewed}<article>{body[1]}</article></figure>",
        "utf-8",
    )
    async with browser() as tab:
        await tab.size(1080, 400)
        await tab.open((folder / "both.html").as_uri())
        return await tab.shot()


def main() -> None:
    """Write the picture into the file that the command line names."""
    with TemporaryDirectory() as folder:
        shot = asyncio.run(_beside_each_other(Path(folder)))
    with Image.open(io.BytesIO(shot)) as opened:
        opened.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
