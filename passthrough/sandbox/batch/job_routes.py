"""The paths of the sandbox under /v1/batch/jobs."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..encoded_response import EncodedResponse, encoded
from ..errors import Rejection
from ..job_thread import IsCancelled
from ..resources import RESOURCES
from ..responses import PAGE_SIZE, json_response, query_number, response_of, takes_gzip
from .job import ENDED, JobOrder, parse_order


async def _job_create(request: web.Request) -> web.Response:
    resources, raw, gzipped = request.app[RESOURCES], await request.read(), takes_gzip(request)

    def ordered(_: IsCancelled) -> JobOrder | EncodedResponse:
        try:
            return parse_order(raw)
        except Rejection as rejection:  # it echoes the order, which may be large
            return encoded(rejection.status, rejection.body, gzipped, rejection.headers)

    order = await resources.reader.run(ordered)
    if isinstance(order, EncodedResponse):
        return response_of(order)
    return json_response(request, resources.batches.start(order).to_json())


async def _job_list(request: web.Request) -> web.Response:
    page, size = query_number(request, "page", 0, 0, 10**9), query_number(request, "page_size", PAGE_SIZE, 1, 1000)
    statuses, model = request.query.getall("status", []), request.query.get("model")
    jobs = [
        job
        for job in request.app[RESOURCES].batches.listed()
        if (not statuses or job.status in statuses) and model in {None, job.order.model}
    ]
    if request.query.get("order_by") == "created":
        jobs.reverse()
    shown = [job.to_json() for job in jobs[page * size : (page + 1) * size]]
    return json_response(request, {"data": shown, "object": "list", "total": len(jobs)})


async def _job(request: web.Request) -> web.Response:
    batches = request.app[RESOURCES].batches
    job = batches.get(request.match_info["id"])
    wants_results = request.query.get("inline", "").lower() in {"true", "1"} and job.status in ENDED
    return json_response(request, job.to_json(await batches.outputs(job) if wants_results else None))


async def _job_cancel(request: web.Request) -> web.Response:
    return json_response(request, request.app[RESOURCES].batches.cancel(request.match_info["id"]).to_json())


async def _job_delete(request: web.Request) -> web.Response:
    job_id = request.match_info["id"]
    request.app[RESOURCES].batches.delete(job_id)
    return json_response(request, {"id": job_id, "object": "batch", "deleted": True})


JOB_ROUTES: Final = (
    web.post("/v1/batch/jobs", _job_create),
    web.get("/v1/batch/jobs", _job_list),
    web.get("/v1/batch/jobs/{id}", _job),
    web.post("/v1/batch/jobs/{id}/cancel", _job_cancel),
    web.delete("/v1/batch/jobs/{id}", _job_delete),
)
