"""The page as a whole, and how it is opened."""
