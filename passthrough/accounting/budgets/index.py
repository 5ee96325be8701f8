"""The budgets that there are, found by who spends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .state import BudgetHistory


class BudgetIndex:
    """All purses of one configuration; never changed once it is made."""

    __slots__ = ("_every", "_of_all", "_of_clients", "_of_routes")

    def __init__(self, purses: Iterable[BudgetHistory] = ()) -> None:
        self._every = tuple(purses)
        self._of_all: list[BudgetHistory] = []
        self._of_clients: dict[str, list[BudgetHistory]] = {}
        self._of_routes: dict[str, list[BudgetHistory]] = {}
        for purse in self._every:
            scope = purse.budget.scope
            if scope.kind == "client":
                self._of_clients.setdefault(scope.name, []).append(purse)
            elif scope.kind == "route":
                self._of_routes.setdefault(scope.name, []).append(purse)
            else:
                self._of_all.append(purse)

    def __iter__(self) -> Iterator[BudgetHistory]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    def of(self, client: str | None, route: str | None) -> list[BudgetHistory]:
        """Return those that an exchange is paid from: the client's, the route's, the one for all."""
        found = self._of_all
        if self._of_clients and client is not None:
            found = found + self._of_clients.get(client, [])
        if self._of_routes and route is not None:
            found = found + self._of_routes.get(route, [])
        return found
