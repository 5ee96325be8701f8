"""Budgets and limits out of the file: of clients, of routes, and of everything together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..accounting.budget import Budget, Calendar, Per, Scope, Unit
from .problems import At, Problems
from .schema import BudgetPart, LimitsPart, PeriodsPart

ALL: Final = Scope("all")
"""The scope of budgets at the top of the file: everything together."""


class Limits:
    """Collects the budgets of all scopes, and notes duplicates."""

    __slots__ = ("_first", "_problems", "budgets")

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._first: dict[tuple[Scope, Unit, Per], At] = {}
        self.budgets: list[Budget] = []

    def add(self, scope: Scope, part: LimitsPart, at: At) -> None:
        """Add what one client, one route or everything together may spend."""
        for where, budget in _budgets(scope, part, at):
            first = self._first.setdefault((scope, budget.unit, budget.per), where)
            if first is where:
                self.budgets.append(budget)
                continue
            what = f"There is a budget in {budget.unit} per {budget.per} already, on line {self._problems.line(first)}."
            self._problems.wrong(where, what, "Keep one of them: the smaller one would always be used up first.")
        for index, given in enumerate(part.budget):
            if (given.pages is None) == (given.usd is None):
                hint = "Write {pages: 5000, per: month} or {usd: 50, per: day}."
                self._problems.wrong((*at, "budget", index), "A budget is in pages or in usd.", hint)
            elif given.unpriced is not None and given.usd is None:
                what = "A budget in pages has nothing to do with prices."
                self._problems.wrong((*at, "budget", index, "unpriced"), what, "Remove this, or write a budget in usd.")


def _budgets(scope: Scope, part: LimitsPart, at: At) -> Iterator[tuple[At, Budget]]:
    for index, given in enumerate(part.budget):
        yield from (((*at, "budget", index), budget) for budget in _budget(scope, given))
    for name, unit in (("rpm", Unit.REQUESTS), ("pages_per_minute", Unit.PAGES)):
        limit = getattr(part, name)
        if limit is not None:
            yield (*at, name), Budget(scope, unit, Per.MINUTE, limit)


def _budget(scope: Scope, given: BudgetPart) -> Iterator[Budget]:
    if (given.pages is None) == (given.usd is None):
        return
    per = Per(given.per)
    if given.pages is not None:
        yield Budget(scope, Unit.PAGES, per, given.pages, given.warn_at)
    if given.usd is not None:
        yield Budget(scope, Unit.USD, per, given.usd, given.warn_at, given.unpriced == "refuse")


def calendar(part: PeriodsPart) -> Calendar:
    """Return the calendar that says where periods begin."""
    return Calendar(part.time_zone, part.day_starts, part.week_starts, part.month_starts)
