"""One source for each identity: a reload keeps those that stay, with their tokens, and starts those that are new."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import pytest

from passthrough.credentials.identity import EntraIdentity, GoogleIdentity, Identity
from passthrough.credentials.token import FetchError, Token
from passthrough.credentials.token_source import TokenReading
from passthrough.credentials.token_sources import TokenSources
from passthrough.secret import Secret
from tests.harness.token_servers import ACCOUNT, token_server
from tests.harness.waiting import WAIT_S, until

ENDS = time.time() + 3600


def identity(key: str, name: str = "Google (one)") -> GoogleIdentity:
    """Return the identity of a credentials file."""
    return GoogleIdentity(Secret(key), name=name)


def by_key(asked: list[str]) -> Callable[[Identity], Callable[[], Token]]:
    """Return how a token is fetched that is the identity's key; `wrong` gets none."""

    def fetch_of(who: Identity) -> Callable[[], Token]:
        assert isinstance(who, GoogleIdentity)
        assert who.info is not None
        key = who.info.reveal()

        def fetch() -> Token:
            asked.append(key)
            if key.startswith("wrong"):
                raise FetchError("It was refused.")
            return Token(Secret(key), ENDS + len(key))

        return fetch

    return fetch_of


async def test_a_reload_keeps_what_stays() -> None:
    """The source of an identity that stays keeps its token, whatever it is called now; one that has gone is closed."""
    asked: list[str] = []
    sources = TokenSources(pytest.fail, by_key(asked))
    sources.prepare([identity("a"), identity("b"), identity("a")])
    kept, gone = sources.of(identity("a")), sources.of(identity("b"))
    assert "a" == (await kept.token(WAIT_S)).secret.reveal()
    await gone.token(WAIT_S)
    sources.prepare([identity("a", "Google (renamed)"), identity("c")])
    assert gone is sources.of(identity("b"))
    sources.keep([identity("a", "Google (renamed)"), identity("c")])
    assert kept is sources.of(identity("a"))
    assert "google: Google (renamed)" == kept.reading.name
    assert "c" == (await sources.of(identity("c")).token(WAIT_S)).secret.reveal()
    with pytest.raises(KeyError):
        sources.of(identity("b"))
    assert ["a", "b", "c"] == sorted(asked)
    assert sources.trouble is None
    sources.close()
    assert () == sources.readings


async def test_a_replaced_file_is_another_identity() -> None:
    """Same name, other content: another source."""
    sources = TokenSources(pytest.fail, by_key([]))
    sources.prepare([identity("old")])
    await sources.of(identity("old")).token(WAIT_S)
    sources.prepare([identity("new")])
    sources.keep([identity("new")])
    assert "new" == (await sources.of(identity("new")).token(WAIT_S)).secret.reveal()
    sources.close()


async def test_readings_of_one_name_are_one() -> None:
    """Other scopes or another proxy make another source, and no other row: sums, and the worse state."""
    warned: list[str] = []
    sources = TokenSources(warned.append, by_key([]))
    sources.prepare([identity("a"), identity("long"), identity("b", "Google (two)")])
    await until(lambda: [2, 1] == [each.fetched for each in sources.readings])
    assert (
        TokenReading("google: Google (one)", 2, 0, ENDS + 1, None),
        TokenReading("google: Google (two)", 1, 0, ENDS + 1, None),
    ) == sources.readings
    sources.prepare([identity("wrong"), identity("wrong too", "Google (two)")])
    await until(lambda: all(each.failed for each in sources.readings))
    one, two = sources.readings
    assert (2, None, "It was refused.") == (one.fetched, one.good_until_utc, one.trouble)
    assert (1, None, "It was refused.") == (two.fetched, two.good_until_utc, two.trouble)
    assert "google: Google (one): It was refused.\ngoogle: Google (two): It was refused." == sources.trouble
    sources.prepare([identity("wrong again")], {identity("wrong again"): "/a, /b/*"})
    await until(lambda: 3 == len(warned))
    assert "No token for google: Google (one) for /a, /b/*: It was refused." == warned[-1]
    assert "google: Google (one) for /a, /b/*: It was refused." in str(sources.trouble).splitlines()
    sources.close()
    assert sources.trouble is None


async def test_64_callers_at_the_start() -> None:
    """One fetch, by the real library, and no thread stays."""
    with token_server() as server:
        sources = TokenSources(pytest.fail)
        who = GoogleIdentity(Secret(json.dumps(server.service_account())), name=ACCOUNT)
        server.hold()
        sources.prepare([who])
        callers = [asyncio.create_task(sources.of(who).token(WAIT_S)) for _ in range(64)]
        await until(lambda: 1 == server.fetches)
        server.release()
        tokens = {token.secret.reveal() for token in await asyncio.gather(*callers)}
        assert set(server.issued) == tokens
        assert 1 == server.fetches
        await until(lambda: "token" not in {thread.name for thread in threading.enumerate()})
        sources.close()


def test_identities() -> None:
    """What people see takes no part in comparisons; all else does. No repr shows a secret."""
    one = GoogleIdentity(Secret("canary-key"), name="one")
    assert one == GoogleIdentity(Secret("canary-key"), name="two")
    assert hash(one) == hash(GoogleIdentity(Secret("canary-key"), name="two"))
    assert one != GoogleIdentity(Secret("canary-key"), ("other",))
    assert one != GoogleIdentity(Secret("canary-key"), proxy=Secret("http://user:canary@proxy"))
    app = EntraIdentity("tenant", "client", Secret("canary-secret"), name="one", proxy=Secret("http://user:canary@proxy"))
    assert app == EntraIdentity("tenant", "client", Secret("canary-secret"), name="two", proxy=Secret("http://user:canary@proxy"))
    assert app != EntraIdentity("tenant", "client", Secret("canary-secret"), authority="https://other")
    assert "canary" not in f"{one} {app} {one!r} {app!r}"


def test_a_token() -> None:
    """Its line goes into a head; nothing shows it."""
    token = Token(Secret("canary-token"), 7.0)
    assert b"Authorization: Bearer canary-token" == token.line
    assert "canary" not in f"{token} {token!r}"
    assert token == Token(Secret("canary-token"), 7.0)
    assert ("sort", "what") == (FetchError("what", "sort").sort, FetchError("what").sort)
