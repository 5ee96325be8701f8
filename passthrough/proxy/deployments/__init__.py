"""Deployments: what a model of `model_list` or an endpoint with `targets` is served by; without sockets."""
