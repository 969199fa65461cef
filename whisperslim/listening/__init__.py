"""Rules of whatever listens on a port: the app and the transcription server."""
