"""Latency, memory and the seconds that a unit takes."""
