"""The program as a process: start, signals, drain, TLS.

Several modules are tested through one face:

* `test_run`: run, instance, reload_watch, listeners, ports, signals.
* supervisor and fork are `scenarios/test_workers`.
"""
