"""Runs the command as `python -m passthrough`."""

from .cli.main import main

main()
