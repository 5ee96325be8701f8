"""The state of one request while the relay serves it: what its phases hand to each other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from ..exchange import Exchange
from ..meter.request import AnyRequestMeter
from .call import Call
from .downstream.response_writer import ResponseWriter
from .replay_buffer import ReplayBuffer
from .request_head import RequestHead
from .upstream.steps import Steps


class Held(Protocol):
    """What one request holds in memory until it ends."""

    def close(self) -> None:
        """Drop it. Idempotent."""
        ...


@dataclass(slots=True)
class RequestContext:
    """What is known of one request so far. None: its phase has not come to that yet, or does not need it.

    `call` belongs to the relay until it is released to the pool, aborted, or handed to settling. `batches` holds where several
    requests are active: then small writes of one event loop iteration go out together. `delimited` tells whether the response's
    own framing shows its end, `keeps_alive` whether the client's connection serves another request. `steps` says what is done;
    None where nobody debugs.
    """

    exchange: Exchange
    downstream: ResponseWriter
    head: RequestHead | None = None
    call: Call | None = None
    replay: ReplayBuffer | None = None
    held: Held | None = None
    request_meter: AnyRequestMeter | None = None
    upload_task: asyncio.Task[None] | None = None
    batches: bool = False
    delimited: bool = False
    keeps_alive: bool = False
    steps: Steps | None = None
