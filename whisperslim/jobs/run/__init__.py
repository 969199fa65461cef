"""A run's folder: what lies in it, its log of events, and the view of it."""
