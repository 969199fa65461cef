"""Measurements behind the documentation's figures: one command each, to JSON with provenance."""
