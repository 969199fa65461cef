"""What a removal is counted in, and where its prices come from."""
