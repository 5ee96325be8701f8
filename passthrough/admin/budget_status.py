"""The state of a budget in its running period, for the metrics and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..accounting.budget import Budget, Unit
from ..accounting.money import Number, json_object, usd


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget in its running period. `spent` and `reserved` (for requests in flight) are in the budget's own unit.

    `resets_utc` is when the period ends, in seconds since the epoch. `unpriced` names what was used without a price, where the
    budget refuses requests for it.
    """

    budget: Budget
    spent: int
    reserved: int
    resets_utc: float
    unpriced: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether the figures are nano-USD."""
        return self.budget.unit is Unit.USD

    @property
    def used_ratio(self) -> float:
        """Spent by limit: 1 is used up; requests that were in flight then make it more. A budget of 0 is always used up."""
        return self.spent / self.budget.limit if self.budget.limit else 1.0


def budgets_json(statuses: Sequence[BudgetStatus]) -> str:
    """Return the budgets as one JSON object; money is in dollars with its exact decimals."""
    return json_object((("budgets", Number(f"[{', '.join(map(_one, statuses))}]")),))


def _one(status: BudgetStatus) -> str:
    budget = status.budget
    resets = datetime.fromtimestamp(status.resets_utc, UTC)
    return json_object(
        (
            ("scope", budget.scope.kind),
            ("name", budget.scope.name),
            ("unit", str(budget.unit)),
            ("per", str(budget.per)),
            ("spent", _figure(status, status.spent)),
            ("reserved", _figure(status, status.reserved)),
            ("limit", _figure(status, budget.limit)),
            ("used_percent", Number(f"{status.used_ratio * 100:.1f}")),
            ("used_up", status.used_ratio >= 1),
            ("warn_at", budget.warn_at),
            ("resets", resets.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"),
            ("unpriced", status.unpriced),
        )
    )


def _figure(status: BudgetStatus, value: int) -> object:
    return usd(value) if status.is_money else value
