"""The meter: reads usage from the passing bytes of a response, without holding them."""
