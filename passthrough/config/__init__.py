"""The configuration: routes.yaml → Config, or every problem at once, each with its line."""

from .environment import environment, snapshot
from .loading import DEFAULT_FILE, load, load_costs_per_request, load_ledger_url, load_prices
from .model import Config, Listen
from .schema import schema
from .table import COLUMNS, rows

__all__ = [
    "COLUMNS",
    "DEFAULT_FILE",
    "Config",
    "Listen",
    "environment",
    "load",
    "load_costs_per_request",
    "load_ledger_url",
    "load_prices",
    "rows",
    "schema",
    "snapshot",
]
