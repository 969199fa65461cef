"""What compression gives and takes, method by method; `benchmarks.method_table` stands above."""
