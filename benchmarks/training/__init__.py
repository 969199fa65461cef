"""What training takes: seconds a step, memory, the quick preset as a whole."""
