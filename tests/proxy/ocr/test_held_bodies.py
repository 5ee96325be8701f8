"""Room for held bodies: first come, first served, and never more than there is."""

from __future__ import annotations

import asyncio

import pytest

from passthrough.proxy.ocr.held_bodies import HeldBodies

pytestmark = pytest.mark.fast


async def test_room_is_given_in_order() -> None:
    """One that waits is not overtaken, not even by one that would fit."""
    held = HeldBodies(100)
    first = held.take_at_once(60)
    assert first is not None
    large = asyncio.ensure_future(held.reserve(50, None))
    small = asyncio.ensure_future(held.reserve(10, None))
    await asyncio.sleep(0)
    assert held.take_at_once(1) is None
    first.release()
    first.release()
    rooms = await asyncio.gather(large, small)
    assert 60 == held.taken
    for room in rooms:
        room.release()
    assert 0 == held.taken


async def test_a_wait_that_ends_lets_the_next_one_go_on() -> None:
    """By its time-out, or because its client leaves; nothing stays taken."""
    held = HeldBodies(100)
    first = held.take_at_once(60)
    assert first is not None
    with pytest.raises(TimeoutError):
        await held.reserve(90, 0)
    gone = asyncio.ensure_future(held.reserve(90, None))
    await asyncio.sleep(0)
    behind = asyncio.ensure_future(held.reserve(40, None))
    await asyncio.sleep(0)
    gone.cancel()
    room = await behind
    assert 100 == held.taken
    first.release()
    room.release()
    assert 0 == held.taken


async def test_one_that_leaves_when_its_turn_comes_gives_it_back() -> None:
    """The room that it has got, and cannot use, is the next one's."""
    held = HeldBodies(100)
    first = held.take_at_once(100)
    assert first is not None
    gone = asyncio.ensure_future(held.reserve(100, None))
    await asyncio.sleep(0)
    first.release()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert 0 == held.taken


async def test_more_room_after_a_reload_is_given_at_once() -> None:
    """Who waits need not wait for another to end."""
    held = HeldBodies(100)
    first = held.take_at_once(100)
    assert first is not None
    waiting = asyncio.ensure_future(held.reserve(50, None))
    await asyncio.sleep(0)
    held.resize(150)
    room = await waiting
    held.resize(10)
    assert held.take_at_once(1) is None
    first.release()
    room.release()
    assert 0 == held.taken


async def test_room_shrinks_to_what_is_needed() -> None:
    """A body of unknown length takes the most, until its length is known."""
    held = HeldBodies(100)
    room = await held.reserve(80, None)
    room.shrink(30)
    room.shrink(50)
    assert 30 == held.taken
    room.release()
    assert 0 == held.taken


async def test_one_that_leaves_while_another_gives_back() -> None:
    """In the same turn of the event loop: it is cancelled, and nothing else."""
    held = HeldBodies(100)
    first = held.take_at_once(100)
    assert first is not None
    gone = asyncio.ensure_future(held.reserve(100, None))
    await asyncio.sleep(0)
    gone.cancel()
    first.release()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert 0 == held.taken
