"""Where the configuration is read from, and again; what a reload may not do, and what it cannot change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .config.model import Config, Listen
from .errors import ConfigError, Problem
from .loopback import is_loopback

LOOK_EVERY_S: Final = 1.0
"""How often the configuration's files are looked at for a change."""

SETTLED_S: Final = 0.2
"""How long a changed file must stand still before it is read: the first half of one, written in place, may be valid."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration comes from: `load` reads it anew (raises ConfigError), `snapshot` is a digest of its files."""

    load: Callable[[], Config]
    snapshot: Callable[[], bytes]


def check_guarded(config: Config, host: str) -> None:
    """Raise ConfigError where nobody needs a key any more, but `host`, which a reload does not change, is open to others.

    The file's own check goes by the host that it names now, where nobody listens before the restart.
    """
    if config.clients or config.allow_anonymous or is_loopback(host):
        return
    what = f"The last key is gone, but the program listens on {host}: everybody who reaches it could call, on your account."
    mend = "Keep client_keys until it is restarted on a loopback host, or write 'allow_anonymous: true'."
    raise ConfigError([Problem(config.file, 0, "client_keys", what, mend)])


def needing_restart(old: Config, new: Config) -> list[str]:
    """Return the names of what a reload cannot change but the file now says otherwise."""
    fields = [name for name in Listen.__dataclass_fields__ if getattr(old.listen, name) != getattr(new.listen, name)]
    names = [name.removesuffix("_s") for name in fields]  # the file's key has its unit in the value
    return names + [name for name in ("ledger", "journal") if getattr(old, name) != getattr(new, name)]
