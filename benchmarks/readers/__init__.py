"""Readers of data that several benchmarks use."""
