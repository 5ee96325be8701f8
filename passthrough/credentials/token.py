"""A token, and the error of one that could not be fetched."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import PassthroughError
from ..secret import Secret


class FetchError(PassthroughError):
    """A token could not be fetched. The message says why, and holds no secret: neither a key nor what a server echoed of one.

    `sort` is the sort of trouble: what repeats is logged once, even where the messages differ. By default it is the message.
    """

    def __init__(self, message: str, sort: str = "") -> None:
        super().__init__(message)
        self.sort = sort or message


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. `good_until_utc` is when it ends, in seconds since the epoch, as the token's server says."""

    secret: Secret
    good_until_utc: float
    line: bytes = field(init=False, repr=False, compare=False)
    """`Authorization: Bearer …`, as a line of a request's head, without its end."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", b"Authorization: Bearer " + self.secret.reveal().encode("ascii"))
