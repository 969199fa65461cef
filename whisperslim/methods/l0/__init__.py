"""L0 regularization with distillation."""
