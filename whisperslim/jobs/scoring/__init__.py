"""Scoring a model or an export on a data set, and scores that are stored."""
