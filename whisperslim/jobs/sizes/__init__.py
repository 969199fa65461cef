"""Other sizes of a finished run: planned, predicted, derived, swept and measured."""
