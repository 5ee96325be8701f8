"""Warns the operator of unknown prices, costs that disagree, and rejected credentials: of each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..exchange import Exchange, Outcome
from ..meter.usage import Usage
from .charge import list_charge
from .entry import Charge, printable
from .money import usd
from .pricing.prices import Prices

_COMPLETED: Final = Outcome.COMPLETED  # before Python 3.12 an enum's look-up is slow
_MAX_REMEMBERED: Final = 1000
_NOT_FOUND: Final = 404
_DOUBLED: Final = "/v1/v1/"
_OWN_SANDBOX: Final = "sandbox"
"""The target of all routes of `serve --sandbox`."""

_TOLERANCE: Final = 100  # a hundredth of the list's price


class Notices:
    """Says each thing once: memory is bounded, and beyond a thousand of a kind nothing more is said."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """`warn` takes messages for the operator."""
        self._warn = warn
        self._unpriced_models: set[str] = set()
        self._disagreeing: set[tuple[str, str]] = set()
        self._rejected: set[tuple[str, str | None]] = set()
        self._sandboxes: set[str] = set()
        self._doubled: set[str] = set()

    def forget_prices(self) -> None:
        """Say what is about prices once more: there are other prices."""
        self._unpriced_models.clear()
        self._disagreeing.clear()

    def check_priced(self, charges: Sequence[Charge], target: str | None) -> None:
        """Warn of each model without a price."""
        for model in (unpriced.model or "(not named)" for unpriced in charges if unpriced.cost_nano is None):
            if model in self._unpriced_models or len(self._unpriced_models) >= _MAX_REMEMBERED:
                continue
            self._unpriced_models.add(model)
            self._warn(
                f"No price is known for what model '{model}' of {target} was used for: it is counted and booked as unpriced.\n"
                "Add the model to 'prices' in routes.yaml, or name another with the route's 'meter.model'."
            )

    def check_cost(self, exchange: Exchange, usage: Usage, prices: Prices) -> None:
        """Warn for each route and model if the cost that the provider reported is more than a hundredth off the list's."""
        terms, reported = exchange.terms, exchange.reported_cost_nano
        key = ("" if terms is None else terms.route, usage.model or "")
        if reported is None or key in self._disagreeing or len(self._disagreeing) >= _MAX_REMEMBERED:
            return
        listed = list_charge(exchange, usage, prices)
        if listed is None or listed.cost_nano is None or abs(reported - listed.cost_nano) * _TOLERANCE <= listed.cost_nano:
            return
        self._disagreeing.add(key)
        self._warn(
            f"{exchange.target} reported ${usd(reported)} for a response of model '{usage.model}' on route {printable(key[0])}; "
            f"by {listed.cost_source} it costs ${usd(listed.cost_nano)}. What was reported is booked.\n"
            "Correct the model's row in 'prices' in routes.yaml, or remove 'cost_header' from the route's 'meter'."
        )

    def check_response(self, exchange: Exchange) -> None:
        """Warn of what an upstream's response says of the configuration: see the methods below."""
        self.check_credentials(exchange)
        if exchange.sandbox and exchange.target != _OWN_SANDBOX:
            self._check_sandbox(exchange)
        if exchange.status == _NOT_FOUND and _DOUBLED in exchange.path:
            self._check_path(exchange)

    def _check_sandbox(self, exchange: Exchange) -> None:
        """Warn once of a target that is a sandbox although this program serves real traffic."""
        target = exchange.target or ""
        if target not in self._sandboxes and len(self._sandboxes) < _MAX_REMEMBERED:
            self._sandboxes.add(target)
            self._warn(
                f"{printable(target)} is a sandbox of passthrough: what it counts is booked apart, and no budget counts it.\n"
                "To try budgets, use 'passthrough serve --sandbox'."
            )

    def _check_path(self, exchange: Exchange) -> None:
        """Warn once for each route that a client has the version twice in its paths."""
        route = "" if exchange.terms is None else exchange.terms.route
        if exchange.admitted and route not in self._doubled and len(self._doubled) < _MAX_REMEMBERED:
            self._doubled.add(route)
            self._warn(
                f"{exchange.target} answered 404 on route {printable(route)}: the path has /v1 twice. "
                "The client's base URL has one, and its library puts one, too.\nFor Mistral's SDK the base URL ends without /v1."
            )

    def check_credentials(self, exchange: Exchange) -> None:
        """Warn once that a route's target rejects its credentials, and once more after it has accepted them.

        Where a route has several targets, of each.
        """
        if exchange.terms is None or exchange.status is None or not exchange.admitted or exchange.outcome != _COMPLETED:
            return
        route, deployment = exchange.terms.route, exchange.deployment
        key = route, deployment
        if 200 <= exchange.status < 300:
            self._rejected.discard(key)
        elif exchange.status in {401, 403} and key not in self._rejected:
            self._rejected.add(key)
            named = "" if deployment is None else f" ({printable(deployment)})"
            self._warn(
                f"{exchange.target}{named} answered {exchange.status} on route {route}: "
                "it does not accept the credentials that it gets. Check the variable that its headers name, and the account."
            )
