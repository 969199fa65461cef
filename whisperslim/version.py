"""The version, once. Leaf module."""

__version__ = "0.1.0"
