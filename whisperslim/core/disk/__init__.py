"""Files and folders on disk: written whole, read with suspicion where somebody sent them."""
