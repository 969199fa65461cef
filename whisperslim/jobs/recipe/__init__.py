"""Recipes: their sections, checks, text and presets."""
