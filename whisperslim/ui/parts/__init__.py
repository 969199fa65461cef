"""Pieces of a page that several tabs draw with."""
