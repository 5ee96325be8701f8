"""Spares a start the list of certificate authorities that no connection will ask for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Final

_EMPTY_LIST: Final = "/dev/null"
_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # what OpenSSL asks for the system's list


@contextmanager
def without_authorities(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Have TLS contexts that are made meanwhile trust nobody, instead of reading the system's list. `environ` is os.environ.

    aiohttp 3.14 makes one when it is imported, for clients that name none: 2 MB, and a tenth of the whole start. There are none
    here: targets are reached with contexts of the road's own, made later. Whoever used it all the same would be refused every
    certificate. Only for imports, before there are threads: what others would make meanwhile would trust nobody either.
    """
    before = {name: environ.get(name) for name in _VARIABLES}
    environ.update(dict.fromkeys(_VARIABLES, _EMPTY_LIST))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environ[name]
            else:
                environ[name] = value
