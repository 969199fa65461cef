"""Measurements behind the figures of README.md and docs/. Each is one command and writes JSON with provenance."""
