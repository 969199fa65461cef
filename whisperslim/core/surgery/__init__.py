"""Gates on units and the cut itself."""
