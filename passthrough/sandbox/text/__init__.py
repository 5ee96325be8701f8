"""The endpoints for text: chat, fill-in-the-middle, embeddings; and the tokens that they count."""
