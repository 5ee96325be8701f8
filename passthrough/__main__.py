"""Lets `python -m passthrough` be the command."""

from .cli import main

main()
