"""Sound as arrays: decoding, features, windows and variation in training."""
