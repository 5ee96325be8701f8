"""Protects routes that ask for no key, on loopback, from web pages of other sites: DNS rebinding and cross-site requests.

A browser on this machine sends requests for every page that it shows. Where no key is needed, two kinds of them would spend the
operator's: (1) those of a page whose own name was made to point to 127.0.0.1 (DNS rebinding), which can read the responses;
(2) those of any page, where the request needs no preflight, such as a POST of text/plain: it spends, although the page cannot
read the response.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from ..errors import Refusal
from ..loopback import names_loopback
from .headers import Fields

_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_WEB_ORIGIN: Final = re.compile(rb"https?://([^/?#]+)")


class PageGuard:
    """Refuses requests without a key that do not come from this machine's programs or from a page that may call."""

    __slots__ = ("_origins",)

    def __init__(self, origins: Collection[bytes] = ()) -> None:
        """`origins`: those of the pages that may call besides loopback's own, as browsers send them in Origin."""
        self._origins = frozenset(origins)

    def check(self, target: bytes, fields: Fields) -> None:
        """Raise Refusal for a request that only a page of another site sends; `target` is the whole request target.

        1. `misdirected`: every name for this machine must be loopback's: Host, and the authority of a target in absolute form,
           which overrides Host (RFC 9112 §3.2.2). HTTP/1.0 may name none; no browser speaks it.
        2. `foreign_origin`: an Origin that is neither loopback's, on any port, nor one that may call. `null` is refused too: any
           page can have it, from inside a sandboxed frame.
        3. `foreign_origin`: no Origin, and Sec-Fetch-Site says `cross-site`: browsers leave Origin out where a GET is for an
           image, a script or a link. A page of loopback sends Origin with everything that can spend, so that none is refused.
        """
        names = [value for lower, _, value in fields if lower == b"host"]
        if (absolute := _ABSOLUTE.match(target)) is not None:
            names.append(absolute[1])
        if not all(names_loopback(name.decode("latin-1")) for name in names):
            raise Refusal("misdirected", "Without a key, this route is served under loopback's names only.")
        origins = [value for lower, _, value in fields if lower == b"origin"]
        if not all(self._may_call(origin) for origin in origins):
            raise Refusal("foreign_origin", "Without a key, this route serves no web page of another site.")
        if not origins and any(lower == b"sec-fetch-site" and value.lower() == b"cross-site" for lower, _, value in fields):
            raise Refusal("foreign_origin", "Without a key, this route serves no link or image of another site.")

    def _may_call(self, origin: bytes) -> bool:
        if origin in self._origins:
            return True
        web = _WEB_ORIGIN.fullmatch(origin)
        return web is not None and names_loopback(web[1].decode("latin-1"))
