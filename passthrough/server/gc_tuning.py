"""Tunes CPython's garbage collector, so that it pauses the event loop as little as possible."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, TypeVar

Made = TypeVar("Made")

YOUNG: Final = 1
"""The generation of objects that the collector has not looked at twice."""

OLD: Final = 2
"""The generation of all other objects."""

_NEW: Final = 5000
"""How many more objects there must be before the collector looks at the new ones; CPython has 700, from 3.13 on 2000.

A few dozen requests under way are more than that by themselves: it would look at them again and again, and find no garbage.
Little waits in cycles until then, as long as no cycle holds what is large (see meter.Meter).
"""


def without_gc(make: Callable[[], Made]) -> Made:
    """Return what `make` returns; the collector is off meanwhile.

    The collector stops all threads while it looks at every object. Code that makes many objects which stay would have it look
    again and again.
    """
    gc.disable()
    try:
        return make()
    finally:
        gc.enable()


def freeze_heap(generation: int = OLD) -> None:
    """Collect the garbage up to a generation, and keep the collector from ever looking again at what is left.

    After a start the young generation is enough: little garbage has grown old by then, and a look at all objects would take a
    tenth of the whole start.

    What exists after a start or a reload stays: the libraries, the configuration. It is still freed when nothing refers to it
    any more. The collector is left with what requests make, a millisecond's work instead of thirty and more.
    """
    gc.collect(generation)
    gc.freeze()
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
