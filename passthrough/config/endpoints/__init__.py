"""The endpoints of pass_through_endpoints that have several targets."""
