"""Hugging Face folders: export, engine, model card and upload."""
