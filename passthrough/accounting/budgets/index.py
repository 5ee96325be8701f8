"""The budgets of one configuration, indexed by client and route."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .state import BudgetHistory


class BudgetIndex:
    """All budgets of one configuration; immutable."""

    __slots__ = ("_every", "_of_all", "_of_clients", "_of_routes")

    def __init__(self, histories: Iterable[BudgetHistory] = ()) -> None:
        self._every = tuple(histories)
        self._of_all: list[BudgetHistory] = []
        self._of_clients: dict[str, list[BudgetHistory]] = {}
        self._of_routes: dict[str, list[BudgetHistory]] = {}
        for history in self._every:
            scope = history.budget.scope
            if scope.kind == "client":
                self._of_clients.setdefault(scope.name, []).append(history)
            elif scope.kind == "route":
                self._of_routes.setdefault(scope.name, []).append(history)
            else:
                self._of_all.append(history)

    def __iter__(self) -> Iterator[BudgetHistory]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    def of(self, client: str | None, route: str | None) -> list[BudgetHistory]:
        """Return the budgets that an exchange counts against: the client's, the route's, and those for all."""
        found = self._of_all
        if self._of_clients and client is not None:
            found = found + self._of_clients.get(client, [])
        if self._of_routes and route is not None:
            found = found + self._of_routes.get(route, [])
        return found
