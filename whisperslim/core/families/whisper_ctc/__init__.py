"""Whisper's encoder with a head that scores frames in place of the decoder."""
