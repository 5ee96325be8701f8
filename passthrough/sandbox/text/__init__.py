"""What is answered with text, or reckoned from it: chat, fill-in-the-middle, embeddings, and their tokens."""
