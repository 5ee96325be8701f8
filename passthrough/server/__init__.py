"""The running program: its processes, its ports, its reload and its stop."""
