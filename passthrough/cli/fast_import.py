"""Imports aiohttp without loading the system's certificate authorities, which saves a tenth of the start."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Final

_EMPTY_LIST: Final = "/dev/null"
_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # what OpenSSL asks for the system's list


@contextmanager
def without_authorities(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Make TLS contexts that are created meanwhile trust no authority, instead of reading the system's list.

    `environ` is os.environ. aiohttp 3.14 creates a context when it is imported, for clients that name none: 2 MB, and a tenth of
    the whole start. There are no such clients here: targets are reached with contexts of our own, created later. A client that
    used aiohttp's all the same would refuse every certificate. Only for imports, before there are threads: a context that
    another thread creates meanwhile would trust no authority either.
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
