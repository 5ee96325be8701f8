"""What client, target and ledger say of the same requests, held against each other."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from typing import Any

from .faulty import NOT_YOURS, Told
from .fickle import REFUSED, Seen

Row = dict[str, Any]


def compared(
    seen: dict[int, Seen], told: dict[int, Told], rows: list[Row], log: list[Row]
) -> tuple[list[str], dict[str, object]]:
    """Return every disagreement in words, and the totals of each side."""
    findings, rows = _each_refused(rows, log)
    booked: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["label"] is None:
            findings.append(f"a row without its request's id: {row}")
        else:
            booked[int(row["label"])].append(row)
    for ident, its in booked.items():
        if len(its) > 1:
            findings.append(f"request {ident} is booked {len(its)} times")
        if ident not in seen:
            findings.append(f"row of nobody's request: {its}")
    for ident, its in seen.items():
        row = booked[ident][0] if booked.get(ident) else None
        for wrong in (
            *_client_and_ledger(its, row),
            *_target_and_ledger(told.get(ident), row),
            *_both_ends(its, told.get(ident)),
        ):
            findings.append(f"request {ident}: {wrong}\n    client {its}\n    target {told.get(ident)}\n    ledger {_short(row)}")
    logged = {line["id"] for line in log if line["label"] is not None}
    admitted = {row["id"] for row in rows}
    if not admitted <= logged:
        findings.append(f"{len(admitted - logged)} rows have no line in the log")
    return findings, _totals(seen, told, rows, log)


def _each_refused(rows: list[Row], log: list[Row]) -> tuple[list[str], list[Row]]:
    """Return the rows with, for those that stand for many refused requests, what the log has of each; the counts must agree."""
    gathered = [row for row in rows if row["outcome"] == "refused" and not row["attempts"]]
    each = [line for line in log if line["outcome"] == "refused" and not line["attempts"] and line["target"] is not None]
    counted: Counter[tuple[str | None, ...]] = Counter()
    for row in gathered:
        counted[_kind(row)] += row["requests"]
    logged = Counter(map(_kind, each))
    findings = [] if counted == logged else [f"refused: {dict(counted)} in the ledger, {dict(logged)} in the log"]
    others = [row for row in rows if row["outcome"] != "refused" or row["attempts"]]
    return findings, [*others, *({**line, "cost_nano": None} for line in each)]


def _kind(row: Row) -> tuple[str | None, ...]:
    return row["client"], row["route"], row["error"]


def _client_and_ledger(seen: Seen, row: Row | None) -> list[str]:
    """(1) A refusal before admission is not booked; (2) each other answer is, as the client saw it."""
    wrong = []
    if seen.late:
        wrong.append("nothing came in time")
    if seen.strange and (seen.strange.startswith("the ") or seen.status is None):
        answered_by_break = row is not None and row["outcome"] in {"upstream_failed", "client_gone"}
        if seen.strange.startswith("the ") or not answered_by_break:
            wrong.append(f"strange: {seen.strange}")
    if seen.kind in {"no key", "wrong key", "no route", "two lengths", "no HTTP"}:
        return wrong + (["booked although it was not admitted"] if row is not None else [])
    if seen.status is None:
        return wrong
    if row is None:  # Broken chunks that come with the head are not dispatched.
        return wrong if seen.kind == "bad chunks" else [*wrong, "answered but not booked"]
    if row["status"] != seen.status:
        wrong.append(f"status {row['status']} in the ledger")
    if seen.whole and seen.error is None and row["outcome"] != "completed":
        wrong.append("whole at the client, but not completed in the ledger")
    if seen.whole and seen.error is not None and row["error"] != seen.error:
        wrong.append(f"error {row['error']} in the ledger")
    if not seen.whole and not seen.left and row["outcome"] not in {"upstream_failed"}:
        wrong.append("broken at the client, but not failed in the ledger")
    if seen.whole and seen.error is None and seen.pages is not None and seen.method == "POST" and row["pages"] != seen.pages:
        wrong.append("pages at the client that the ledger has not")
    if row["outcome"] == "client_gone" and not seen.left:
        wrong.append("said to have gone, but stayed")
    return wrong


def _target_and_ledger(told: Told | None, row: Row | None) -> list[str]:
    """(1) What reached the target is booked, (2) once and never sent twice unasked, (3) with its pages, and no others."""
    if told is None:
        return ["pages from nowhere"] if row is not None and row["pages"] is not None else []
    if row is None:
        return ["reached the target but is not booked"]
    wrong = []
    if told.times > 1 and (row["route"] != "/again" or row["attempts"] < told.times):
        wrong.append(f"was sent {told.times} times")
    if row["pages"] != told.pages and not (told.maybe is not None and row["pages"] == told.maybe):
        wrong.append(f"{told.pages} pages at the target, {row['pages']} in the ledger")
    return wrong


def _both_ends(seen: Seen, told: Told | None) -> list[str]:
    """What a client has whole is what the target sent whole, byte for byte."""
    if not seen.whole or seen.error is not None or seen.method == "HEAD":
        return []
    if told is None:
        return ["an answer that the target did not give"]
    if told.crossed and seen.body_crc == zlib.crc32(NOT_YOURS):
        return []
    if not told.whole:
        return ["whole at the client, but not at the target"]
    return ["other bytes than the target sent"] if told.body_crc != seen.body_crc else []


def _short(row: Row | None) -> Row | None:
    names = ("route", "status", "outcome", "error", "attempts", "unmetered", "pages", "bytes_up", "bytes_down", "total_s")
    return None if row is None else {name: row[name] for name in names}


def _totals(seen: dict[int, Seen], told: dict[int, Told], rows: list[Row], log: list[Row]) -> dict[str, object]:
    stayed = [its for its in seen.values() if not its.left and its.kind not in REFUSED]
    return {
        "requests made": len(seen),
        "  by clients that stayed": len(stayed),
        "  answered whole": sum(its.whole for its in seen.values()),
        "  whole, by status": dict(sorted(Counter(its.status for its in seen.values() if its.whole).items())),
        "  broken off at clients that stayed": sum(not its.whole for its in stayed),
        "reached the target": len(told),
        "  read whole": sum(its.read for its in told.values()),
        "  sent again where the route says so": sum(its.times > 1 for its in told.values()),
        "  answered whole with a count": sum(its.pages is not None for its in told.values()),
        "rows in the ledger": len(rows),
        "  reached the target": sum(int(row["label"]) in told for row in rows),
        "  by outcome": dict(Counter(row["outcome"] for row in rows)),
        "  by error": dict(Counter(row["error"] for row in rows if row["error"])),
        "  unmetered": dict(Counter(row["unmetered"] for row in rows if row["unmetered"])),
        "lines in the log": len(log),
        "pages sent by the target": sum(its.pages or 0 for its in told.values()),
        "pages sent by the target in answers broken off behind them": sum(its.maybe or 0 for its in told.values()),
        "pages in the ledger": sum(row["pages"] or 0 for row in rows),
        "pages got by clients": sum(its.pages or 0 for its in seen.values()),
        "cost in the ledger, in pages": sum(row["cost_nano"] or 0 for row in rows) / 1_000_000,
    }
