"""The paths of the sandbox under /v1/files, and the signed URLs of the files."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from .resources import BOUNDS, RESOURCES
from .responses import PAGE_SIZE, json_response, query_number
from .upload import receive

_MAX_HOURS: Final = 168


async def _file_upload(request: web.Request) -> web.Response:
    resources = request.app[RESOURCES]
    return json_response(
        request, (await receive(request, resources.files, resources.disk, request.app[BOUNDS].file_bytes)).to_json()
    )


async def _file_list(request: web.Request) -> web.Response:
    page, size = query_number(request, "page", 0, 0, 10**9), query_number(request, "page_size", PAGE_SIZE, 1, 1000)
    files = request.app[RESOURCES].files.listed(request.query.get("purpose"), request.query.get("search", ""))
    shown = [stored.to_json() for stored in files[page * size : (page + 1) * size]]
    return json_response(request, {"data": shown, "object": "list", "total": len(files)})


async def _file(request: web.Request) -> web.Response:
    stored = request.app[RESOURCES].files.get(request.match_info["id"])
    return json_response(request, {**stored.to_json(), "deleted": False})


async def _file_delete(request: web.Request) -> web.Response:
    resources = request.app[RESOURCES]
    stored = resources.files.take(request.match_info["id"])
    await resources.disk.run(lambda _: stored.path.unlink(missing_ok=True))
    return json_response(request, {"id": stored.id, "object": "file", "deleted": True})


async def _file_content(request: web.Request) -> web.FileResponse:
    stored = request.app[RESOURCES].files.get(request.match_info["id"])
    return web.FileResponse(stored.path, headers={"Content-Type": "application/octet-stream"})


async def _file_url(request: web.Request) -> web.Response:
    hours = query_number(request, "expiry", 24, 1, _MAX_HOURS)
    signed = request.app[RESOURCES].files.signed_url(request.match_info["id"], hours)
    return json_response(request, {"url": f"{request.scheme}://{request.host}{signed}"})


async def _blob(request: web.Request) -> web.FileResponse:
    stored = request.app[RESOURCES].files.by_signed_url(request.path_qs)
    return web.FileResponse(stored.path, headers={"Content-Type": stored.mime})


FILE_ROUTES: Final = (
    web.post("/v1/files", _file_upload),
    web.get("/v1/files", _file_list),
    web.get("/v1/files/{id}", _file),
    web.delete("/v1/files/{id}", _file_delete),
    web.get("/v1/files/{id}/content", _file_content),
    web.get("/v1/files/{id}/url", _file_url),
    web.get("/blobs/{id}", _blob),
)
