"""Rules for what listens on a port: the app and the transcription server."""
