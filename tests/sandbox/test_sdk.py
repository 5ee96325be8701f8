"""The sandbox as Mistral's own SDK sees it: over a real socket, with responses that its models accept."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, SDKError

from passthrough.sandbox import Running, start
from tests.harness.documents import jpeg, pdf, png, words_of


@pytest.fixture
async def sandbox() -> AsyncIterator[Running]:
    """A sandbox on a free port."""
    running = await start("127.0.0.1", 0)
    yield running
    await running.close()


@pytest.fixture
async def client(sandbox: Running) -> AsyncIterator[Mistral]:
    """Mistral's SDK, with any key, against the sandbox."""
    async with Mistral(api_key="any", server_url=f"http://127.0.0.1:{sandbox.port}") as sdk:
        yield sdk


def data_uri(content: bytes, mime: str = "application/pdf") -> str:
    """Return the data URI of some bytes."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


async def test_ten_pages_come_back_as_text(client: Mistral) -> None:
    """A PDF in a data URI is read page by page, counted, and answered by the newest model."""
    document = pdf(10)
    response = await client.ocr.process_async(
        model="mistral-ocr-latest", document={"type": "document_url", "document_url": data_uri(document)}
    )
    assert [words_of(page) for page in range(10)] == [page.markdown for page in response.pages]
    assert list(range(10)) == [page.index for page in response.pages]
    assert (10, len(document)) == (response.usage_info.pages_processed, response.usage_info.doc_size_bytes)
    assert "mistral-ocr-4-1" == response.model
    size = response.pages[0].dimensions
    assert size is not None
    assert (200, 1700, 2200) == (size.dpi, size.width, size.height)


async def test_the_sdk_in_a_thread(sandbox: Running) -> None:
    """The blocking client gets the same responses as the asynchronous one."""

    def process() -> list[str]:
        with Mistral(api_key="any", server_url=f"http://127.0.0.1:{sandbox.port}") as sdk:
            response = sdk.ocr.process(
                model="mistral-ocr-2512",
                document={"type": "document_url", "document_url": data_uri(pdf(3))},
                pages=[2, 0],
            )
            return [response.model, *(page.markdown for page in response.pages)]

    assert ["mistral-ocr-2512", words_of(0), words_of(2)] == await asyncio.to_thread(process)


async def test_an_uploaded_file_lives_until_it_is_deleted(client: Mistral) -> None:
    """Upload, list, retrieve, read by id, download, read by signed URL, delete: the whole flow of Open WebUI."""
    document = pdf(2, "Page {page} of the upload")
    uploaded = await client.files.upload_async(file={"file_name": "an upload.pdf", "content": document}, purpose="ocr")
    assert ("an upload.pdf", len(document), "ocr", "file") == (
        uploaded.filename,
        uploaded.size_bytes,
        uploaded.purpose,
        uploaded.object,
    )
    listed = await client.files.list_async()
    assert [uploaded.id] == [one.id for one in listed.data]
    assert 1 == listed.total
    assert uploaded.created_at == (await client.files.retrieve_async(file_id=uploaded.id)).created_at
    downloaded = await client.files.download_async(file_id=uploaded.id)
    assert document == await downloaded.aread()

    signed = await client.files.get_signed_url_async(file_id=uploaded.id, expiry=1)
    for source in ({"type": "file", "file_id": uploaded.id}, {"type": "document_url", "document_url": signed.url}):
        response = await client.ocr.process_async(model="mistral-ocr-latest", document=source)
        assert ["Page 0 of the upload", "Page 1 of the upload"] == [page.markdown for page in response.pages]

    assert (await client.files.delete_async(file_id=uploaded.id)).deleted
    with pytest.raises(SDKError) as gone:
        await client.files.retrieve_async(file_id=uploaded.id)
    assert 404 == gone.value.status_code


async def test_images_are_cut_out_where_they_stand(client: Mistral) -> None:
    """A picture on a page is named in its text, placed at 200 dpi, and sent as a data URI when asked for."""
    response = await client.ocr.process_async(
        model="mistral-ocr-latest",
        document={"type": "document_url", "document_url": data_uri(pdf(2, picture=png()))},
        include_image_base64=True,
    )
    assert [f"{words_of(page)}\n\n![img-{page}.jpeg](img-{page}.jpeg)" for page in range(2)] == [
        page.markdown for page in response.pages
    ]
    (picture,) = response.pages[1].images
    box = (picture.top_left_x, picture.top_left_y, picture.bottom_right_x, picture.bottom_right_y)
    assert (200, 1800, 600, 2000) == box
    head, _, content = str(picture.image_base64).partition(",")
    assert "data:image/jpeg;base64" == head
    assert b"\xff\xd8\xff" == base64.b64decode(content)[:3]


async def test_an_image_is_one_page_without_text(client: Mistral) -> None:
    """An image counts as one page of its own size, and the response says that no text was read from it."""
    photo = jpeg(640, 480)
    response = await client.ocr.process_async(
        model="mistral-ocr-latest",
        document={"type": "image_url", "image_url": data_uri(photo, "image/jpeg")},
        include_image_base64=True,
    )
    (page,) = response.pages
    assert "![img-0.jpeg](img-0.jpeg)\n\n*(passthrough sandbox: no text is read from images)*" == page.markdown
    assert page.dimensions is not None
    assert (640, 480) == (page.dimensions.width, page.dimensions.height)
    assert data_uri(photo, "image/jpeg") == page.images[0].image_base64
    assert 1 == response.usage_info.pages_processed


async def test_models_are_listed_and_retrieved(client: Mistral) -> None:
    """The OCR models are known by name, the moving one by its alias."""
    listed = await client.models.list_async()
    names = [model.id for model in listed.data or []]
    assert "mistral-ocr-latest" in names
    assert "mistral-ocr-2505" in names
    retrieved = await client.models.retrieve_async(model_id="mistral-ocr-latest")
    assert ("mistral-ocr-latest", True) == (retrieved.id, retrieved.capabilities.ocr)


async def test_errors_arrive_as_the_sdk_knows_them(client: Mistral) -> None:
    """A wrong model is an SDKError with 400; a document of the wrong form is a validation error with its place."""
    with pytest.raises(SDKError) as wrong_model:
        await client.ocr.process_async(model="gpt-ocr", document={"type": "document_url", "document_url": data_uri(pdf(1))})
    assert (400, True) == (wrong_model.value.status_code, "Invalid model: gpt-ocr" in wrong_model.value.body)
    with pytest.raises(HTTPValidationError) as wrong_pages:
        await client.ocr.process_async(
            model="mistral-ocr-latest",
            document={"type": "document_url", "document_url": data_uri(pdf(1))},
            pages="one to three",
        )
    assert [["body", "pages"]] == [one.loc for one in wrong_pages.value.data.detail or []]
