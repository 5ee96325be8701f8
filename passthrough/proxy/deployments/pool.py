"""The targets of one endpoint, and which of them a client's requests stay with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from ...meter.path_variants import folded, variants
from ..routes import Route
from .affinity import Affinity
from .deployment import Deployment, ModelGroup
from .model_table import ModelTable

_FILES: Final = re.compile(rb"/files(?:/|\Z)").search


def is_single_ocr(method: str, path: bytes) -> bool:
    """Tell whether a request is a single OCR call, by its method and raw path, spelt as the provider has it."""
    return method == "POST" and path.endswith(b"/ocr")


def names_files(path: bytes) -> bool:
    """Tell whether a raw path has a segment `files`, in any spelling that a lenient server reads as that."""
    return any(_FILES(folded(variant)) for variant in variants(path))


@dataclass(frozen=True, slots=True)
class Pool:
    """An endpoint with `targets`.

    `route` is the endpoint's: it serves `POOL`, has no target, and admits requests. `table` has one group, whose deployments are
    the targets; each has a route of its own, with its headers, its `upstream_auth` and its meter. `sticky`: the requests of one
    client key stay with one target; None: all but `POST …/ocr`, and those too of a client that uses files there.
    """

    route: Route
    table: ModelTable
    sticky: bool | None
    _affinity: Affinity = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_affinity", Affinity(self.table.deployments))

    @property
    def group(self) -> ModelGroup:
        """Return the group of the targets."""
        return self.table.group(self.name)

    @property
    def name(self) -> str:
        """Return the endpoint's path, as the file has it."""
        return self.route.terms.route

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return the targets, in the order of the file."""
        return self.table.deployments

    def ranked(self, client: str) -> tuple[Deployment, ...]:
        """Return the targets in the order in which a client (the name of its key) goes to them; the first is its home."""
        return self._affinity.ranked(client)

    @property
    def fetches_tokens(self) -> bool:
        """Whether a token is fetched for any of the targets."""
        return any(each.route.upstream_auth is not None for each in self.deployments)

    def at_port(self, port: int) -> Pool:
        """Return the same pool with all targets at another port: the sandbox's, which is known when it runs."""
        return replace(self, table=self.table.at_port(port))
