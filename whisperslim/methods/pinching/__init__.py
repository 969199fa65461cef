"""Self-pinching gates."""
