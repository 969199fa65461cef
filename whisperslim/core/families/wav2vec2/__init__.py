"""Models that hear samples through convolutions and score frames, such as wav2vec 2.0."""
