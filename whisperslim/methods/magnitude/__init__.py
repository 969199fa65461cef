"""Magnitude pruning, at once and in rounds."""
