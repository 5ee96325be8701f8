"""The routes that choose their target by the request's model, and their conflicts with those of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...exchange import RouteTerms
from ...meter.plan import MeterPlan
from ...proxy.deployments.deployment import OCR_ROUTE
from ...proxy.routes import LabelHeader, Route, Serves
from ..problems import At, Problems

OCR_PATHS: Final = ("/v1/ocr", "/ocr", "/providers/mistral/azure/ocr")
_PREDICTIONS: Final = "/v1/projects"
_MODELS: Final = ("/v1/models", "/models")
_SERVED: Final = (
    *((path, Serves.OCR, "POST") for path in OCR_PATHS),
    (_PREDICTIONS, Serves.PREDICTION, "POST"),
    *((path, Serves.MODELS, "GET") for path in _MODELS),
)
NAMED: Final = frozenset({"/v1/ocr", "/ocr"})
"""What `client_keys.routes` may name them by: all of them are one route."""


def ocr_routes(labels: tuple[LabelHeader, ...]) -> tuple[Route, ...]:
    """Return the routes without a target; all are one for the log, the ledger and budgets."""
    return tuple(
        Route(
            path=path.encode("ascii"),
            targets=(),
            terms=RouteTerms(OCR_ROUTE, MeterPlan("none" if serves is Serves.MODELS else "ocr")),
            include_subpath=serves is Serves.PREDICTION,
            methods=frozenset({"GET", "HEAD"} if method == "GET" else {method}),  # RFC 9110 §9.1: who takes GET takes HEAD
            label_headers=labels,
            serves=serves,
        )
        for path, serves, method in _SERVED
    )


def check_conflicts(routes: Sequence[tuple[At, Route]], served: Sequence[Route], problems: Problems) -> None:
    """Note routes of the file that have the path and method of one of `served`; say where a wider one loses paths to them."""
    for at, route in routes if served else ():
        for path, _, method in _SERVED:
            if not route.allows(method):
                continue
            if route.path == path.encode("ascii"):
                what = f"model_list has OCR models, which are served under {path} ({method})."
                problems.wrong((*at, "path"), what, "Change the path, or remove the OCR entries from model_list.")
        lost = [path for path in OCR_PATHS if route.include_subpath and _below(route.path, path) and route.allows("POST")]
        if lost:
            what = f"{', '.join(lost)} below it: the models of model_list are served there, not this route."
            problems.warn((*at, "path"), what, "Change the path if these are to go to its target.")


def _below(prefix: bytes, path: str) -> bool:
    return prefix != path.encode("ascii") and path.startswith(prefix.decode("ascii") + "/")
