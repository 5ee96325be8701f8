"""Accounting: entries, prices, the ledger on both databases, the journal, budgets, reports.

`pricing/`, `ledger/`, `journal/`, `budgets/` and `reports/` mirror the packages of these names. Several modules are
tested through one face:

* `test_access_log`: access_log, and background.stream_writer below it.
* `ledger/test_ledger`: ledger, database, sqlite, backup.
* `ledger/test_postgres`: postgres, postgres_session.
* `ledger/test_append`: append, bulk_insert.
* `ledger/test_leases`: leases, period_sums, budgets.lease_client.
* `ledger/test_migrations`: migrations, schema.
* `journal/test_journal`: journal, segment.
* `journal/test_writer`: writer, shipper, arrivals, rejected_entries, background.batch_queue.
* `reports/test_report`: report, table, destination; money is tested with `pricing/test_prices`.
* budgets as a client meets them, with their messages and index, are `scenarios/test_budgets`.
"""
