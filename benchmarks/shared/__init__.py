"""What several measurements need: provenance, and scores of models."""
