"""Makes Markdown, HTML, text, images and tables of the API's responses."""
