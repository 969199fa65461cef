"""Run as `python -m benchmarks.tables`; see `benchmarks.tables.pages`."""

from benchmarks.tables.pages import main

main()
