"""What is said of budgets: to the client that is refused, and to the operator who is warned."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ...errors import Refusal
from ..budget import Budget, Per, Unit
from ..money import usd
from .state import BudgetState, Verdict

SOON_S: Final = 1
"""What a client is told to wait where requests under way hold the rest: nobody knows what they will come to."""

UNKNOWN_S: Final = 5
"""What a client is told to wait where the ledger does not answer."""


def refusal(tally: BudgetState, verdict: Verdict, now_utc: float) -> Refusal:
    """Return the refusal of a request that a budget does not allow: whose budget, how much of how much, and until when."""
    budget = tally.budget
    code = "rate_limited" if budget.per == Per.MINUTE else "budget_spent"
    if verdict != Verdict.SPENT:
        what = f"What is left of {_most(budget)} is held for requests under way."
        return Refusal(code, f"{_who(budget)}: {what}", hint="Send the request again.", retry_after_s=SOON_S)
    resets_ms = tally.span.period.ends_ms
    used = _amount(budget.unit, tally.spent + tally.unbooked + (tally.reserved if budget.unit == Unit.REQUESTS else 0))
    what = f"{_who(budget)} has used {used} of {_most(budget)}; the next {budget.per} begins at {_iso(resets_ms)}."
    return Refusal(code, what, retry_after_s=max(1, -int(-(resets_ms / 1000 - now_utc) // 1)))


def unknown(budget: Budget) -> Refusal:
    """Return the refusal of a request whose budget cannot be looked up."""
    what = f"{_who(budget)}: the ledger cannot be asked what is left of {_most(budget)}."
    return Refusal("overloaded", what, retry_after_s=UNKNOWN_S)


def warning(tally: BudgetState) -> str:
    """Return the message for the operator that a budget will soon be used up."""
    budget, resets = tally.budget, _iso(tally.span.period.ends_ms)
    percent = 100 * tally.spent // budget.most if budget.most else 100
    return f"{_who(budget)} has used {_amount(budget.unit, tally.spent)} of {_most(budget)} ({percent} %), until {resets}."


def posted(tally: BudgetState) -> dict[str, object]:
    """Return the same as the body of a webhook's POST; `text` is what chat services show."""
    budget, period = tally.budget, tally.span.period
    return {
        "event": "budget_warning",
        "text": warning(tally),
        "scope": budget.scope.kind,
        "name": budget.scope.name,
        "unit": str(budget.unit),
        "per": str(budget.per),
        "spent": _figure(budget.unit, tally.spent),
        "limit": _figure(budget.unit, budget.most),
        "starts": _iso(period.starts_ms),
        "resets": _iso(period.ends_ms),
    }


def _who(budget: Budget) -> str:
    scope = budget.scope
    return {"client": f"Client '{scope.name}'", "route": f"Route {scope.name}"}.get(scope.kind, "This proxy")


def _most(budget: Budget) -> str:
    return f"{_amount(budget.unit, budget.most)} per {budget.per}"


def _amount(unit: Unit, amount: int) -> str:
    return f"{usd(amount)} USD" if unit == Unit.USD else f"{amount} {unit}"


def _figure(unit: Unit, amount: int) -> object:
    return usd(amount) if unit == Unit.USD else amount


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
