"""Exports that this installation did not write, run in a process of their own."""
