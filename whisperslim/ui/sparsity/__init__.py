"""The Sparsity tab."""
