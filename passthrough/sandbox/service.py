"""The sandbox's HTTP service: paths, credentials, and the headers that every response carries."""

from __future__ import annotations

import hmac
import re
import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .errors import Rejection, detail, flaw, not_found, too_large, unprocessable
from .file_store import FileStore
from .job_thread import JobThread
from .models import card, listed
from .ocr import EncodedResponse, Endpoint, encoded, respond
from .provider import Api, Provider
from .upload import receive

_Q_ZERO: Final = re.compile(r"q=0(\.0*)?")
_VERTEX_MODEL: Final = re.compile(r"models/([^/]+):rawPredict")
_PAGE_SIZE: Final = 100
_MAX_HOURS: Final = 168


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest bodies: of JSON requests, and of a file within an upload."""

    json_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class _Resources:
    """What exists while the sandbox runs: the files, and the threads that read documents and write files."""

    files: FileStore
    reader: JobThread
    disk: JobThread


_RESOURCES: Final = web.AppKey("resources", _Resources)
_BOUNDS: Final = web.AppKey("bounds", Bounds)
_PROVIDER: Final = web.AppKey("provider", Provider)


def build(*, key: str | None, bounds: Bounds, clock: Callable[[], float], provider: Provider) -> web.Application:
    """Return the application, with the paths of the API that is played; its files and threads exist while it runs."""
    app = web.Application(client_max_size=bounds.json_bytes, middlewares=[_guarded(key)])
    app[_BOUNDS] = bounds
    app[_PROVIDER] = provider
    app.on_response_prepare.append(_mark)
    app.cleanup_ctx.append(_resources(clock))
    for api, routes in _routes().items():
        if provider.api in {api, Api.MISTRAL}:  # Mistral's has the others' paths, too: one sandbox serves every route
            app.add_routes(routes)
    return app


def _routes() -> dict[Api, list[web.RouteDef]]:
    return {
        Api.AZURE: [
            web.post("/v1/ocr", _ocr),  # at Azure: a serverless deployment
            web.post("/providers/mistral/azure/ocr", _ocr_azure),
            web.post("/v1/providers/mistral/azure/ocr", _ocr_azure),
        ],
        Api.VERTEX: [web.post(r"/{path:.+:rawPredict}", _ocr_vertex)],
        Api.MISTRAL: [
            web.post("/v1/files", _file_upload),
            web.get("/v1/files", _file_list),
            web.get("/v1/files/{id}", _file),
            web.delete("/v1/files/{id}", _file_delete),
            web.get("/v1/files/{id}/content", _file_content),
            web.get("/v1/files/{id}/url", _file_url),
            web.get("/blobs/{id}", _blob),
            web.get("/v1/models", _model_list),
            web.get("/v1/models/{id}", _model),
        ],
    }


def _resources(clock: Callable[[], float]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def resources(app: web.Application) -> AsyncIterator[None]:
        reader, disk = JobThread("sandbox-reader"), JobThread("sandbox-disk")
        directory = await disk.run(lambda _: tempfile.TemporaryDirectory(prefix="passthrough-sandbox-"))
        app[_RESOURCES] = _Resources(FileStore(Path(directory.name), secrets.token_bytes(32), clock), reader, disk)
        yield
        await reader.close()
        disk.submit(directory.cleanup)
        await disk.close()

    return resources


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    """Mark the response as the sandbox's, and give it an id, as Mistral's edge does."""
    response.headers["X-Passthrough-Sandbox"] = "true"
    response.headers["mistral-correlation-id"] = str(uuid.uuid4())


def _guarded(key: str | None) -> Middleware:
    """Return the middleware that checks the key and turns errors into responses."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if key is not None and not request.path.startswith("/blobs/") and not _holds(request.headers, key):
                raise detail(401, "Unauthorized")
            return await handler(request)
        except Rejection as rejection:
            wrong = rejection
        except web.HTTPNotFound:
            wrong = not_found()
        except web.HTTPMethodNotAllowed as refused:
            wrong = detail(405, "Method Not Allowed", {"Allow": ", ".join(sorted(refused.allowed_methods))})
        except web.HTTPRequestEntityTooLarge:
            wrong = too_large(f"The request is larger than {request.app[_BOUNDS].json_bytes} bytes.")
        return _response(encoded(wrong.status, wrong.body, _takes_gzip(request), wrong.headers))

    return guarded


def _holds(headers: Mapping[str, str], key: str) -> bool:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    offered = token.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
    return hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape"))


def _takes_gzip(request: web.Request) -> bool:
    offers = (offer.partition(";") for offer in request.headers.get("Accept-Encoding", "").lower().split(","))
    return any(coding.strip() == "gzip" and not _Q_ZERO.fullmatch(weight.strip()) for coding, _, weight in offers)


def _response(response: EncodedResponse) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def _json(request: web.Request, body: Mapping[str, object]) -> web.Response:
    return _response(encoded(200, body, _takes_gzip(request)))


async def _ocr(request: web.Request) -> web.Response:
    api = request.app[_PROVIDER].api
    return await _read(request, Endpoint(any_model=api.inline_only, api=api))


async def _ocr_azure(request: web.Request) -> web.Response:
    return await _read(request, Endpoint(any_model=True, api=request.app[_PROVIDER].api))


async def _ocr_vertex(request: web.Request) -> web.Response:
    named = _VERTEX_MODEL.search(request.match_info["path"])
    return await _read(request, Endpoint(any_model=True, model=named[1] if named else None, api=request.app[_PROVIDER].api))


async def _read(request: web.Request, endpoint: Endpoint) -> web.Response:
    resources, gzipped, raw = request.app[_RESOURCES], _takes_gzip(request), await request.read()
    if failure := request.app[_PROVIDER].failure():
        raise failure
    return _response(
        await resources.reader.run(
            lambda is_cancelled: respond(
                raw, files=resources.files, endpoint=endpoint, gzipped=gzipped, is_cancelled=is_cancelled
            )
        )
    )


async def _file_upload(request: web.Request) -> web.Response:
    resources = request.app[_RESOURCES]
    return _json(request, (await receive(request, resources.files, resources.disk, request.app[_BOUNDS].file_bytes)).to_json())


async def _file_list(request: web.Request) -> web.Response:
    page, size = _number(request, "page", 0, 0, 10**9), _number(request, "page_size", _PAGE_SIZE, 1, 1000)
    files = request.app[_RESOURCES].files.listed(request.query.get("purpose"))
    shown = [stored.to_json() for stored in files[page * size : (page + 1) * size]]
    return _json(request, {"data": shown, "object": "list", "total": len(files)})


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        wrong = ("int_parsing", f"Input should be an integer from {least} to {most}")
        raise unprocessable([flaw(("query", name), wrong, text)])
    return int(text)


async def _file(request: web.Request) -> web.Response:
    stored = request.app[_RESOURCES].files.get(request.match_info["id"])
    return _json(request, {**stored.to_json(), "deleted": False})


async def _file_delete(request: web.Request) -> web.Response:
    resources = request.app[_RESOURCES]
    stored = resources.files.take(request.match_info["id"])
    await resources.disk.run(lambda _: stored.path.unlink(missing_ok=True))
    return _json(request, {"id": stored.id, "object": "file", "deleted": True})


async def _file_content(request: web.Request) -> web.FileResponse:
    stored = request.app[_RESOURCES].files.get(request.match_info["id"])
    return web.FileResponse(stored.path, headers={"Content-Type": "application/octet-stream"})


async def _file_url(request: web.Request) -> web.Response:
    hours = _number(request, "expiry", 24, 1, _MAX_HOURS)
    signed = request.app[_RESOURCES].files.signed_url(request.match_info["id"], hours)
    return _json(request, {"url": f"{request.scheme}://{request.host}{signed}"})


async def _blob(request: web.Request) -> web.FileResponse:
    stored = request.app[_RESOURCES].files.by_signed_url(request.path_qs)
    return web.FileResponse(stored.path, headers={"Content-Type": stored.mime})


async def _model_list(request: web.Request) -> web.Response:
    return _json(request, listed())


async def _model(request: web.Request) -> web.Response:
    return _json(request, card(request.match_info["id"]))
