"""Routes to one target each, with the places in the file that say where each goes, and what it sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...proxy.deployments.deployment import Deployment
from ...proxy.deployments.pool import Pool
from ...proxy.routes import Route
from ..problems import At
from ..schema import Endpoint


@dataclass(frozen=True, slots=True)
class Placed:
    """What one target is called by: an endpoint, one of its `targets`, or an entry of model_list.

    `at` is its own place, `target_at` that of its URL, `meter_at` that of its meter, `header_places` those of the fields that it
    sets (lower case). `deployment` is that of an entry of model_list, None for the others.
    """

    route: Route
    at: At
    target_at: At
    meter_at: At
    header_places: Mapping[bytes, At]
    deployment: Deployment | None = None


def placed_routes(endpoints: Iterable[tuple[At, Endpoint]], routes: Iterable[Route], pools: Sequence[Pool]) -> Iterator[Placed]:
    """Yield what each endpoint is called by, of one with `targets` each target; `routes` are those of the endpoints."""
    pool_of = {id(pool.route): pool for pool in pools}
    for (at, endpoint), route in zip(endpoints, routes, strict=True):
        headers = {name.lower().encode("ascii"): (*at, "headers", name) for name in endpoint.headers}
        pool = pool_of.get(id(route))
        if pool is None:
            yield Placed(route, at, (*at, "target"), (*at, "meter"), headers)
            continue
        for index, (item, each) in enumerate(zip(endpoint.targets or (), pool.deployments, strict=True)):
            place = (*at, "targets", index)
            own = {name.lower().encode("ascii"): (*place, "headers", name) for name in item.headers}
            meter = at if item.meter is None else place
            yield Placed(each.route, place, (*place, "target"), (*meter, "meter"), headers | own)


def placed_deployments(deployments: Iterable[Deployment], places: Mapping[str, At]) -> Iterator[Placed]:
    """Yield what each entry of model_list is called by; `places` are theirs, by the ids of the deployments."""
    for each in deployments:
        at = places[each.id]
        params = (*at, "litellm_params")
        headers: dict[bytes, At] = {}
        for name, _ in each.route.headers:
            is_key = name == b"Authorization" and not headers  # it comes first: see `deployments`
            headers[name.lower()] = (*params, "api_key") if is_key else (*params, "extra_headers", name.decode("ascii"))
        yield Placed(each.route, params, (*params, "api_base"), (*params, "model"), headers, each)
