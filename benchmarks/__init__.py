"""Measurements behind the README's figures. Each is one command and writes JSON with provenance."""
