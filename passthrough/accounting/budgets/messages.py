"""The texts about budgets: refusals for clients, warnings for the operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from ...errors import Refusal
from ..budget import Budget, Per, Unit, Unpriced
from ..money import usd
from .state import BudgetState, Verdict

SOON_S: Final = 1
"""Retry-After where requests under way hold the rest of a budget: what they will cost is not known yet."""

UNKNOWN_S: Final = 5
"""Retry-After where the ledger does not respond."""

_MAX_NAME: Final = 100


def refusal(state: BudgetState, verdict: Verdict, now_utc: float) -> Refusal:
    """Return the refusal of a request that a budget does not allow: whose budget, how much is used of what, and until when."""
    budget = state.budget
    code = "rate_limited" if budget.per == Per.MINUTE else "budget_spent"
    if verdict != Verdict.SPENT:
        what = f"What is left of {_limit(budget)} is held for requests under way."
        return Refusal(code, f"{_who(budget)}: {what}", hint="Send the request again.", retry_after_s=SOON_S)
    used = _amount(budget.unit, state.spent + state.unbooked + (state.reserved if budget.unit == Unit.REQUESTS else 0))
    what = f"{_who(budget)} has used {used} of {_limit(budget)}; {_next(state)}."
    return Refusal(code, what, retry_after_s=_left_s(state, now_utc))


def refusal_unpriced(state: BudgetState, lacking: Unpriced, now_utc: float) -> Refusal:
    """Return the refusal of a request because something was used that has no price: what, in whose budget, and until when.

    It does not name the target: a deployment's address is the operator's, who finds it under `/budgets`.
    """
    budget = state.budget
    item = named(replace(lacking, target=None))
    what = f"{_who(budget)} has used {item}, which has no price, so that {_limit(budget)} cannot be held"
    return Refusal("budget_unpriced", f"{what}; {_next(state)}.", retry_after_s=_left_s(state, now_utc))


def named(item: Unpriced) -> str:
    """Return what has no price as the operator may find it: the model, and where it was used."""
    model = "a model without a name" if item.model is None else f"model '{item.model[:_MAX_NAME]}'"
    where = "" if item.target is None else f" of {item.target}"
    return f"{model}{where}" if item.route is None else f"{model}{where} on route {item.route}"


def refusal_without_ledger(budget: Budget) -> Refusal:
    """Return the refusal of a request whose budget cannot be looked up in the ledger."""
    what = f"{_who(budget)}: the ledger cannot be asked what is left of {_limit(budget)}."
    return Refusal("overloaded", what, retry_after_s=UNKNOWN_S)


def warning(state: BudgetState) -> str:
    """Return the warning that a budget will soon be used up."""
    budget, resets = state.budget, _iso(state.span.period.ends_ms)
    percent = 100 * state.spent // budget.limit if budget.limit else 100
    return f"{_who(budget)} has used {_amount(budget.unit, state.spent)} of {_limit(budget)} ({percent} %), until {resets}."


def webhook_body(state: BudgetState) -> dict[str, object]:
    """Return the warning as the JSON body of a webhook's POST; chat services show `text`."""
    budget, period = state.budget, state.span.period
    return {
        "event": "budget_warning",
        "text": warning(state),
        "scope": budget.scope.kind,
        "name": budget.scope.name,
        "unit": str(budget.unit),
        "per": str(budget.per),
        "spent": _figure(budget.unit, state.spent),
        "limit": _figure(budget.unit, budget.limit),
        "starts": _iso(period.starts_ms),
        "resets": _iso(period.ends_ms),
    }


def _next(state: BudgetState) -> str:
    return f"the next {state.budget.per} begins at {_iso(state.span.period.ends_ms)}"


def _left_s(state: BudgetState, now_utc: float) -> int:
    """Return how long a period lasts, in whole seconds: 1 at least."""
    return max(1, -int(-(state.span.period.ends_ms / 1000 - now_utc) // 1))


def _who(budget: Budget) -> str:
    scope = budget.scope
    return {"client": f"Client '{scope.name}'", "route": f"Route {scope.name}"}.get(scope.kind, "This proxy")


def _limit(budget: Budget) -> str:
    return f"{_amount(budget.unit, budget.limit)} per {budget.per}"


def _amount(unit: Unit, amount: int) -> str:
    return f"{usd(amount)} USD" if unit == Unit.USD else f"{amount} {unit}"


def _figure(unit: Unit, amount: int) -> object:
    return usd(amount) if unit == Unit.USD else amount


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
