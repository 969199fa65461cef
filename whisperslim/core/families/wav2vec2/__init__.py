"""Models that hear samples through convolutions and score frames: wav2vec 2.0 and its kin."""
