"""Whisper: its units, its skeleton, and the forms that other runtimes hold it in."""
