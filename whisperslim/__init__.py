"""WhisperSlim: make a Whisper model smaller and prove that it still hears Hindi."""

__version__ = "0.1.0"
