"""The client behind `passthrough ocr`: documents in, Markdown, images and JSON out, through any API of Mistral's shape.

It knows nothing of proxy, ledger or price list. What a page costs is a function that its caller hands in.
"""
