"""The Trade-off tab."""
