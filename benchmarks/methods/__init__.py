"""Effects and costs of compression by method; `benchmarks.method_table` uses these."""
