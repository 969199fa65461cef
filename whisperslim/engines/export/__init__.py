"""Exports for any engine: writing, record and the check against PyTorch."""
