"""The targets of one endpoint, and which of them a client's requests stay with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..routes import Route
from .deployment import Deployment, ModelGroup
from .model_table import ModelTable


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

    def at_port(self, port: int) -> Pool:
        """Return the same pool with all targets at another port: the sandbox's, which is known when it runs."""
        return replace(self, table=self.table.at_port(port))
