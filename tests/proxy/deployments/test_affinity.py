"""Where clients are at home: shares, what moves when a target comes or goes, and the same in every process."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from subprocess import run

import pytest

from passthrough.proxy.deployments.affinity import Affinity
from passthrough.proxy.deployments.deployment import Deployment
from passthrough.proxy.deployments.pool import is_single_ocr, names_files
from tests.harness.proxy import target_to

pytestmark = pytest.mark.fast

CLIENTS = [f"client-{number}" for number in range(10_000)]


def targets(*names: str, weight: float = 1.0, order: int = 1) -> tuple[Deployment, ...]:
    """Return targets with these ids."""
    return tuple(target_to(1, name, weight=weight, order=order) for name in names)


def homes(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return the id of each client's home."""
    affinity = Affinity(deployments)
    return {client: affinity.ranked(client)[0].id for client in CLIENTS}


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0, "c": 5.0}, {"a": 0.3, "b": 0.1}])
def test_shares_are_by_weight(weights: dict[str, float]) -> None:
    """Of 10,000 clients each target is home to its share, within 2 % of all."""
    counted = Counter(homes([target_to(1, name, weight=weight) for name, weight in weights.items()]).values())
    total = sum(weights.values())
    assert {name: pytest.approx(weight / total, abs=0.02) for name, weight in weights.items()} == {
        name: counted[name] / len(CLIENTS) for name in weights
    }


def test_a_target_that_leaves_moves_only_its_own_clients() -> None:
    """And they go where they would have gone next."""
    all_of_them = targets("a", "b", "c", "d")
    before, after = homes(all_of_them), homes(all_of_them[:-1])
    affinity = Affinity(all_of_them)
    moved = {client for client in CLIENTS if before[client] != after[client]}
    assert {client for client in CLIENTS if before[client] == "d"} == moved
    assert all(after[client] == affinity.ranked(client)[1].id for client in moved)


def test_a_target_that_comes_moves_only_those_that_it_wins() -> None:
    """A weight that grows is the same: it takes clients from others, and no client moves between those."""
    before = homes([*targets("a", "b"), *targets("c", weight=1.0)])
    for more in ([*targets("a", "b", "c", "new")], [*targets("a", "b"), *targets("c", weight=3.0)]):
        after, won = homes(more), more[-1].id
        assert {won} == {after[client] for client in CLIENTS if before[client] != after[client]}


def test_the_lowest_order_comes_first_and_what_weighs_nothing_last() -> None:
    """Within an order too; targets without weight are drawn among themselves."""
    late, last = targets("late", "later", order=2), targets("x", "y", weight=0.0)
    affinity = Affinity([*late, *last, *targets("a", "b")])
    seen = [[each.id for each in affinity.ranked(client)] for client in CLIENTS[:200]]
    assert all(set(ids[:2]) == {"a", "b"} and set(ids[2:4]) == {"x", "y"} and set(ids[4:]) == {"late", "later"} for ids in seen)
    assert 2 == len({ids[2] for ids in seen})


_EXPECTED = ["c a b", "a b c", "b c a", "a b c", "b c a", "a b c"]
_NAMES = ["", "alice", "bob", "Öko", "client-1", "client-2"]


def test_it_is_the_same_in_every_process() -> None:
    """What a client is at home at must not change with a release, a worker or a restart: fixed values, here and elsewhere."""
    program = (
        "from tests.proxy.deployments.test_affinity import _NAMES, Affinity, targets\n"
        "affinity = Affinity(targets('a', 'b', 'c'))\n"
        "print([' '.join(each.id for each in affinity.ranked(name)) for name in _NAMES])"
    )
    there = run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "7"})
    affinity = Affinity(targets("a", "b", "c"))
    assert _EXPECTED == [" ".join(each.id for each in affinity.ranked(name)) for name in _NAMES]
    assert f"{_EXPECTED}\n" == there.stdout


def test_what_is_kept_is_bounded() -> None:
    """A client that is forgotten is ranked again, to the same result."""
    affinity = Affinity(targets("a", "b", "c"))
    first = affinity.ranked("client-0")
    assert first is affinity.ranked("client-0")
    for client in CLIENTS:
        affinity.ranked(client)
    assert first is not affinity.ranked("client-0")
    assert first == affinity.ranked("client-0")


@pytest.mark.parametrize(
    ("method", "path", "is_free", "uses_files"),
    [
        ("POST", b"/m/v1/ocr", True, False),
        ("POST", b"/m/ocr", True, False),
        ("GET", b"/m/v1/ocr", False, False),
        ("POST", b"/m/v1/ocr/", False, False),
        ("POST", b"/m/v1/OCR", False, False),
        ("POST", b"/m/v1/batch/jobs", False, False),
        ("POST", b"/m/v1/myfiles", False, False),
        ("POST", b"/m/v1/files", False, True),
        ("GET", b"/m/v1/files/7/url", False, True),
        ("DELETE", b"/m/v1/%66iles/7", False, True),
        ("GET", b"/m/v1/Files", False, True),
        ("POST", b"/m/v1/files/ocr", True, True),
    ],
)
def test_which_requests_are_single_ocr_calls_and_which_use_files(
    method: str, path: bytes, is_free: bool, uses_files: bool
) -> None:
    """What a lenient server takes for `files` counts as that; odd spellings of `ocr` do not: they stay, which is always right."""
    assert (is_free, uses_files) == (is_single_ocr(method, path), names_files(path))
