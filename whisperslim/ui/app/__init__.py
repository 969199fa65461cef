"""The whole page, and how it is opened."""
