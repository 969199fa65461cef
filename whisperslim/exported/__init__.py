"""What a written export and whatever runs it agree on. Leaf: no torch, no transformers."""
