"""OpenTelemetry: a span for each exchange, made from its entry and exported on a thread of its own."""
