"""What a model costs: parameters, bytes on disk, FLOPs, and the price of each removable unit."""
