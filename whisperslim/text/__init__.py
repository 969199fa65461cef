"""Languages, the letters they are written in, and text for a terminal."""
