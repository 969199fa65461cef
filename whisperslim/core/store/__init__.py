"""A slim model on disk: what is written, and the strict reload."""
