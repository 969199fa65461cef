"""Code that travels inside a Hugging Face folder: it may import torch and transformers alone."""
