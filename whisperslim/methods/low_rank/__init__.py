"""Matrices of low rank: the components that the loss depends on least go."""
