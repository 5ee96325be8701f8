"""Accounting: entries, prices, the ledger on both databases, the journal, budgets, reports.

`pricing/`, `ledger/`, `journal/`, `budgets/`, `reports/` and `backups/` mirror the packages of these names. Several modules are
tested through one face:

* `test_access_log`: access_log, background_writer, stream_writer.
* `ledger/test_ledger`: ledger, database, sqlite, backup.
* `ledger/test_postgres`: postgres, postgres_session.
* `ledger/test_append`: append, bulk_insert.
* `ledger/test_leases`: leases, span_rows, period_sums, lease_client, refresher.
* `ledger/test_migrations`: migrations, schema.
* `journal/test_journal`: journal, segment, folder.
* `journal/test_writer`: writer, shipper, arrivals, rejected_entries, batch_queue, thread_waiters.
* `ledger/test_daily_sums`: daily_sums, sum_queries, named_labels.
* `backups/test_backup`: backup, sqlite_copy, snapshot.
* `reports/test_statement`: statement, breakdown, page, statement_csv, statement_page.
* `reports/test_report`: report, usage_table, table, price_table, destination.
* `pricing/test_prices`: prices, price_list, names, rate.
* budgets as a client meets them, with their messages and index, are `scenarios/test_budgets`.
"""
