"""What operators see, on a port of its own: no path here shadows a route of the traffic."""
