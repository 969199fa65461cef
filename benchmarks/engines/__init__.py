"""A model as each of its engines runs it."""
