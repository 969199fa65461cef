"""Measurements behind the documentation's figures. Each is one command and writes JSON with provenance."""
