"""FastConformers with a CTC head, as NVIDIA publishes them under the name Parakeet."""
