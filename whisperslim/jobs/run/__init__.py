"""A run's folder: its contents, its log of events, and the view of it."""
