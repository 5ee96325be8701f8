"""The log messages on a configuration that comes into force: logged once, by one process or for several workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sized
from typing import Final

from ..loopback import is_loopback
from .model import Config
from .reload import needing_restart

Messages = Iterator[tuple[int, str]]
"""Log messages, each with its level."""

ANONYMOUS: Final = "No client keys: everybody who reaches the port may call."


def started(config: Config, traffic: str, admin: str, *, sandbox: bool) -> Messages:
    """Yield the messages once the program listens; `traffic` and `admin` are URLs."""
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
    """Yield the messages on a configuration that comes into force; `before` is the one before it, at the start itself."""
    if before.clients and not config.clients:
        yield logging.WARNING, ANONYMOUS
    for problem in config.warnings:
        yield logging.WARNING, str(problem)


def reloaded(config: Config, start: Config) -> Messages:
    """Yield the messages on a reload that succeeded; `start` is what the program was started with."""
    yield logging.INFO, f"Reloaded {config.file}: {_number(config.routes, 'route')}, {_number(config.clients, 'client key')}."
    for name in needing_restart(start, config):
        yield logging.WARNING, f"{config.file}: '{name}' has changed; that takes a restart."


def not_reloaded(error: Exception) -> str:
    """Return the message on a reload that failed."""
    return f"The configuration was not reloaded; the last good one is in force.\n{error}"


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
