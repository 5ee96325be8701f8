"""The sandbox as any HTTP client sees it: shapes, errors, bounds, credentials, files."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from passthrough.extras import install_command
from passthrough.sandbox import Api, Provider, SandboxError, start
from passthrough.sandbox.errors import Rejection
from passthrough.sandbox.request import chosen_pages, parse_request
from tests.harness.documents import image, pdf, png, words_of
from tests.harness.office import docx, paragraph, pptx, shape
from tests.harness.sandbox_caller import Caller, data_uri, document, sandbox, shaped


async def test_an_answer_has_every_key_in_mistrals_order(caller: Caller) -> None:
    """Nothing but the documented keys, in the order in which Mistral sends them."""
    content = pdf(1)
    expected = {
        "pages": [
            {
                "index": 0,
                "markdown": words_of(0),
                "images": [],
                "tables": [],
                "hyperlinks": [],
                "header": None,
                "footer": None,
                "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
            }
        ],
        "model": "mistral-ocr-4-1",
        "document_annotation": None,
        "usage_info": {"pages_processed": 1, "doc_size_bytes": len(content)},
    }
    status, response = await caller.ocr(document(content))
    assert (200, json.dumps(expected)) == (status, json.dumps(response))


FORMS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


@pytest.mark.parametrize("form", FORMS)
async def test_images_of_many_formats_are_one_page(caller: Caller, form: str) -> None:
    """The bytes tell what an image is, not the media type that the client names; both forms of image_url are taken."""
    for url in (data_uri(image(form), "image/unheard-of"), {"url": data_uri(image(form)), "detail": "high"}):
        status, response = await caller.ocr({"image_url": url})
        assert (200, 1, 200, 100) == (
            status,
            response["usage_info"]["pages_processed"],
            response["pages"][0]["dimensions"]["width"],
            response["pages"][0]["dimensions"]["height"],
        )


BASE64 = base64.b64encode(pdf(1)).decode()
WRITTEN = {
    "upper case": f"DATA:application/pdf;BASE64,{BASE64}",
    "no media type": f"data:;base64,{BASE64}",
    "parameters": f"data:application/pdf;name=a.pdf;base64,{BASE64}",
    "wrapped": f"data:application/pdf;base64,{BASE64[:76]}\r\n{BASE64[76:]}",
    "no padding": f"data:application/pdf;base64,{BASE64.rstrip('=')}",
    "percent-encoded": "data:application/pdf," + "".join(f"%{byte:02x}" for byte in pdf(1)),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
async def test_data_uris_may_be_written_in_many_ways(caller: Caller, written: str) -> None:
    """Whatever RFC 2397 allows, and blanks or missing padding in the base64, is read."""
    status, response = await caller.ocr({"document_url": written})
    assert (200, words_of(0)) == (status, response["pages"][0]["markdown"])


PAGES = {
    "all": (None, [0, 1, 2, 3, 4, 5]),
    "list": ([4, 0, 4], [0, 4]),
    "range": ("0-2", [0, 1, 2]),
    "both": ("0, 2-4", [0, 2, 3, 4]),
    "overlapping": ("3-4,4,2-3", [2, 3, 4]),
    "none": ([], []),
}


@pytest.mark.parametrize(("pages", "expected"), PAGES.values(), ids=PAGES)
async def test_only_the_pages_asked_for_are_read_and_counted(caller: Caller, pages: object, expected: list[int]) -> None:
    """Pages are chosen by number, range or both; each is read once, in order, and only those are counted."""
    status, response = await caller.ocr(document(pdf(6)), pages=pages)
    assert (200, expected, len(expected)) == (
        status,
        [page["index"] for page in response["pages"]],
        response["usage_info"]["pages_processed"],
    )


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=8), st.integers(1, 40))
def test_ranges_choose_their_union_or_name_the_first_page_beyond(ranges: list[tuple[int, int]], total: int) -> None:
    """What is chosen is the union of the ranges, sorted; a range that leaves the document is refused."""
    union = sorted({page for first, last in ranges for page in range(first, last + 1)})
    if all(page < total for page in union):
        assert union == chosen_pages(tuple(ranges), total)
    else:
        with pytest.raises(Rejection) as refused:
            chosen_pages(tuple(ranges), total)
        assert f"Page {next(page for page in union if page >= total)} " in str(refused.value.body["message"])


@given(
    st.binary() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_the_body_is_the_flaws_are_reported(raw: bytes) -> None:
    """No body makes the sandbox fail: what is not a request is a 422 with at least one flaw."""
    with pytest.raises(Rejection) as refused:
        parse_request(raw)
    assert refused.value.status == 422
    assert refused.value.body["detail"]


def test_the_smallest_request_is_whole() -> None:
    """A model and a document's URL are enough."""
    asked = parse_request(b'{"model":"mistral-ocr-2505","document":{"document_url":"data:,x"}}')
    assert ("mistral-ocr-2505", "data:,x", None) == (asked.model, asked.source.url, asked.pages)


ENCRYPTED, BROKEN = pdf(1, password="secret"), pdf(1)[:40]
INVALID = shaped("document_parser_invalid_file", "Document is not a valid PDF.", "3740")
HINT = ". The sandbox fetches nothing: send the document itself, as a data URI or a file."
ELSEWHERE = "https://example.com/a.pdf"
REFUSED: dict[str, tuple[object, dict[str, object]]] = {
    "encrypted": (document(ENCRYPTED), INVALID),
    "cut off": (document(BROKEN), INVALID),
    "nothing": (document(b""), INVALID),
    "text": (document(b"Dear sirs"), INVALID),
    "cut-off image": ({"image_url": data_uri(png()[:20])}, INVALID),
    "bad base64": (
        {"document_url": "data:application/pdf;base64,???"},
        shaped("invalid_request_file", "The data URI is not valid base64.", "3310"),
    ),
    "no comma": (
        {"document_url": "data:application/pdf"},
        shaped("invalid_request_file", "File could not be fetched from url 'data:application/pdf'", "3310"),
    ),
    "elsewhere": (
        {"document_url": ELSEWHERE},
        shaped("invalid_request_file", f"File could not be fetched from url '{ELSEWHERE}'{HINT}", "3310"),
    ),
    "not even a URL": (
        {"document_url": "http://[::1"},
        shaped("invalid_request_file", f"File could not be fetched from url 'http://[::1'{HINT}", "3310"),
    ),
}


@pytest.mark.parametrize(("given_document", "expected"), REFUSED.values(), ids=REFUSED)
async def test_documents_that_cannot_be_read_are_refused(
    caller: Caller, given_document: object, expected: dict[str, object]
) -> None:
    """Each is answered with 400 and Mistral's own words and code; nothing is fetched from elsewhere."""
    assert (400, expected) == await caller.ocr(given_document)


async def test_more_than_a_thousand_pages_are_refused(caller: Caller) -> None:
    """1000 pages are read, 1001 are not, whichever of them were asked for."""
    status, response = await caller.ocr(document(pdf(1000, "x")), pages=[999])
    assert (200, 1) == (status, response["usage_info"]["pages_processed"])
    said = "This document has 1001 pages, which is more than the maximum allowed of 1000."
    wrong = shaped("document_parser_too_many_pages", said, "3730")
    assert (400, wrong) == await caller.ocr(document(pdf(1001, "x")), pages=[0])


async def test_more_than_fifty_megabytes_are_refused(caller: Caller) -> None:
    """A document beyond 50 MB is refused by data URI and as a file, which may itself be larger."""
    content = pdf(1) + bytes(50_000_001 - len(pdf(1)))
    wrong = shaped("invalid_request_file", "Document has 50000001 bytes, the limit is 50000000.", "3310")
    assert (400, wrong) == await caller.ocr(document(content))
    _, uploaded = await caller.upload(content)
    assert (400, wrong) == await caller.ocr({"file_id": uploaded["id"]})


BODY = {"model": "mistral-ocr-latest", "document": {"document_url": "data:,"}}
FLAWS: dict[str, tuple[dict[str, object], list[object], str]] = {
    "unknown field": ({**BODY, "foo": 1}, ["body", "foo"], "extra_forbidden"),
    "no model": ({"document": BODY["document"]}, ["body", "model"], "missing"),
    "no document": ({"model": "m"}, ["body", "document"], "missing"),
    "document null": ({**BODY, "document": None}, ["body", "document"], "model_attributes_type"),
    "empty document": ({**BODY, "document": {}}, ["body", "document", "document_url"], "missing"),
    "unknown type": ({**BODY, "document": {"type": "x"}}, ["body", "document", "type"], "literal_error"),
    "type not text": ({**BODY, "document": {"type": []}}, ["body", "document", "type"], "literal_error"),
    "file without id": ({**BODY, "document": {"type": "file"}}, ["body", "document", "file_id"], "missing"),
    "URL not text": ({**BODY, "document": {"image_url": {"url": 1}}}, ["body", "document", "image_url"], "string_type"),
    "within document": ({**BODY, "document": {"file_id": "x", "y": 1}}, ["body", "document", "y"], "extra_forbidden"),
    "model": ({**BODY, "model": 1}, ["body", "model"], "string_type"),
    "flag": ({**BODY, "include_image_base64": "no"}, ["body", "include_image_base64"], "bool_type"),
    "limit": ({**BODY, "image_limit": 1.5}, ["body", "image_limit"], "int_type"),
    "size": ({**BODY, "image_min_size": -1}, ["body", "image_min_size"], "greater_than_equal"),
    "format": ({**BODY, "bbox_annotation_format": "x"}, ["body", "bbox_annotation_format"], "model_attributes_type"),
    "table": ({**BODY, "table_format": "csv"}, ["body", "table_format"], "literal_error"),
    "pages": ({**BODY, "pages": "2-1"}, ["body", "pages"], "value_error"),
    "page": ({**BODY, "pages": [True]}, ["body", "pages"], "value_error"),
    "ranges": ({**BODY, "pages": "0," * 6000 + "0"}, ["body", "pages"], "value_error"),
}


@pytest.mark.parametrize(("body", "place", "kind"), FLAWS.values(), ids=FLAWS)
async def test_a_flaw_is_reported_with_its_place(caller: Caller, body: object, place: list[object], kind: str) -> None:
    """A request that is not as documented is a 422 that names the place and echoes what stood there."""
    status, response = await caller.call("POST", "/v1/ocr", json=body)
    assert (422, [(place, kind)]) == (status, [(one["loc"], one["type"]) for one in response["detail"]])
    assert {"type", "loc", "msg", "input"} == set(response["detail"][0])


NOT_JSON = (b"", b"{", b"\xff", b'{"model":"a\nb"}', b'{"model":NaN}', b"1" * 5000, b"[" * 200 + b"]" * 200, b"[" * 100_000)


@pytest.mark.parametrize("raw", NOT_JSON, ids=range(len(NOT_JSON)))
async def test_what_is_not_json_is_reported(caller: Caller, raw: bytes) -> None:
    """Broken, empty, too deep and too long JSON is a 422 as FastAPI has it, and nothing worse."""
    status, response = await caller.call("POST", "/v1/ocr", data=raw)
    assert (422, ["json_invalid"]) == (status, [one["type"] for one in response["detail"]])


async def test_the_echo_of_half_a_surrogate_is_still_utf_8(caller: Caller) -> None:
    """An escaped half of a surrogate pair is legal JSON and has no UTF-8: the echo replaces it."""
    raw = b'{"model":"m","document":{"document_url":"x"},"foo":"\\ud800"}'
    status, response = await caller.call("POST", "/v1/ocr", data=raw)
    assert (422, "?") == (status, response["detail"][0]["input"])


async def test_pictures_are_chosen_by_size_and_number(caller: Caller) -> None:
    """`image_limit` holds for the document, `image_min_size` for each side; without `include_image_base64` no bytes come."""
    illustrated = document(pdf(3, picture=png()))
    for rest, expected in (
        ({}, [["img-0.jpeg"], ["img-1.jpeg"], ["img-2.jpeg"]]),
        ({"image_limit": 2}, [["img-0.jpeg"], ["img-1.jpeg"], []]),
        ({"image_limit": 0}, [[], [], []]),
        ({"image_min_size": 200}, [["img-0.jpeg"], ["img-1.jpeg"], ["img-2.jpeg"]]),
        ({"image_min_size": 201}, [[], [], []]),
    ):
        _, response = await caller.ocr(illustrated, **rest)
        assert expected == [[one["id"] for one in page["images"]] for page in response["pages"]]
        assert {None} >= {one["image_base64"] for page in response["pages"] for one in page["images"]}


async def test_annotations_have_the_schema_and_nothing_else(caller: Caller) -> None:
    """An annotation that was asked for is a JSON string that fits the schema's top level, with empty values."""
    properties = {"title": {"type": "string"}, "pages": {"type": "integer"}, "author": {"$ref": "#/x"}, "tags": {"type": "array"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": properties}}}
    status, response = await caller.ocr(
        document(pdf(1, picture=png())), document_annotation_format=form, bbox_annotation_format={"type": "json_schema"}
    )
    assert (200, {"title": "", "pages": 0, "author": None, "tags": []}) == (status, json.loads(response["document_annotation"]))
    assert response["pages"][0]["images"][0]["image_annotation"] == "{}"


MODELS = {
    "mistral-ocr-latest": "mistral-ocr-4-1",
    "mistral-ocr-4": "mistral-ocr-4-1",
    "mistral-ocr-2503": "mistral-ocr-2503",
    "mistral-ocr-2512": "mistral-ocr-2512",
}


@pytest.mark.parametrize(("asked", "resolved"), MODELS.items())
async def test_a_model_answers_by_its_own_name(caller: Caller, asked: str, resolved: str) -> None:
    """An alias is answered as the model that it stands for, any other name as itself."""
    _, response = await caller.ocr(document(pdf(1)), model=asked)
    assert resolved == response["model"]


async def test_unknown_models_are_refused(caller: Caller) -> None:
    """A model that is not known is Mistral's 400 for OCR, and a 404 in the list of models."""
    assert (400, shaped("invalid_model", "Invalid model: x", "1500")) == await caller.ocr(document(pdf(1)), model="x")
    wrong = shaped("invalid_model", "The model 'x' does not exist.", "1500", 404)
    assert (404, wrong) == await caller.call("GET", "/v1/models/x")


PROVIDERS = (
    "/providers/mistral/azure/ocr?api-version=2024-05-01-preview",
    "/v1/providers/mistral/azure/ocr",
    "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-ocr-2505:rawPredict",
)


@pytest.mark.parametrize("path", PROVIDERS)
async def test_azures_and_vertexs_paths_take_any_deployment(caller: Caller, path: str) -> None:
    """Behind provider-shaped paths a model's name may be anything, and is answered as it was asked."""
    status, response = await caller.ocr(document(pdf(1)), path=path, model="our-deployment")
    assert (200, "our-deployment") == (status, response["model"])


async def test_vertex_names_the_model_in_the_path(caller: Caller) -> None:
    """Without a model in the body the path's own counts."""
    status, response = await caller.call("POST", PROVIDERS[2], json={"document": document(pdf(1))})
    assert (200, "mistral-ocr-2505") == (status, response["model"])


async def test_other_paths_and_methods_do_not_exist(caller: Caller) -> None:
    """What the sandbox does not serve is Mistral's 404 or 405."""
    hint = "The sandbox has OCR, chat, fill-in-the-middle, embeddings, files, batches and models."
    assert (404, {"detail": "Not Found", "hint": hint}) == await caller.call("POST", "/v1/conversations", json={})
    assert (405, {"detail": "Method Not Allowed"}) == await caller.call("GET", "/v1/ocr")
    async with caller.session.put(f"{caller.base}/v1/files") as response:
        assert response.headers["allow"] == "GET,HEAD,POST".replace(",", ", ")


KEYS = (
    ({}, 401),
    ({"Authorization": "Bearer wrong"}, 401),
    ({"Authorization": "schlüssel"}, 401),
    ({"api-key": "schlüsse"}, 401),
    ({"Authorization": "Bearer schlüssel"}, 200),
    ({"authorization": "bearer schlüssel"}, 200),
    ({"Api-Key": "schlüssel"}, 200),
)


@pytest.mark.parametrize(("headers", "expected"), KEYS)
async def test_a_key_is_demanded_where_one_is_set(headers: dict[str, str], expected: int) -> None:
    """With a key, only its holders come in; all others get Mistral's 401, for unknown paths too."""
    async with sandbox(key="schlüssel") as caller:
        status, response = await caller.call("GET", "/v1/models", headers=headers)
        assert expected == status
        assert expected == 200 or response == {"detail": "Unauthorized"}
        status, _ = await caller.call("GET", "/nowhere", headers=headers)
        assert (404 if expected == 200 else 401) == status


async def test_without_a_key_anybody_may_call(caller: Caller) -> None:
    """No credential and a wrong one are as good as any."""
    for headers in ({}, {"Authorization": "whatever"}):
        status, _ = await caller.call("GET", "/v1/models", headers=headers)
        assert status == 200


async def test_a_signed_url_needs_no_credential_and_expires(caller: Caller) -> None:
    """The signed URL opens until its time, is refused when forged, and is gone with its file."""
    async with sandbox(key="k") as one:
        one.session.headers["Authorization"] = "Bearer k"
        _, uploaded = await one.upload(pdf(1), "brief.pdf", purpose="ocr")
        _, signed = await one.call("GET", f"/v1/files/{uploaded['id']}/url?expiry=2")
        url = signed["url"]
        assert url.startswith(f"{one.base}/blobs/{uploaded['id']}?")
        async with ClientSession() as stranger:
            async with stranger.get(url) as response:
                assert (200, "application/pdf", pdf(1)) == (response.status, response.content_type, await response.read())
            async with stranger.get(url, headers={"Range": "bytes=0-4"}) as response:
                assert (206, b"%PDF-") == (response.status, await response.read())
            for forged in (url[:-1], url.replace("expires=1", "expires=2"), url.partition("?")[0], f"{url[:-1]}é"):
                async with stranger.get(forged) as response:
                    assert (403, "The signature of this URL is wrong.") == (response.status, (await response.json())["message"])
        one.clock.now += 2 * 3600
        assert (403, shaped("forbidden", "This URL has expired.", None, 403)) == await one.call("GET", url)
        assert (await one.ocr({"document_url": url}))[0] == 400


async def test_a_signed_url_is_known_behind_any_host(caller: Caller) -> None:
    """OCR takes the signed URL whatever host and prefix it names: a proxy may stand before the sandbox."""
    _, uploaded = await caller.upload(pdf(1))
    _, signed = await caller.call("GET", f"/v1/files/{uploaded['id']}/url", headers={"Host": "ocr.example:8443"})
    assert signed["url"].startswith("http://ocr.example:8443/blobs/")
    for url in (signed["url"], signed["url"].replace("/blobs/", "/mistral/blobs/")):
        status, response = await caller.ocr({"document_url": url})
        assert (200, words_of(0)) == (status, response["pages"][0]["markdown"])


async def test_files_are_listed_newest_first_by_purpose_and_page(caller: Caller) -> None:
    """The list is paged and can be narrowed to a purpose; `total` counts what was narrowed, not the page."""
    ids = [(await caller.upload(b"x", f"{number}.pdf", purpose=purpose))[1]["id"] for number, purpose in enumerate("aab")]
    for query, expected, total in (
        ("", [2, 1, 0], 3),
        ("?purpose=a", [1, 0], 2),
        ("?page=1&page_size=2", [0], 3),
        ("?page=9", [], 3),
    ):
        status, response = await caller.call("GET", f"/v1/files{query}")
        assert (200, [ids[number] for number in expected]) == (status, [one["id"] for one in response["data"]])
        assert ("list", total) == (response["object"], response["total"])
    for query in ("?page=-1", "?page_size=0", "?page_size=x"):
        assert (await caller.call("GET", f"/v1/files{query}"))[0] == 422


async def test_files_are_searched_by_a_piece_of_their_name(caller: Caller) -> None:
    """As Mistral's: a client finds what an earlier run of it left, whose ids it never learned."""
    names = ("a [1].pdf", "über uns.pdf", "a.png", "a.pdf")
    ids = [(await caller.upload(b"x", name, purpose="ocr"))[1]["id"] for name in names]
    for query, expected in (
        ("search=a.", [3, 2]),
        ("search=a.pdf&purpose=ocr", [3]),
        ("search=a.pdf&purpose=batch", []),
        ("search=a%20%5B1%5D.pdf", [0]),
        ("search=%C3%BCber", [1]),
        ("search=.pdf&page_size=1&page=1", [1]),
        ("search=", [3, 2, 1, 0]),
        ("search=nothing", []),
    ):
        status, response = await caller.call("GET", f"/v1/files?{query}")
        assert (200, [ids[number] for number in expected]) == (status, [one["id"] for one in response["data"]])


async def test_files_that_do_not_exist_are_not_found(caller: Caller) -> None:
    """Every way to a file that is not there is a 404 in Mistral's shape; an odd expiry is a 422."""
    wrong = shaped("not_found", "File nope not found.", None, 404)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content"), ("GET", "/url")):
        assert (404, wrong) == await caller.call(method, f"/v1/files/nope{path}")
    assert (404, wrong) == await caller.ocr({"file_id": "nope"})
    for expiry in ("0", "169", "x"):
        assert (await caller.call("GET", f"/v1/files/nope/url?expiry={expiry}"))[0] == 422


async def test_a_file_comes_back_as_it_went(caller: Caller) -> None:
    """Any bytes and any name survive, an empty file too, and uploads without a length."""
    content = bytes(range(256)) * 10_000 + b"\r\n--"

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nocr\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="chunked"\r\n\r\n' + content + b"\r\n--b--\r\n"

    for response in (
        await caller.upload(content, "Rechnung – März.pdf"),
        await caller.call("POST", "/v1/files", data=pieces(), headers={"Content-Type": "multipart/form-data; boundary=b"}),
    ):
        assert (200, len(content)) == (response[0], response[1]["bytes"])
        async with caller.session.get(f"{caller.base}/v1/files/{response[1]['id']}/content") as download:
            assert content == await download.read()
    _, empty = await caller.upload(b"", "Rechnung – März.pdf")
    assert ("Rechnung – März.pdf", 0) == (empty["filename"], empty["bytes"])
    assert (400, INVALID) == await caller.ocr({"file_id": empty["id"]})


FORM = "multipart/form-data; boundary=b"
BROKEN_UPLOADS = {
    "no multipart": ("application/json", b"{}", 422),
    "no boundary": ("multipart/form-data", b"--b--", 400),
    "no body": (FORM, b"", 400),
    "no file": (FORM, b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nocr\r\n--b--\r\n', 422),
    "cut off": (FORM, b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc', 400),
    "long field": (FORM, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 20_000 + b"\r\n--b--\r\n", 400),
    "nested": (FORM, b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n", 400),
}


@pytest.mark.parametrize(("kind", "raw", "expected"), BROKEN_UPLOADS.values(), ids=BROKEN_UPLOADS)
async def test_broken_uploads_are_reported(caller: Caller, kind: str, raw: bytes, expected: int) -> None:
    """What is not a whole multipart body with a file is refused, and leaves nothing behind."""
    status, _ = await caller.call("POST", "/v1/files", data=raw, headers={"Content-Type": kind})
    assert expected == status
    assert (await caller.call("GET", "/v1/files"))[1]["data"] == []


async def test_bodies_have_bounds() -> None:
    """JSON beyond its bound and files beyond theirs are 413; a file may be larger than JSON may."""
    async with sandbox(max_bytes=10_000, max_file_bytes=3_000_000) as caller:
        wrong = shaped("request_too_large", "The request is larger than 10000 bytes.", None, 413)
        assert (413, wrong) == await caller.ocr(document(bytes(10_000)))
        assert (await caller.upload(bytes(3_000_000)))[0] == 200
        wrong = shaped("request_too_large", "The file is larger than 3000000 bytes.", None, 413)
        assert (413, wrong) == await caller.upload(bytes(3_000_001))


CODINGS = {"gzip": True, "br, gzip;q=0.5": True, "GZIP": True, "gzip;q=0": False, "br": False, "": False}


@pytest.mark.parametrize(("accepted", "expected"), CODINGS.items())
async def test_large_answers_are_gzipped_where_that_is_accepted(caller: Caller, accepted: str, expected: bool) -> None:
    """Beyond a kilobyte a response is compressed if the client accepts that; a small one never is."""
    for pages, compressed in ((30, expected), (1, False)):
        body = {"model": "mistral-ocr-latest", "document": document(pdf(pages))}
        headers = {"Accept-Encoding": accepted}
        async with caller.session.post(f"{caller.base}/v1/ocr", json=body, headers=headers) as response:
            raw = await response.read()
            assert (compressed, str(len(raw))) == (
                response.headers.get("content-encoding") == "gzip",
                response.headers["content-length"],
            )
            assert pages == len(json.loads(gzip.decompress(raw) if compressed else raw)["pages"])


def directories_with(file_id: str) -> list[Path]:
    """Return the sandboxes' directories that hold this file: others may run at the same time."""
    return [path.parent for path in Path(tempfile.gettempdir()).glob(f"passthrough-sandbox-*/{file_id}")]


async def test_a_file_that_is_gone_from_the_disk_is_not_found(caller: Caller) -> None:
    """One that is deleted between two steps of a request is as one that never was."""
    _, uploaded = await caller.upload(pdf(1))
    (directory,) = directories_with(uploaded["id"])
    (directory / uploaded["id"]).unlink()
    wrong = shaped("not_found", f"File {uploaded['id']} not found.", None, 404)
    assert (404, wrong) == await caller.ocr({"file_id": uploaded["id"]})


async def test_the_files_end_with_the_sandbox() -> None:
    """Uploads are on disk while the sandbox runs, deleted ones at once are not, and none is left after it."""
    running = await start("127.0.0.1", 0)
    async with ClientSession(auto_decompress=False) as session:
        caller = Caller(session, f"http://127.0.0.1:{running.port}")
        kept, deleted = (await caller.upload(b"kept"))[1], (await caller.upload(b"deleted"))[1]
        await caller.call("DELETE", f"/v1/files/{deleted['id']}")
    assert [] == directories_with(deleted["id"])
    (ours,) = directories_with(kept["id"])
    await running.close()
    await running.close()
    assert not ours.exists()


async def test_clients_that_leave_do_no_harm(caller: Caller) -> None:
    """Connections that break while a request comes in or is read leave a sandbox that answers the next."""
    address = caller.base.removeprefix("http://").split(":")
    body = json.dumps({"model": "mistral-ocr-latest", "document": document(pdf(500))}).encode()
    head = b"POST /v1/ocr HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    form = (
        b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999999\r\n\r\n"
    )
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + bytes(3_000_000)
    for sent in (head, head + body[:1000], head + body, form, form + part):
        _, writer = await asyncio.open_connection(address[0], int(address[1]))
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()
    status, response = await caller.ocr(document(pdf(2)))
    assert (200, 2) == (status, len(response["pages"]))
    assert (await caller.call("GET", "/v1/files"))[1]["data"] == []


async def test_many_at_once_get_their_own_answers(caller: Caller) -> None:
    """Requests in parallel are read one after the other, and none gets another's text."""

    async def one(number: int) -> list[str]:
        _, response = await caller.ocr(document(pdf(3, f"Document {number}, page {{page}}")))
        return [page["markdown"] for page in response["pages"]]

    responses = await asyncio.gather(*(one(number) for number in range(40)))
    assert [[f"Document {number}, page {page}" for page in range(3)] for number in range(40)] == responses


async def test_a_port_that_is_taken_is_refused() -> None:
    """A second sandbox on one port says where, and how to mend it."""
    running = await start("127.0.0.1", 0, key="k")
    with pytest.raises(SandboxError, match=rf"127\.0\.0\.1:{running.port}: .*\n  Choose another host or port\."):
        await start("127.0.0.1", running.port)
    await running.close()


@pytest.mark.process
@pytest.mark.parametrize("module", ["pypdfium2", "PIL"])
def test_a_missing_extra_names_its_cure(module: str) -> None:
    """Without the extra, starting the sandbox says what to install; importing it does no harm."""
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        "import passthrough.sandbox as sandbox\n"
        "try: sandbox.app()\n"
        "except sandbox.SandboxMissing as missing: print(missing)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    expected = f"The sandbox needs {module}, which is not installed.\n  Run: {install_command('sandbox')}\n"
    assert (expected, "") == (ran.stdout, ran.stderr)


AZURE_PATH = "/providers/mistral/azure/ocr"
VERTEX_PATH = "/v1/projects/p/locations/us-central1/publishers/mistralai/models/mistral-ocr-2505:rawPredict"


@pytest.mark.parametrize(
    ("api", "path", "status", "code"),
    [
        (Api.AZURE, AZURE_PATH, 422, "Invalid input"),
        (Api.AZURE, "/v1/ocr", 422, "Invalid input"),
        (Api.VERTEX, VERTEX_PATH, 400, 400),
    ],
)
async def test_azure_and_vertex_take_documents_in_the_request_only(api: Api, path: str, status: int, code: object) -> None:
    """A URL and a file's id are refused in the shape of the provider's errors, a data URI is read."""
    async with sandbox(provider=Provider(api)) as caller:
        for document in ({"document_url": "https://example.org/a.pdf"}, {"type": "file", "file_id": "1"}):
            refused, answer = await caller.ocr(document, path)
            assert (status, code) == (refused, answer["error"]["code"])
        read, answer = await caller.ocr({"document_url": data_uri(pdf(2))}, path)
        assert (200, 2) == (read, answer["usage_info"]["pages_processed"])


@pytest.mark.parametrize("api", list(Api))
async def test_each_provider_has_its_paths(api: Api) -> None:
    """Azure has no files and no rawPredict, Vertex nothing but that; Mistral's sandbox serves the paths of all."""
    served = {
        Api.MISTRAL: {"/v1/ocr", AZURE_PATH, VERTEX_PATH, "/v1/models"},
        Api.AZURE: {"/v1/ocr", AZURE_PATH},
        Api.VERTEX: {VERTEX_PATH},
    }
    async with sandbox(provider=Provider(api)) as caller:
        found = set()
        for path in ("/v1/ocr", AZURE_PATH, VERTEX_PATH, "/v1/models"):
            status, _ = await caller.call("GET", path) if path == "/v1/models" else await caller.ocr({}, path)
            found |= {path} if status != 404 else set()
    assert served[api] == found


@pytest.mark.parametrize("api", list(Api))
async def test_a_share_of_the_calls_fails(api: Api) -> None:
    """Which calls are throttled (with a wait) and which fail is drawn; what is no OCR call never does."""
    drawn, same = Random(7), Random(7)
    expected = [429 if x < 0.2 else 503 if x < 0.5 else 200 for x in (same.random() for _ in range(40))]
    path = VERTEX_PATH if api is Api.VERTEX else AZURE_PATH
    document = json.dumps({"model": "m", "document": {"document_url": data_uri(pdf(1))}})
    found = []
    async with sandbox(provider=Provider(api, fail=0.3, throttle=0.2, random=drawn)) as caller:
        for _ in expected:
            async with caller.session.post(caller.base + path, data=document) as response:
                found.append(response.status)
                assert (response.status == 429) == ("Retry-After" in response.headers)
                assert response.status == 200 or await response.json()
        if api is Api.MISTRAL:
            assert {200} == {(await caller.call("GET", "/v1/models"))[0] for _ in range(20)}
    assert expected == found
    assert {200, 429, 503} == set(found)


async def test_a_serverless_deployment_at_azure_has_any_name() -> None:
    """Played as Azure, the path that Mistral has too takes the deployment's own name."""
    async with sandbox(provider=Provider(Api.AZURE)) as caller:
        body = json.dumps({"model": "my-deployment", "document": {"document_url": data_uri(pdf(1))}})
        assert 200 == (await caller.call("POST", "/v1/ocr", data=body))[0]


def azures(status: int, code: str, body: object) -> dict[str, object]:
    """Return an error as Azure sends it: the model's own error is JSON within the message."""
    return {"error": {"code": code, "message": json.dumps(body), "status": status}}


def googles(message: object, status: str = "INVALID_ARGUMENT") -> dict[str, object]:
    """Return a 400 as Google sends it."""
    return {"error": {"code": 400, "message": message, "status": status}}


MANY = shaped(
    "document_parser_too_many_pages", "This document has 31 pages, which is more than the maximum allowed of 30.", "3730"
)
LARGE = shaped("invalid_request_file", "Document has 30000001 bytes, the limit is 30000000.", "3310")
EXTRA = {"detail": [{"type": "extra_forbidden", "loc": ["body", "foo"], "msg": "Extra inputs are not permitted", "input": 1}]}
BOUNDED: dict[str, tuple[bytes, dict[str, object], dict[str, object]]] = {
    "encrypted": (ENCRYPTED, {}, INVALID),
    "empty": (b"", {}, INVALID),
    "too many pages": (pdf(31, "x"), {"pages": [0]}, MANY),
    "too large": (pdf(1) + bytes(30_000_001 - len(pdf(1))), {}, LARGE),
    "unknown field": (pdf(1), {"foo": 1}, EXTRA),
}


@pytest.mark.parametrize(("content", "rest", "expected"), BOUNDED.values(), ids=BOUNDED)
async def test_azure_and_vertex_refuse_in_their_own_shapes(
    caller: Caller, content: bytes, rest: dict[str, object], expected: dict[str, object]
) -> None:
    """Their paths have their bounds, 30 pages and 30 MB, and their errors, whichever provider is played."""
    status = 422 if "foo" in rest else 400
    code = {400: "Bad Request", 422: "Invalid input"}[status]
    assert (status, azures(status, code, expected)) == await caller.ocr(document(content), AZURE_PATH, **rest)
    words = expected.get("message", json.dumps(expected))
    assert (400, googles(words)) == await caller.ocr(document(content), VERTEX_PATH, **rest)


async def test_thirty_pages_are_taken_everywhere(caller: Caller) -> None:
    """What is at the bound is read."""
    for path in ("/v1/ocr", AZURE_PATH, VERTEX_PATH):
        status, answer = await caller.ocr(document(pdf(30, "x")), path)
        assert (200, 30) == (status, answer["usage_info"]["pages_processed"])


async def test_office_documents_are_read(caller: Caller) -> None:
    """A DOCX and a PPTX, in the request and as a file: the pages are counted, the media type that is claimed does not matter."""
    for content, expected in (
        (docx(paragraph("one") + paragraph("two", "<w:pageBreakBefore/>")), ["one", "two"]),
        (pptx(shape("Title", title=True), shape("text")), ["# Title", "text"]),
    ):
        _, uploaded = await caller.upload(content, "a.docx")
        for source in (document(content), {"file_id": uploaded["id"]}):
            status, answer = await caller.ocr(source)
            assert (200, expected) == (status, [page["markdown"] for page in answer["pages"]])
            assert {"pages_processed": 2, "doc_size_bytes": len(content)} == answer["usage_info"]
        _, answer = await caller.ocr(document(content), pages=[1])
        assert [1] == [page["index"] for page in answer["pages"]]


async def test_images_of_office_documents_come_inline_or_not_at_all(caller: Caller) -> None:
    """As Mistral has it: with their bytes where that is asked for, none by default, and a 400 for images without bytes."""
    shown = '<w:p><w:r><wp:extent cx="914400" cy="914400"/><a:blip r:embed="one"/></w:r></w:p>'
    letter = document(docx(shown, pictures={"one.png": png()}))
    _, answer = await caller.ocr(letter, include_image_base64=True)
    assert [data_uri(png(), "image/png")] == [one["image_base64"] for one in answer["pages"][0]["images"]]
    for rest in ({}, {"include_image_base64": None}, {"include_image_base64": False, "image_limit": 0}):
        _, answer = await caller.ocr(letter, **rest)
        assert [] == answer["pages"][0]["images"]
    for content, kind in ((docx(shown), "docx"), (pptx(shape("x")), "pptx")):
        said = (
            f"For .{kind} files, extracted images can only be returned in base64. "
            "If you don't want images, try setting `image_limit=0` instead."
        )
        wrong = shaped("invalid_request_file", said, "3310")
        assert (400, wrong) == await caller.ocr(document(content), include_image_base64=False)


ASKED_FOR = {
    "fail-401": (401, {"detail": "Unauthorized"}),
    "FAIL-429.pdf": (429, shaped("rate_limited", "Rate limit exceeded", "1300", 429)),
    "fail-503": (503, shaped("service_unavailable", "Service unavailable", None, 503)),
    "fail-418": (
        418,
        shaped("invalid_request_error", "The sandbox sends this error because 'fail-418' asks for it.", None, 418),
    ),
    "fail-599": (
        599,
        shaped("internal_server_error", "The sandbox sends this error because 'fail-599' asks for it.", None, 599),
    ),
}


@pytest.mark.parametrize(("name", "expected"), ASKED_FOR.items())
async def test_a_failure_can_be_asked_for_by_name(caller: Caller, name: str, expected: tuple[int, object]) -> None:
    """The name of a model, of a document or of a file says which, so that a client's handling can be tried."""
    _, uploaded = await caller.upload(pdf(1), name)
    named = {"document_url": data_uri(pdf(1)), "document_name": name}
    for call in (
        caller.ocr(document(pdf(1)), model=name),
        caller.ocr(named),
        caller.ocr({"file_id": uploaded["id"]}),
        caller.call("POST", "/v1/chat/completions", json={"model": name, "messages": [{"role": "user", "content": "x"}]}),
        caller.call("POST", "/v1/embeddings", json={"model": name, "input": "x"}),
        caller.call("POST", "/v1/batch/jobs", json={"endpoint": "/v1/ocr", "model": name, "input_files": ["x"]}),
    ):
        assert expected == await call
    body = json.dumps({"model": name, "document": document(pdf(1))})
    async with caller.session.post(f"{caller.base}{AZURE_PATH}", data=body) as response:
        assert (expected[0], expected[0] == 429) == (response.status, "Retry-After" in response.headers)
        assert {"error"} == set(await response.json())


@pytest.mark.parametrize("name", ["fail-", "fail-200", "fail-4290", "xfail-429", "fail-600"])
async def test_other_names_ask_for_nothing(caller: Caller, name: str) -> None:
    """A document is read, whatever it is called beside that."""
    status, _ = await caller.ocr({"document_url": data_uri(pdf(1)), "document_name": name})
    assert 200 == status


async def test_the_models_say_what_they_do(caller: Caller) -> None:
    """Each name is listed once, with its uses, and answers there."""
    _, listed = await caller.call("GET", "/v1/models")
    uses = {one["id"]: {name for name, able in one["capabilities"].items() if able} for one in listed["data"]}
    assert len(listed["data"]) == len(uses)
    assert ({"ocr"}, {"completion_chat"}, {"completion_chat", "completion_fim"}, set()) == tuple(
        uses[name] for name in ("mistral-ocr-latest", "mistral-small-latest", "codestral-latest", "mistral-embed")
    )
    for name, able in uses.items():
        body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
        status, _ = await caller.call("POST", "/v1/chat/completions", json=body)
        assert (200 if "completion_chat" in able else 400) == status
