"""Tokens: the codec, the vocabulary of a few languages, and new merges."""
