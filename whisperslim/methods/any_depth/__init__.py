"""One training, any number of upper encoder layers to cut afterwards."""
