"""Other heads for a model: what writes the text in place of its own decoder."""
