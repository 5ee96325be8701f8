"""Documents that are fetched by their URLs, for providers that cannot."""
