"""The endpoints of pass_through_endpoints: their routes, meters and targets."""
