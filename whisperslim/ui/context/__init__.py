"""What all tabs share: runs, models in memory, limits and choices."""
