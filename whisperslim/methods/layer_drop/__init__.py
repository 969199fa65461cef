"""Dropping whole layers."""
