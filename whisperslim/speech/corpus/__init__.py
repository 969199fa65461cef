"""Lists of recordings with their texts, and batches of them."""
