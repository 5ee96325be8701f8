"""Tests that stand elsewhere than where the packages are mirrored, and changes that change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.harness.mirror import mirrors

from .changes import Change

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "accounting/budget.py": ("tests/accounting/test_periods.py", "tests/scenarios/test_budgets.py"),
    "accounting/budgets/budgets.py": ("tests/scenarios/test_budgets.py",),
    "accounting/budgets/price_probe.py": ("tests/scenarios/test_usd_budgets.py",),
    "accounting/budgets/index.py": ("tests/scenarios/test_budgets.py",),
    "accounting/budgets/messages.py": ("tests/scenarios/test_budgets.py", "tests/accounting/budgets/test_webhook.py"),
    "accounting/charge.py": ("tests/accounting/test_bookkeeper.py",),
    "accounting/entry.py": ("tests/accounting/test_bookkeeper.py", "tests/accounting/test_charge.py"),
    "accounting/money.py": ("tests/accounting/test_access_log.py", "tests/accounting/reports/test_report.py"),
    "client/api/connection.py": ("tests/client/api/test_faults.py",),
    "client/api/request_body.py": ("tests/client/api/test_calls.py",),
    "client/api/faults.py": ("tests/client/api/test_calls.py",),
    "client/api/refusals.py": ("tests/client/api/test_calls.py", "tests/client/api/test_files.py"),
    "causes.py": ("tests/credentials/test_fetchers.py", "tests/tracing/test_tracer.py"),
    "verifying_adapter.py": ("tests/credentials/test_fetchers.py", "tests/tracing/test_tracer.py"),
    "cli/backup.py": ("tests/accounting/backups/test_restore.py",),
    "accounting/writable_folder.py": ("tests/config/test_bookable.py",),
    "accounting/pricing/names.py": ("tests/accounting/pricing/test_offers.py", "tests/accounting/pricing/test_price_map.py"),
    "accounting/reports/model_names.py": (
        "tests/accounting/reports/test_report.py",
        "tests/accounting/reports/test_statement.py",
    ),
    "accounting/pricing/prices.py": ("tests/accounting/pricing/test_offers.py", "tests/accounting/pricing/test_price_map.py"),
    "admin/dashboard.py": ("tests/contract/test_dashboard.py",),
    "admin/deployment_status.py": ("tests/admin/test_app.py", "tests/admin/test_metrics.py"),
    "admin/peers.py": ("tests/scenarios/test_workers.py",),
    "background/background_writer.py": ("tests/accounting/test_access_log.py", "tests/server/test_stderr_log.py"),
    "background/batch_queue.py": ("tests/accounting/journal/test_writer.py", "tests/accounting/test_access_log.py"),
    "background/stream_writer.py": ("tests/accounting/test_access_log.py",),
    "background/terminal.py": (
        "tests/accounting/test_text_log.py",
        "tests/server/test_stderr_log.py",
        "tests/cli/test_terminal.py",
    ),
    "background/thread_waiters.py": ("tests/accounting/journal/test_writer.py",),
    "cli/ocr/stop_signals.py": ("tests/scenarios/test_ocr_command_stops.py",),
    "cli/ocr/execution.py": ("tests/scenarios/test_ocr_command.py", "tests/scenarios/test_ocr_command_stops.py"),
    "client/errors.py": ("tests/client/api/test_refusals.py", "tests/cli/ocr/test_progress.py"),
    "client/output/disk.py": ("tests/client/output/test_manifest.py", "tests/client/output/test_publish.py"),
    "client/output/names.py": ("tests/client/output/test_work_folder.py",),
    "client/runs/document_run.py": ("tests/scenarios/test_ocr_command.py", "tests/scenarios/test_ocr_command_faults.py"),
    "client/runs/listener.py": ("tests/cli/ocr/test_progress.py",),
    "client/runs/plan.py": ("tests/scenarios/test_ocr_command.py",),
    "client/runs/results.py": ("tests/cli/ocr/test_progress.py",),
    "client/runs/run.py": ("tests/scenarios/test_ocr_command.py", "tests/scenarios/test_ocr_command_faults.py"),
    "client/runs/settings.py": ("tests/cli/ocr/test_estimate.py", "tests/scenarios/test_ocr_command.py"),
    "client/runs/stored.py": ("tests/cli/ocr/test_execution.py", "tests/scenarios/test_ocr_command.py"),
    "config/announce.py": ("tests/scenarios/test_reload.py",),
    "config/identities/schema.py": ("tests/config/identities/test_identities.py", "tests/config/test_schema.py"),
    "config/models/schema.py": ("tests/config/test_model_list.py", "tests/config/test_model_problems.py"),
    "config/reload.py": ("tests/scenarios/test_reload.py",),
    "config/values.py": ("tests/config/test_load.py",),
    "credentials/bounded_session.py": ("tests/credentials/test_fetchers.py",),
    "credentials/clock.py": ("tests/credentials/test_token_source.py",),
    "credentials/entra.py": ("tests/credentials/test_fetchers.py",),
    "credentials/google.py": ("tests/credentials/test_fetchers.py",),
    "credentials/identity.py": ("tests/credentials/test_token_sources.py",),
    "credentials/time_limit.py": ("tests/credentials/test_fetchers.py",),
    "credentials/token.py": ("tests/credentials/test_token_sources.py",),
    "meter/meter.py": ("tests/meter/test_buffered.py",),
    "meter/shapes/values.py": ("tests/meter/shapes/test_configured.py",),
    "proxy/attempts.py": ("tests/proxy/test_request_body.py", "tests/proxy/net/test_write_batch.py"),
    "proxy/headers.py": ("tests/proxy/test_request_head.py", "tests/proxy/test_rewrite.py"),
    "proxy/request_body.py": ("tests/proxy/test_attempts.py",),
    "proxy/deployment_calls.py": ("tests/proxy/ocr/test_sender.py",),
    "proxy/deployments/balancer.py": ("tests/proxy/deployments/test_sticky_tries.py",),
    "proxy/deployments/pool.py": ("tests/proxy/deployments/test_affinity.py", "tests/proxy/test_pool_sender.py"),
    "proxy/deployments/deployment.py": ("tests/proxy/deployments/test_pool.py",),
    "proxy/documents/url_rules.py": ("tests/proxy/documents/test_url.py",),
    "proxy/ocr/settings.py": ("tests/proxy/ocr/test_sender.py",),
    "proxy/retry_wait.py": ("tests/proxy/test_attempts.py",),
    "proxy/transform/document_source.py": ("tests/proxy/transform/test_request_scan.py",),
    "proxy/downstream/handshake.py": ("tests/scenarios/test_connection_limits.py",),
    "proxy/downstream/http2_refusal.py": ("tests/scenarios/test_wrong_protocols.py",),
    "proxy/upstream/steps.py": ("tests/accounting/test_meter_steps.py",),
    "proxy/net/sockets.py": ("tests/proxy/test_request_body.py", "tests/proxy/upstream/test_pool.py"),
    "__main__.py": ("tests/cli/test_main.py",),
    "pdfium_lock.py": ("tests/client/pdf/test_pages.py",),
    "sandbox/__init__.py": ("tests/sandbox/test_service.py",),
    "sandbox/job_thread.py": ("tests/sandbox/test_documents.py", "tests/sandbox/batch/test_batches.py"),
    "server/deployments.py": ("tests/contract/test_dashboard.py", "tests/scenarios/test_reload.py"),
    "server/fork.py": ("tests/scenarios/test_workers.py",),
    "server/supervisor.py": ("tests/scenarios/test_workers.py",),
    "worker.py": ("tests/scenarios/test_workers.py",),
}
"""Files of tests of a module, from the root, beside those that mirror it."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A change that no test can notice: `text` is the source line in which it begins, `old` and `new` as in Change."""

    module: str
    text: str
    old: str
    new: str
    reason: str


_GUESS: Final = "The first guess of a period is corrected afterwards, in both directions."
_HALVES: Final = "Only where the search for a moment looks first."
_SORTED: Final = "To sort one value changes nothing."
_REMEMBERED: Final = "What is forgotten is looked up again."

EQUIVALENT: Final = (
    Equivalent(
        "proxy/deployments/affinity.py",
        "cost = -log(((int.from_bytes(drawn) >> 11) + 0.5) / _DRAWS)",
        "0.5",
        "1.5",
        "A draw moves by the least that a float tells apart.",
    ),
    Equivalent(
        "accounting/entry.py",
        "if text is None or (text.isprintable() and len(text) <= MAX_TEXT):",
        "len(text) <= MAX_TEXT",
        "(len(text) < MAX_TEXT)",
        "A text of that very length is returned as it is a little later.",
    ),
    Equivalent(
        "accounting/periods.py",
        "local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).replace(tzinfo=None)",
        "1000",
        "1001",
        _GUESS,
    ),
    Equivalent(
        "accounting/periods.py",
        "local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).replace(tzinfo=None)",
        "1000",
        "999",
        _GUESS,
    ),
    Equivalent(
        "accounting/periods.py",
        "first = _first_day(calendar, per, (local - timedelta(minutes=calendar.day_starts_minute)).date())",
        "local - timedelta(minutes=calendar.day_starts_minute)",
        "(local + timedelta(minutes=calendar.day_starts_minute))",
        _GUESS,
    ),
    Equivalent(
        "accounting/periods.py",
        "while _begins_ms(calendar, zone, first) > at_ms:",
        "_begins_ms(calendar, zone, first) > at_ms",
        "(_begins_ms(calendar, zone, first) >= at_ms)",
        _GUESS,
    ),
    Equivalent("accounting/periods.py", "if first <= day:", "first <= day", "(first < day)", _GUESS),
    Equivalent(
        "accounting/periods.py",
        "while begins - before > _SECOND:",
        "begins - before > _SECOND",
        "(begins - before >= _SECOND)",
        "One second has one whole second in it, which is the moment.",
    ),
    Equivalent("accounting/periods.py", "middle = before + (begins - before) // 2", "2", "3", _HALVES),
    Equivalent(
        "accounting/periods.py",
        "if middle.astimezone(zone).replace(tzinfo=None) < shown:",
        "middle.astimezone(zone).replace(tzinfo=None) < shown",
        "(middle.astimezone(zone).replace(tzinfo=None) <= shown)",
        "The hour that is searched for is skipped, so no clock shows it.",
    ),
    Equivalent(
        "accounting/periods.py",
        "while (ends_ms := _begins_ms(calendar, zone, following)) <= at_ms:",
        "(ends_ms := _begins_ms(calendar, zone, following)) <= at_ms",
        "((ends_ms := _begins_ms(calendar, zone, following)) < at_ms)",
        "At the very begin of a period the first guess is that one.",
    ),
    Equivalent(
        "accounting/pricing/prices.py",
        "if len(self._rates) >= _MAX_REMEMBERED:",
        "len(self._rates) >= _MAX_REMEMBERED",
        "(len(self._rates) > _MAX_REMEMBERED)",
        _REMEMBERED,
    ),
    Equivalent(
        "accounting/pricing/prices.py",
        "if len(self._rates) >= _MAX_REMEMBERED:",
        "len(self._rates) >= _MAX_REMEMBERED",
        "(not (len(self._rates) >= _MAX_REMEMBERED))",
        _REMEMBERED,
    ),
    Equivalent(
        "accounting/pricing/prices.py",
        "if len(self._dearest) >= _MAX_REMEMBERED:",
        "len(self._dearest) >= _MAX_REMEMBERED",
        "(len(self._dearest) > _MAX_REMEMBERED)",
        _REMEMBERED,
    ),
    Equivalent(
        "accounting/pricing/prices.py",
        "if len(self._dearest) >= _MAX_REMEMBERED:",
        "len(self._dearest) >= _MAX_REMEMBERED",
        "(not (len(self._dearest) >= _MAX_REMEMBERED))",
        _REMEMBERED,
    ),
    Equivalent(
        "config/values.py",
        "if match is None or factor is None:",
        "match is None or factor is None",
        "(factor is None)",
        "Without a match there is no factor.",
    ),
    Equivalent(
        "config/values.py",
        "part = Decimal(match[1]) / (100 if match[2] else 1) if match else Decimal(0)",
        "0",
        "(-1)",
        "Neither is a share.",
    ),
    Equivalent("proxy/auth.py", 'return value[7:].strip(b" \\t")', "7", "6", "That byte is a blank, which is stripped."),
    Equivalent("proxy/auth.py", "if len(presented) > 1:", "len(presented) > 1", "(len(presented) >= 1)", _SORTED),
    Equivalent("proxy/auth.py", "if len(presented) > 1:", "1", "0", _SORTED),
)


@cache
def files_of(module: str) -> tuple[str, ...]:
    """Return the files of tests that must notice a change of a module (`accounting/money.py`)."""
    return tuple(dict.fromkeys([*mirrors(module), *ELSEWHERE.get(module, ())]))


_EQUIVALENT: Final = frozenset((each.module, each.text, each.old, each.new) for each in EQUIVALENT)


def is_equivalent(change: Change) -> bool:
    """Tell whether a change is one of those that change nothing."""
    return (change.module, change.text, change.old, change.new) in _EQUIVALENT
