"""What the sandbox reads off odd documents, and the thread it does so on."""

from __future__ import annotations

import asyncio
import io
import resource
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from aiohttp import ClientSession, FormData
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from passthrough.sandbox import Running, start
from passthrough.sandbox.documents import Box, Page, ReadOptions, read
from passthrough.sandbox.errors import Rejection
from passthrough.sandbox.job_thread import IsCancelled, JobCancelled, JobThread
from tests.harness.documents import jpeg, pdf, png, words_of


def never() -> bool:
    """Tell that the caller still waits for the response."""
    return False


def pages_of(document: bytes) -> list[Page]:
    """Read all pages, with their pictures' bytes."""
    return read(document, ReadOptions(range, with_content=True), never)


def drawn(draw: Callable[[Canvas], object], size: tuple[float, float] = (720, 360)) -> bytes:
    """Return a PDF of one page that `draw` has drawn upon: 10 by 5 inches, 2000 by 1000 pixels."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=size, invariant=1)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def picture(canvas: Canvas, left: float = 72, bottom: float = 72) -> None:
    """Draw a picture of 2 by 1 inches."""
    canvas.drawImage(ImageReader(io.BytesIO(png())), left, bottom, width=144, height=72)


def in_a_form(canvas: Canvas) -> None:
    """Draw the picture within a form that is itself moved by an inch each way."""
    canvas.beginForm("form", 0, 0, 720, 360)
    picture(canvas)
    canvas.endForm()
    canvas.translate(72, 72)
    canvas.doForm("form")


def turned(canvas: Canvas) -> None:
    """Draw the picture on a page that is shown turned by a right angle (360 by 720 points before that)."""
    canvas.setPageRotation(90)
    picture(canvas)


def cropped(canvas: Canvas) -> None:
    """Draw the picture on a page of which an inch is cut off at the left and at the bottom."""
    canvas.setCropBox((72, 72, 720, 360))
    picture(canvas, 144, 144)


PLACES: dict[str, tuple[Callable[[Canvas], object], tuple[int, int], list[Box]]] = {
    "plain": (picture, (2000, 1000), [(200, 600, 600, 800)]),
    "in a form": (in_a_form, (2000, 1000), [(400, 400, 800, 600)]),
    "turned": (turned, (2000, 1000), [(200, 200, 400, 600)]),
    "cropped": (cropped, (1800, 800), [(200, 400, 600, 600)]),
    "half outside": (lambda canvas: picture(canvas, -72, -36), (2000, 1000), [(0, 900, 200, 1000)]),
    "outside": (lambda canvas: picture(canvas, 1000, 1000), (2000, 1000), []),
}


@pytest.mark.parametrize(("draw", "size", "boxes"), PLACES.values(), ids=PLACES)
def test_a_picture_is_placed_as_the_page_is_shown(
    draw: Callable[[Canvas], object], size: tuple[int, int], boxes: list[Box]
) -> None:
    """Forms, rotation and crop box are reckoned with; what cannot be seen is not there."""
    (page,) = pages_of(drawn(draw))
    assert (size, boxes) == ((page.width, page.height), [one.box for one in page.pictures])


def test_a_picture_comes_as_a_jpeg_of_its_own_size() -> None:
    """The picture's own pixels are sent, not those of the page."""
    (page,) = pages_of(drawn(picture))
    with Image.open(io.BytesIO(page.pictures[0].content)) as opened:
        assert ("JPEG", (200, 100)) == (opened.format, opened.size)


def test_a_picture_beyond_its_bound_is_named_only() -> None:
    """A picture that would take too much memory is placed and named, without its bytes."""
    out = io.BytesIO()
    Image.new("1", (8000, 6000)).save(out, "PNG")
    (page,) = pages_of(pdf(1, picture=out.getvalue()))
    assert [("img-0.jpeg", b"")] == [(one.id, one.content) for one in page.pictures]


def test_an_image_that_claims_too_many_pixels_is_refused() -> None:
    """A few bytes that claim to be a gigantic image are refused by their head."""
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(Rejection) as refused:
        pages_of(bomb.getvalue())
    assert "Image has too many pixels." == refused.value.body["message"]


def test_lines_and_letters_survive() -> None:
    """Lines end in line feeds, letters outside ASCII come back, a page without text is empty."""

    def lines(canvas: Canvas) -> None:
        canvas.drawString(72, 300, "Größe: 5 µm")
        canvas.drawString(72, 280, "Preis: 3 € – *netto*")

    assert ["Größe: 5 µm\nPreis: 3 € – *netto*", ""] == [
        pages_of(drawn(draw))[0].markdown for draw in (lines, lambda canvas: None)
    ]


def test_a_page_of_any_size_is_measured() -> None:
    """Sizes are only reported, not drawn: the largest page needs no memory."""
    for inches in (0.1, 200):
        (page,) = pages_of(drawn(lambda canvas: None, (inches * 72, inches * 72)))
        assert (inches * 200, inches * 200) == (page.width, page.height)


def test_a_pdf_may_begin_late() -> None:
    """Bytes before the header, as mail gateways leave them, do not matter within the first kilobyte."""
    assert [words_of(0)] == [page.markdown for page in pages_of(b"\r\n\r\n" + pdf(1))]
    with pytest.raises(Rejection):
        pages_of(bytes(2000) + pdf(1))


@pytest.mark.parametrize("document", [pdf(1, picture=png()), png(), jpeg()], ids=["pdf", "png", "jpeg"])
def test_no_damage_does_harm(document: bytes) -> None:
    """A document cut off anywhere, or with any byte turned, is read or refused, and nothing else happens."""
    step = max(1, len(document) // 150)
    for at in range(0, len(document), step):
        for damaged in (document[:at], document[:at] + bytes([document[at] ^ 0xFF]) + document[at + 1 :]):
            with suppress(Rejection):
                pages_of(damaged)


def test_reading_stops_when_nobody_waits() -> None:
    """Between two pages the reader checks whether its caller still waits for the response."""
    asked: list[bool] = []

    def is_cancelled() -> bool:
        asked.append(len(asked) >= 3)
        return asked[-1]

    with pytest.raises(JobCancelled):
        read(pdf(10), ReadOptions(range), is_cancelled)
    assert [False, False, False, True] == asked


async def test_a_job_learns_that_it_was_left() -> None:
    """Cancelling who waits tells the running job, drops those that have not begun, and keeps the thread for the next."""
    thread, running, ended = JobThread("test"), threading.Event(), threading.Event()
    begun: list[str] = []

    def job(is_cancelled: IsCancelled) -> None:
        begun.append("first")
        running.set()
        while not is_cancelled():
            ended.wait(0.001)
        ended.set()

    first = asyncio.create_task(thread.run(job))
    await asyncio.to_thread(running.wait)
    second = asyncio.create_task(thread.run(lambda _: begun.append("second")))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
    assert [asyncio.CancelledError] * 2 == [type(end) for end in await asyncio.gather(second, first, return_exceptions=True)]
    assert await thread.run(lambda _: ended.is_set())
    assert ["first"] == begun
    await thread.close()
    await thread.close()


async def test_closing_ends_the_running_job() -> None:
    """A bench that closes tells its running job so, and waits for it."""
    thread, running = JobThread("test"), threading.Event()

    def job(is_cancelled: IsCancelled) -> str:
        running.set()
        while not is_cancelled():
            threading.Event().wait(0.001)
        return "ended"

    task = asyncio.create_task(thread.run(job))
    await asyncio.to_thread(running.wait)
    await thread.close()
    assert "ended" == await task


async def uploaded(running: Running, content: bytes) -> tuple[int, str]:
    """Upload a file; return the status and the message of the error."""
    form = FormData()
    form.add_field("file", io.BytesIO(content), filename="f")
    async with (
        ClientSession() as session,
        session.post(f"http://127.0.0.1:{running.port}/v1/files", data=form) as response,
    ):
        return response.status, (await response.json()).get("message", "")


async def test_a_disk_that_takes_no_more_is_reported() -> None:
    """Where a file cannot be written any further, the response is a 507 that says why, and later uploads work."""
    running = await start("127.0.0.1", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
        assert (507, "The sandbox cannot store the file: File too large.") == await uploaded(running, bytes(4_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (200, "") == await uploaded(running, bytes(4_000_000))
    await running.close()
