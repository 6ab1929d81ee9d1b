"""Callers of the service for benchmarks: cheap enough that the service is what is measured."""
