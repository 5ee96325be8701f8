"""The command line: its commands, the tables that they print, and the standard streams that they print to."""
