"""Ours and other systems that can run the same weights, on the same recordings."""
