"""What is said of a configuration when it comes into force: once, whether one process or several go by it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sized
from typing import Final

from ..loopback import is_loopback
from .model import Config
from .reload import needing_restart

Messages = Iterator[tuple[int, str]]
"""Messages with their level."""

ANONYMOUS: Final = "No client keys: everybody who reaches the port may call."


def started(config: Config, traffic: str, admin: str, *, sandbox: bool) -> Messages:
    """Yield what is said once the program listens; `traffic` and `admin` are URLs."""
    yield logging.INFO, f"Listening on {traffic}, admin on {admin}."
    if sandbox:
        yield (
            logging.INFO,
            "Sandbox: every route goes to a local imitation of Mistral's API; nothing is billed, and its key is not needed.",
        )
    if not config.clients:
        yield logging.WARNING, ANONYMOUS
    if config.listen.workers > 1 and config.ledger is None and config.budgets:
        yield logging.WARNING, "Without a ledger workers share no budgets: each allows as much as if it were alone."
    if config.admin_digest is None and not is_loopback(config.listen.admin_host):
        yield logging.INFO, "The admin port is open to other machines, and there is no admin_key: it answers health only."


def adopted(config: Config, before: Config) -> Messages:
    """Yield what is said of a configuration that comes into force after another, or after itself at the start."""
    if before.clients and not config.clients:
        yield logging.WARNING, ANONYMOUS
    for problem in config.warnings:
        yield logging.WARNING, str(problem)


def reloaded(config: Config, start: Config) -> Messages:
    """Yield what is said of a reload; `start` is what the program was started with."""
    yield logging.INFO, f"Reloaded {config.file}: {_number(config.routes, 'route')}, {_number(config.clients, 'client key')}."
    for name in needing_restart(start, config):
        yield logging.WARNING, f"{config.file}: '{name}' has changed; that takes a restart."


def not_reloaded(error: Exception) -> str:
    """Return what is said where the configuration cannot be read anew."""
    return f"The configuration was not reloaded; the last good one is in force.\n{error}"


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
