"""Small writes of one turn of the event loop, sent together."""

from __future__ import annotations

import asyncio
from typing import Any

from passthrough.road.turn import Turn


async def test_what_is_due_is_sent_at_the_end_of_the_turn_in_its_order() -> None:
    """Nothing is sent where it is due; all of it has gone, in order, before whatever was to happen behind it."""
    loop = asyncio.get_running_loop()
    turn, sent = Turn(loop), list[str]()
    for name in "abc":
        turn.due(lambda name=name: sent.append(name))  # type: ignore[misc] # mypy does not see through the default
    at_once = list(sent)
    behind = loop.create_future()
    loop.call_soon(lambda: behind.set_result(list(sent)))
    assert ([], ["a", "b", "c"]) == (at_once, await behind)


async def test_what_falls_due_while_others_are_sent_has_a_turn_of_its_own() -> None:
    """A send may make another one due: it goes out too."""
    loop = asyncio.get_running_loop()
    turn, gone = Turn(loop), loop.create_future()
    turn.due(lambda: turn.due(lambda: gone.set_result("gone")))
    assert "gone" == await asyncio.wait_for(gone, 20)


async def test_a_send_that_fails_keeps_no_other_back() -> None:
    """The defect is told to the loop's handler; what stands behind it is sent."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    turn, gone = Turn(loop), loop.create_future()

    def fail() -> None:
        raise OSError("odd")

    turn.due(fail)
    turn.due(lambda: gone.set_result("gone"))
    assert "gone" == await asyncio.wait_for(gone, 20)
    assert ["odd"] == [str(context["exception"]) for context in told]
