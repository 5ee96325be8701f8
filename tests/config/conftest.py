"""The configuration: files and variables in, a Config or all of its problems out.

Several modules are tested through one face:

* `test_load`: load, model, and what each part of a valid file becomes: routes, clients, budgets, meters, prices, listen, litellm.
* `test_problems`: problems, validate, syntax, types, values, references, yaml_document: every rule with its line and its words.
* `test_environment`: environment, variables; `.env`.
* reload and announce are `scenarios/test_reload`.
"""
