"""Sparse Group LASSO: penalties, proximal steps and the two passes."""
