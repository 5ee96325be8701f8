"""The commands as their user runs them.

Several modules are tested through one face:

* `test_init`: init, starter.
* `test_main`: main, usage, probe, exits.
* `ocr/test_choices`: choices, command.
* `ocr/test_estimate`: estimate, page_cost.
* `test_terminal`: terminal, table.
"""
