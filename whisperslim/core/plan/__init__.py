"""Which units stay and which go, as data: budgets, orders of removal and an engine's rules."""
