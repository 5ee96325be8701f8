"""Garbage collection, kept out of the event loop's way."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, TypeVar

Made = TypeVar("Made")

YOUNG: Final = 1
"""The generation of what the collector has not looked at twice; behind it are the old."""

OLD: Final = 2

_NEW: Final = 5000
"""How many objects more there must be before the collector looks at the new ones; CPython has 700, from 3.13 on 2000.

A few dozen requests under way are more than that by themselves: it would look at them ever again, and find no garbage. What
waits in cycles until then is little, as long as no cycle holds what is large (see reading.Meter).
"""


def without_gc(make: Callable[[], Made]) -> Made:
    """Return what `make` makes, with the collector off meanwhile.

    It stops all threads while it looks at every object there is; whoever makes many that stay has it look again and again.
    """
    gc.disable()
    try:
        return make()
    finally:
        gc.enable()


def freeze_heap(generation: int = OLD) -> None:
    """Collect what is garbage up to a generation, and keep the collector from ever looking again at what is left.

    The young are enough after a start: it brings forth little garbage that grows old, and to look at all that there is would take
    as long as a tenth of it.

    What is there after the start, or after a reload, stays: the libraries, the configuration. It is still freed when nothing
    refers to it any more. The collector is left with what requests make, a millisecond's work instead of thirty and more.
    """
    gc.collect(generation)
    gc.freeze()
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
