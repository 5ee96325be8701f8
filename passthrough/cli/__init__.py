"""The command line: one module for each thing that a command shows."""
