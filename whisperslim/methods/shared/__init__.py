"""What several methods use: importance, norms of units, and what is out of reach."""
