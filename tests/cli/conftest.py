"""The commands as their user runs them.

Several modules are tested through one face:

* `test_init`: init, starter.
* `test_main`: main, usage, probe.
* `test_terminal`: terminal, table.
"""
