"""Finding a model by name and bringing its files here."""
