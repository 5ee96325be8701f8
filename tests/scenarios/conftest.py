"""What only shows when parts work together: faults, restarts, replicas, reloads, workers, real clients, months of traffic."""
