"""Lets `python -m passthrough` be the command."""

from .cli.main import main

main()
