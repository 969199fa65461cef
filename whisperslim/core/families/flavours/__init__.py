"""Ways of getting from encoder states to text that several architectures share."""
