"""Deployments: the pools that a model of `model_list` is served by; pure, without sockets."""
