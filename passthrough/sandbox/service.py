"""The sandbox's HTTP service: paths, credentials, and the headers that every response carries."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .batch.batches import Batches
from .batch.job_routes import JOB_ROUTES
from .encoded_response import EncodedResponse, encoded, encoded_answer, json_bytes
from .errors import Rejection, detail, in_shape_of, not_found, too_large
from .file_routes import FILE_ROUTES
from .file_store import FileStore
from .job_thread import IsCancelled, JobThread
from .models import card, listed
from .ocr import Endpoint, pages_read
from .pace import Pace
from .provider import Api, Provider
from .resources import BOUNDS, PACE, PROVIDER, RESOURCES, Bounds, Resources
from .responses import json_response, response_of, takes_gzip
from .text.chat import Complete, Completion, chat_completion, fim_completion
from .text.embeddings import embedded

_VERTEX_MODEL: Final = re.compile(r"models/([^/]+):rawPredict")


def build(*, key: str | None, bounds: Bounds, clock: Callable[[], float], provider: Provider, pace: Pace) -> web.Application:
    """Return the application, with the paths of the API that is played; its files and threads exist while it runs."""
    app = web.Application(client_max_size=bounds.json_bytes, middlewares=[_guarded(key)])
    app[BOUNDS] = bounds
    app[PROVIDER] = provider
    app[PACE] = pace
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
            *FILE_ROUTES,
            web.post("/v1/chat/completions", _chat),
            web.post("/v1/fim/completions", _fim),
            web.post("/v1/embeddings", _embeddings),
            *JOB_ROUTES,
            web.get("/v1/models", _model_list),
            web.get("/v1/models/{id}", _model),
        ],
    }


def _resources(clock: Callable[[], float]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def resources(app: web.Application) -> AsyncIterator[None]:
        reader, disk = JobThread("sandbox-reader"), JobThread("sandbox-disk")
        directory = await disk.run(lambda _: tempfile.TemporaryDirectory(prefix="passthrough-sandbox-"))
        files = FileStore(Path(directory.name), secrets.token_bytes(32), clock)
        batches = Batches(files, reader, _batch_answers(files), app[PACE].batch_s)
        app[RESOURCES] = Resources(files, batches, reader, disk)
        yield
        await batches.close()
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
            wrong = too_large(f"The request is larger than {request.app[BOUNDS].json_bytes} bytes.")
        return response_of(encoded(wrong.status, wrong.body, takes_gzip(request), wrong.headers))

    return guarded


def _holds(headers: Mapping[str, str], key: str) -> bool:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    offered = token.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
    return hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape"))


async def _ocr(request: web.Request) -> web.Response:
    api = request.app[PROVIDER].api
    return await _read(request, Endpoint(any_model=api.inline_only, api=api))


async def _ocr_azure(request: web.Request) -> web.Response:
    return await _read(request, Endpoint(any_model=True, api=Api.AZURE))


async def _ocr_vertex(request: web.Request) -> web.Response:
    named = _VERTEX_MODEL.search(request.match_info["path"])
    return await _read(request, Endpoint(any_model=True, model=named[1] if named else None, api=Api.VERTEX))


async def _read(request: web.Request, endpoint: Endpoint) -> web.Response:
    raw = await _received(request, endpoint.api)
    files = request.app[RESOURCES].files
    return await _answered(request, lambda is_cancelled: pages_read(raw, files, endpoint, is_cancelled), endpoint.api)


async def _received(request: web.Request, api: Api) -> bytes:
    """Return the body of a call that may fail at random. Raises Rejection."""
    raw = await request.read()
    if failure := request.app[PROVIDER].failure():
        raise in_shape_of(api, failure)
    return raw


async def _answered(
    request: web.Request, answer: Callable[[IsCancelled], Mapping[str, object]], api: Api = Api.MISTRAL
) -> web.Response:
    """Return what the reader's thread makes of a request."""
    gzipped = takes_gzip(request)
    return response_of(
        await request.app[RESOURCES].reader.run(lambda is_cancelled: encoded_answer(lambda: answer(is_cancelled), api, gzipped))
    )


async def _chat(request: web.Request) -> web.StreamResponse:
    return await _completed(request, chat_completion)


async def _fim(request: web.Request) -> web.StreamResponse:
    return await _completed(request, fim_completion)


async def _completed(request: web.Request, complete: Complete) -> web.StreamResponse:
    resources, raw, gzipped = request.app[RESOURCES], await _received(request, Api.MISTRAL), takes_gzip(request)

    def completed(is_cancelled: IsCancelled) -> Completion | EncodedResponse:
        streams: list[Completion] = []

        def answer() -> Mapping[str, object]:
            completion = complete(raw, resources.files, is_cancelled)
            streams.extend([completion] if completion.stream else [])
            return {} if completion.stream else completion.to_json()

        whole = encoded_answer(answer, Api.MISTRAL, gzipped)
        return streams[0] if streams else whole

    found = await resources.reader.run(completed)
    return await _streamed(request, found) if isinstance(found, Completion) else response_of(found)


async def _streamed(request: web.Request, completion: Completion) -> web.StreamResponse:
    """Send a completion as events, each for itself (WHATWG HTML §9.2.6), until the client leaves."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for event in completion.events():
        await response.write(b"data: " + json_bytes(event) + b"\n\n")
        await asyncio.sleep(request.app[PACE].token_s)
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _embeddings(request: web.Request) -> web.Response:
    raw = await _received(request, Api.MISTRAL)
    return await _answered(request, lambda _: embedded(raw))


def _batch_answers(files: FileStore) -> dict[str, Callable[[bytes, IsCancelled], dict[str, object]]]:
    """Return what answers the lines of a batch, for each endpoint that has batches."""
    return {
        "/v1/ocr": lambda raw, is_cancelled: pages_read(raw, files, Endpoint(), is_cancelled),
        "/v1/chat/completions": lambda raw, is_cancelled: chat_completion(raw, files, is_cancelled).to_json(),
        "/v1/fim/completions": lambda raw, is_cancelled: fim_completion(raw, files, is_cancelled).to_json(),
        "/v1/embeddings": lambda raw, _: embedded(raw),
    }


async def _model_list(request: web.Request) -> web.Response:
    return json_response(request, listed())


async def _model(request: web.Request) -> web.Response:
    return json_response(request, card(request.match_info["id"]))
