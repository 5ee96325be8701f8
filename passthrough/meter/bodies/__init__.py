"""How a body is cut into documents: one document, server-sent events, a batch's lines."""
