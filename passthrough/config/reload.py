"""The sources of a configuration, the files that a reload watches, and what a reload may not or cannot change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError, Problem
from ..loopback import is_loopback
from .model import Config, Listen

LOOK_EVERY_S: Final = 1.0
"""How often the configuration's files are checked for a change."""

SETTLED_S: Final = 0.2
"""How long a changed file must stay the same before it is read: the first half of one, written in place, may be valid."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration comes from: `load` reads it (raises ConfigError), `snapshot` returns a digest of its files.

    `contents` returns a digest of some files.
    """

    load: Callable[[], Config]
    snapshot: Callable[[], bytes]
    contents: Callable[[Iterable[Path]], bytes]


class WatchedFiles:
    """Digests of the configuration's files at the last read: its own, and those that the configuration in force names.

    Every method but the constructor reads files.
    """

    def __init__(self, sources: Sources, seen: bytes, config: Config) -> None:
        """`seen` is the snapshot that was taken before `config` was read; the files that it names are read here."""
        self._sources = sources
        self._named = named_files(config)
        self.noted = (seen, sources.contents(self._named))

    def look(self) -> tuple[bytes, bytes]:
        """Return digests of the files as they are now: equal to `noted` where nothing has changed."""
        return self._sources.snapshot(), self._sources.contents(self._named)

    def note(self) -> None:
        """Note the files as they are now, before they are read again."""
        self.noted = self.look()

    def follow(self, config: Config) -> None:
        """Watch the files that another configuration names, before it is used."""
        self._named = named_files(config)
        self.noted = (self.noted[0], self._sources.contents(self._named))


def named_files(config: Config) -> tuple[Path, ...]:
    """Return the certificates, keys, credentials and the price map that a configuration names; flags and variables may, too."""
    listen = config.listen
    targets = [target for route in config.routes for target in route.targets]
    targets += [deployment.target for pool in config.pools for deployment in pool.deployments]
    trusted = {target.ca_file for target in targets}
    named = (listen.tls_cert, listen.tls_key, config.price_map_file, *sorted(filter(None, trusted)), *config.credential_files)
    return tuple(Path(name) for name in named if name is not None)


def check_guarded(config: Config, host: str) -> None:
    """Raise ConfigError where no key is needed any more, but `host`, which a reload does not change, is open to others.

    The file's own check goes by the host that the file names now; the program listens there only after a restart.
    """
    if config.clients or config.allow_anonymous or is_loopback(host):
        return
    what = f"The last key is gone, but the program listens on {host}: everybody who reaches it could call, on your account."
    hint = "Keep client_keys until it is restarted on a loopback host, or write 'allow_anonymous: true'."
    raise ConfigError([Problem(config.file, 0, "client_keys", what, hint)])


def needing_restart(old: Config, new: Config) -> list[str]:
    """Return the names of settings that have changed in the file but that a reload cannot change."""
    fields = [name for name in Listen.__dataclass_fields__ if getattr(old.listen, name) != getattr(new.listen, name)]
    if (old.listen.tls_cert is None) == (new.listen.tls_cert is None):
        fields = [name for name in fields if name not in {"tls_cert", "tls_key"}]  # Another certificate is shown at once.
    names = [name.removesuffix("_s") for name in fields]  # the file's key has its unit in the value
    names += [name for name in ("ledger", "journal") if getattr(old, name) != getattr(new, name)]
    return names if old.tracing == new.tracing else [*names, "OTEL_…"]  # variables, of .env
