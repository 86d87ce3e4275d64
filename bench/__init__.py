"""Benchmarks on real processes: one module a measurement, a shared harness, results as JSON and a Markdown table."""
