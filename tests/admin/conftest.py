"""The admin port, over its own aiohttp application.

Several modules are tested through one face:

* `test_app`: app, auth, listener, responses, query, health, exchanges, ledger_reads, budget_status.
* `test_metrics`: metrics, gauges, exposition.
* the dashboard is `contract/test_dashboard`, in a real browser; peers are `scenarios/test_workers`.
"""
