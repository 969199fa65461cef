"""Error rates, the normalizers they go through, and whether a difference is chance."""
