"""How a body divides into documents: one document, server-sent events, the lines of a batch file."""
