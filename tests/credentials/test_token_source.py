"""A token is there before it is needed: one fetch for all, renewed in time, kept while the token's server is in trouble."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from passthrough.credentials.clock import LoopClock
from passthrough.credentials.token import FetchError, Token
from passthrough.credentials.token_source import Pace, TokenReading, TokenSource
from passthrough.errors import UpstreamFailure
from passthrough.secret import Secret
from tests.harness.token_fetches import Fetches, ManualClock
from tests.harness.waiting import WAIT_S, until


@dataclass
class Given:
    """A source, and all that moves it. `chance` is what random gives: 0 is the latest renewal and the longest pause."""

    clock: ManualClock = field(default_factory=ManualClock)
    fetches: Fetches = field(default_factory=Fetches)
    warned: list[str] = field(default_factory=list)
    chance: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.source = TokenSource(
            "Google (ocr)", self.fetches, self.warned.append, clock=self.clock, pace=self.pace, chance=lambda: self.chance
        )

    async def come(self, number: int, came: Token | FetchError) -> None:
        """Let the fetch of this number end, and wait until the source knows it."""
        reading = self.source.reading
        (await self.fetches.next(number)).end(came)
        await until(lambda: self.ended == reading.fetched + reading.failed + 1)

    @property
    def ended(self) -> int:
        """How many fetches have ended."""
        return self.source.reading.fetched + self.source.reading.failed

    async def token(self, within_s: float | None = WAIT_S) -> str:
        """Return the token."""
        return (await self.source.token(within_s)).secret.reveal()

    async def no_token(self) -> None:
        """Check that there is none, and that this is said at once."""
        with pytest.raises(UpstreamFailure) as caught:
            await self.source.token(WAIT_S)
        assert "upstream_credentials" == caught.value.kind.code


@pytest.fixture
async def given() -> AsyncIterator[Given]:
    """A source that has been started."""
    made = Given()
    made.source.start()
    yield made
    made.source.close()
    made.fetches.end_all()


async def with_token(given: Given, life_s: float = 3600.0) -> Token:
    """Give it its first token."""
    token = given.clock.token("one", life_s)
    await given.come(1, token)
    return token


async def test_all_who_wait_share_one_fetch(given: Given) -> None:
    """64 callers at the start: one fetch."""
    callers = [asyncio.create_task(given.token()) for _ in range(64)]
    await asyncio.sleep(0)
    given.source.start()
    await with_token(given)
    assert ["one"] * 64 == await asyncio.gather(*callers)
    assert 1 == len(given.fetches.made)
    assert TokenReading("Google (ocr)", 1, 0, given.clock.utc + 3600, None) == given.source.reading


async def test_a_cancelled_caller_does_not_cancel_the_fetch(given: Given) -> None:
    """The others get what it brings."""
    callers = [asyncio.create_task(given.token()) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    await with_token(given)
    assert ["one", "one"] == await asyncio.gather(*callers[1:])
    assert callers[0].cancelled()


async def test_a_caller_waits_for_its_time_only(given: Given) -> None:
    """The fetch goes on without it."""
    for within_s in (0.0, 0.001):
        with pytest.raises(UpstreamFailure, match="no token"):
            await given.token(within_s)
    await with_token(given)
    assert "one" == await given.token(0.0)


@pytest.mark.parametrize(
    ("life_s", "chance", "after_s"),
    [
        (3600, 0.0, 3300),  # five minutes before its end
        (3600, 1.0, 3150),  # and up to half of them earlier
        (600, 0.0, 480),  # a fifth of its life
        (600, 1.0, 420),
        (60, 0.0, 48),
        (59, 0.0, 29.5),  # a short life: half of it
        (2, 0.0, 1),
        (1.5, 1.0, 1),  # never more often than once a second
        (10.0**15, 0.0, 86_100),  # more than a day is not believed
    ],
)
async def test_renewed_before_it_ends(given: Given, life_s: float, chance: float, after_s: float) -> None:
    """The old token serves until the new one is there."""
    given.chance = chance
    await with_token(given, life_s)
    given.clock.move(after_s - 0.001)
    assert 1 == len(given.fetches.made)
    given.clock.move(0.002)
    await given.fetches.next(2)
    assert "one" == await given.token(0.0)
    await given.come(2, given.clock.token("two"))
    assert "two" == await given.token(0.0)


@pytest.mark.parametrize(("life_s", "good_s"), [(3600, 3595), (50, 45), (2, 1.8)])
async def test_good_until_shortly_before_its_end(given: Given, life_s: float, good_s: float) -> None:
    """A request takes a moment to arrive."""
    await with_token(given, life_s)
    given.clock.sleep(good_s - 0.001)
    assert "one" == await given.token(0.0)
    assert given.source.reading.good_until_utc is not None
    given.clock.sleep(0.001)
    assert given.source.reading.good_until_utc is None
    waiting = asyncio.create_task(given.token())
    await given.come(2, given.clock.token("two"))
    assert "two" == await waiting


async def test_the_same_token_again(given: Given) -> None:
    """A metadata server gives what it has until shortly before its end: it is asked again, at a fifth of what is left."""
    token = await with_token(given)
    given.clock.move(3300)
    await given.come(2, token)
    given.clock.move(239)
    assert 2 == len(given.fetches.made)
    given.clock.move(2)
    await given.come(3, given.clock.token("two"))
    assert "two" == await given.token(0.0)


async def test_pauses_after_failures(given: Given) -> None:
    """One second, then doubled, up to a minute; all who call meanwhile fail at once, without a fetch."""
    for number, pause_s in enumerate([1, 2, 4, 8, 16, 32, 60, 60, 60], start=1):
        await given.come(number, FetchError(f"Trouble {number}.", "trouble"))
        await given.no_token()
        given.clock.move(pause_s - 0.001)
        assert number == len(given.fetches.made)
        assert f"Trouble {number}." == given.source.trouble
        given.clock.move(0.002)
    await given.come(10, given.clock.token("one"))
    assert "one" == await given.token(0.0)
    assert given.source.trouble is None
    assert (1, 9) == (given.source.reading.fetched, given.source.reading.failed)
    given.clock.move(3301)
    await given.come(11, FetchError("Trouble."))
    given.clock.move(1.001)
    await given.fetches.next(12)


async def test_pauses_differ(given: Given) -> None:
    """Workers that fail together do not come back together."""
    given.chance = 1.0
    await given.come(1, FetchError("Trouble."))
    given.clock.move(0.751)
    await given.fetches.next(2)


async def test_a_caller_waits_for_the_fetch_after_a_pause(given: Given) -> None:
    """What is under way may bring a token."""
    await given.come(1, FetchError("Trouble."))
    given.clock.move(1.001)
    await given.fetches.next(2)
    waiting = asyncio.create_task(given.token())
    await asyncio.sleep(0)
    await given.come(2, FetchError("Trouble."))
    with pytest.raises(UpstreamFailure):
        await waiting


async def test_the_old_token_serves_while_it_is_not_renewed(given: Given) -> None:
    """It is said why there is no new one, and then that there is none."""
    await with_token(given)
    given.clock.move(3300.001)
    await given.come(2, FetchError("It cannot be reached."))
    assert "one" == await given.token(0.0)
    assert "It cannot be reached." == given.source.trouble
    given.clock.sleep(295)
    await given.fetches.next(2)
    assert ["No new token for Google (ocr): It cannot be reached."] == given.warned


async def test_trouble_is_logged_once(given: Given) -> None:
    """Once for each sort, however its words differ, and once when it is over."""
    for number, error in enumerate(
        [
            FetchError("Gone at 1.", "gone"),
            FetchError("Gone at 2.", "gone"),
            FetchError("Refused."),
            FetchError("Gone at 3.", "gone"),
        ],
        start=1,
    ):
        await given.come(number, error)
        given.clock.move_on()
    await given.come(5, given.clock.token("one"))
    what = "No token for Google (ocr): "
    assert [f"{what}Gone at 1.", f"{what}Refused.", "The token of Google (ocr) is fetched again."] == given.warned
    given.clock.move(3301)
    await given.come(6, FetchError("Refused."))
    assert "No new token for Google (ocr): Refused." == given.warned[-1]


async def test_ever_new_words_are_not_all_logged(given: Given) -> None:
    """A server that means ill does not fill the log."""
    for number in range(1, 31):
        await given.come(number, FetchError(f"Trouble {number}."))
        given.clock.move_on()
    assert 20 == len(given.warned)


@pytest.mark.parametrize("life_s", [-3600.0, 0.0, 0.9])
async def test_a_token_that_has_ended(given: Given, life_s: float) -> None:
    """It is none; the clocks may be to blame."""
    await given.come(1, given.clock.token("one", life_s))
    await given.no_token()
    assert "has ended already" in (given.source.trouble or "")


async def test_a_fetch_that_hangs(given: Given) -> None:
    """Half a minute later there is another one, but no third; callers do not wait for what may never end."""
    waiting = asyncio.create_task(given.token())
    await given.fetches.next(1)
    given.clock.move(29.9)
    assert given.source.trouble is None
    given.clock.move(0.2)
    await given.fetches.next(2)
    assert "has not answered for 30 s" in (given.source.trouble or "")
    assert not waiting.done()
    given.clock.move(30.1)
    with pytest.raises(UpstreamFailure):
        await waiting
    given.clock.move(3600)
    await given.no_token()
    assert 2 == len(given.fetches.made)
    assert 1 == len(given.warned)
    given.fetches.made[1].end(given.clock.token("two"))
    await until(lambda: given.ended == 1)
    assert "two" == await given.token(0.0)
    given.fetches.made[0].end(given.clock.token("one"))  # which began earlier, and comes too late
    await until(lambda: given.ended == 2)
    assert "two" == await given.token(0.0)
    assert given.source.trouble is None


async def test_a_fetch_that_hangs_and_then_brings_a_token(given: Given) -> None:
    """It is used until a newer one comes."""
    await given.fetches.next(1)
    given.clock.move(30.1)
    await given.fetches.next(2)
    given.fetches.made[0].end(given.clock.token("one"))
    await until(lambda: given.ended == 1)
    assert "one" == await given.token(0.0)
    await given.come(2, given.clock.token("two"))
    assert "two" == await given.token(0.0)


async def test_a_fetch_fails_beside_one_that_hangs(given: Given) -> None:
    """There is never more than one beside it."""
    await given.fetches.next(1)
    given.clock.move(30.1)
    await given.come(2, FetchError("Trouble."))
    await given.no_token()
    given.clock.move(1.1)
    await given.fetches.next(3)
    assert "Trouble." == given.source.trouble
    await given.come(3, given.clock.token("one"))
    assert "one" == await given.token(0.0)


async def test_the_wall_clock_jumps(given: Given) -> None:
    """A token's life is measured by a clock that no one sets."""
    await with_token(given)
    for jump_s in (86_400.0, -172_800.0):
        given.clock.utc += jump_s
        assert "one" == await given.token(0.0)
    given.clock.move(3299)
    assert 1 == len(given.fetches.made)
    given.clock.move(2)
    await given.fetches.next(2)


async def test_the_machine_sleeps(given: Given) -> None:
    """Timers do not run meanwhile: who calls then begins the fetch that is due."""
    await with_token(given)
    given.clock.sleep(3400)
    assert "one" == await given.token(0.0)
    await given.fetches.next(2)
    given.clock.sleep(3600)
    waiting = asyncio.create_task(given.token())
    await given.come(2, given.clock.token("two", 7200))
    assert "two" == await waiting


async def test_a_rejected_token_is_renewed_once(given: Given) -> None:
    """One fetch for all that were rejected with it; who comes later gets the new one at once."""
    one = await with_token(given)
    rejected = [asyncio.create_task(given.source.after_rejection(one, WAIT_S)) for _ in range(64)]
    await given.fetches.next(2)
    assert "one" == await given.token(0.0)
    two = given.clock.token("two")
    await given.come(2, two)
    assert [two] * 64 == await asyncio.gather(*rejected)
    assert two == await given.source.after_rejection(one, 0.0)
    assert two == await given.source.after_rejection(Token(Secret("zero"), one.good_until_utc), 0.0)
    assert 2 == len(given.fetches.made)


async def test_what_a_rejection_brought_is_not_renewed_by_another_one(given: Given) -> None:
    """Not for a minute: a provider that rejects all must not make us hammer the token's server."""
    one = await with_token(given)
    rejected = asyncio.create_task(given.source.after_rejection(one, WAIT_S))
    two = given.clock.token("two")
    await given.come(2, two)
    assert two == await rejected
    for _ in range(3):
        assert await given.source.after_rejection(two, WAIT_S) is None
        given.clock.move(19.9)
    assert 2 == len(given.fetches.made)
    given.clock.move(0.4)
    rejected = asyncio.create_task(given.source.after_rejection(two, WAIT_S))
    three = given.clock.token("three")
    await given.come(3, three)
    assert three == await rejected


async def test_a_renewal_in_its_time_may_be_rejected_again(given: Given) -> None:
    """Only what a rejection brought must wait."""
    one = await with_token(given)
    rejected = asyncio.create_task(given.source.after_rejection(one, WAIT_S))
    await given.come(2, given.clock.token("two"))
    await rejected
    given.clock.move(3301)
    three = given.clock.token("three")
    await given.come(3, three)
    rejected = asyncio.create_task(given.source.after_rejection(three, WAIT_S))
    four = given.clock.token("four")
    await given.come(4, four)
    assert four == await rejected


async def test_the_rejected_token_comes_again(given: Given) -> None:
    """A server that keeps what it gave has no other: the rejection stands, and it is not asked again for a minute."""
    one = await with_token(given)
    rejected = asyncio.create_task(given.source.after_rejection(one, WAIT_S))
    await given.come(2, one)
    assert await rejected is None
    assert await given.source.after_rejection(one, WAIT_S) is None
    assert 2 == len(given.fetches.made)


async def test_a_rejected_token_that_cannot_be_renewed(given: Given) -> None:
    """It stays in force, as the provider may be wrong; trouble says so, and further rejections wait for the pause."""
    one = await with_token(given)
    rejected = asyncio.create_task(given.source.after_rejection(one, WAIT_S))
    await given.come(2, FetchError("It cannot be reached."))
    assert await rejected is None
    assert "one" == await given.token(0.0)
    assert "The provider rejects the token, and there is no new one: It cannot be reached." == given.source.trouble
    assert await given.source.after_rejection(one, WAIT_S) is None
    assert 2 == len(given.fetches.made)
    given.clock.move(1.001)
    await given.come(3, given.clock.token("two"))
    assert "two" == await given.token(0.0)
    assert given.source.trouble is None


async def test_a_rejection_during_a_renewal(given: Given) -> None:
    """It waits for what is under way."""
    one = await with_token(given)
    given.clock.move(3301)
    await given.fetches.next(2)
    rejected = asyncio.create_task(given.source.after_rejection(one, WAIT_S))
    two = given.clock.token("two")
    await given.come(2, two)
    assert two == await rejected


async def test_a_rejection_waits_for_its_time_only(given: Given) -> None:
    """The renewal goes on."""
    one = await with_token(given)
    assert await given.source.after_rejection(one, 0.001) is None
    await given.come(2, given.clock.token("two"))
    assert "two" == await given.token(0.0)


async def test_closed_during_a_fetch(given: Given) -> None:
    """Who waits gets what it brings: a reload fails no request. Nothing follows."""
    waiting = asyncio.create_task(given.token())
    await given.fetches.next(1)
    await asyncio.sleep(0)
    given.source.close()
    given.source.close()
    await given.come(1, given.clock.token("one"))
    assert "one" == await waiting == await given.token(0.0)
    assert [] == given.clock.due


async def test_closed_during_a_fetch_that_fails(given: Given) -> None:
    """Who waits fails with it; nobody is told of trouble with what is not used any more, and it is not tried again."""
    waiting = asyncio.create_task(given.token())
    await given.fetches.next(1)
    await asyncio.sleep(0)
    given.source.close()
    await given.come(1, FetchError("It was refused."))
    with pytest.raises(UpstreamFailure):
        await waiting
    await given.no_token()
    assert ([], [], None) == (given.clock.due, given.warned, given.source.trouble)


async def test_closed_during_a_fetch_that_hangs() -> None:
    """Who waits does not wait for ever, whatever its own time."""
    given = Given(pace=Pace(hangs_s=0.01))
    given.source.start()
    waiting = asyncio.create_task(given.token(None))
    await given.fetches.next(1)
    given.source.close()
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert set() == done
    given.clock.move(1)
    with pytest.raises(UpstreamFailure):
        await asyncio.wait_for(waiting, WAIT_S)
    assert ([], []) == (given.clock.due, given.warned)
    given.fetches.end_all()


async def test_a_closed_source_has_its_token(given: Given) -> None:
    """Requests of the configuration before end with it."""
    one = await with_token(given)
    given.source.close()
    assert "one" == await given.token(0.0)
    assert await given.source.after_rejection(one, WAIT_S) is None
    given.clock.move(86_400)
    assert 1 == len(given.fetches.made)


async def test_never_started() -> None:
    """It fetches nothing."""
    given = Given()
    await given.no_token()
    assert [] == given.fetches.made


async def test_the_clock_of_the_program() -> None:
    """Time passes, and calls come."""
    clock = LoopClock()
    called = asyncio.Event()
    before = clock.steady_s(), clock.utc_s()
    clock.later(0.001, called.set)
    clock.later(0.0, lambda: pytest.fail("it was called off")).cancel()
    async with asyncio.timeout(WAIT_S):
        await called.wait()
    assert before < (clock.steady_s(), clock.utc_s())


ENDS = """
import asyncio, threading, sys, time
from passthrough.credentials.token_source import Pace, TokenSource
from passthrough.credentials.token import FetchError

hangs = threading.Event()

def fetch():
    began.set()
    hangs.wait({hangs_s})
    raise FetchError("It was let go.")

async def main():
    source = TokenSource("Google", fetch, print)
    source.start()
    await asyncio.to_thread(began.wait)

began = threading.Event()
asyncio.run(main())
hangs.set()
for thread in threading.enumerate():
    if thread.name == "token" and {joins}:
        thread.join()
print("ended")
"""


@pytest.mark.process
@pytest.mark.parametrize(("hangs_s", "joins"), [(600, False), (600, True)])
def test_the_loop_ends_during_a_fetch(hangs_s: int, joins: bool) -> None:
    """Neither does the process wait for it, nor does its end trouble anyone."""
    script = ENDS.format(hangs_s=hangs_s, joins=joins)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert ("ended\n", "", 0) == (done.stdout, done.stderr, done.returncode)
