"""Ways of being given sound, and of getting from states to text, that architectures share."""
