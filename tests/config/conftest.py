"""The configuration: files and variables in, a Config or all of its problems out.

Several modules are tested through one face:

* `test_load`: load, model, routes, clients, budgets, meters, prices, listen, litellm: what each part of a valid file becomes.
* `test_problems`: problems, meters, validate, syntax, types, values, references, yaml_document: every rule with its line and
  its words.
* `test_model_list`: table, deployments, defaults, urls, router_settings, ocr_routes, selection,
  credential_choice: what a model_list becomes.
* `test_model_problems`: keys, selection, credential_choice, deployments, urls, router_settings: each rule of a
  model_list, with its line and its words.
* `test_environment`: environment, variables.
* `providers/test_warnings`: warnings, apis, placed, credential_warnings, path_warnings, price_warnings: what is said of
  routes that will go wrong at their provider.
* reload and announce are `scenarios/test_reload`.
"""
